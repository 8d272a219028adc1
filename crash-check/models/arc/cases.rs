//! What is explored, and what must come out.

use super::super::case::{Case, Effort};
use super::{Arc, Broken, P};

const PROTOCOL: &str = "arc";

/// Every configuration.
pub fn cases() -> Vec<Case> {
    use Broken::*;
    let holds = |model: Arc, effort| Case::new(PROTOCOL, name(&model), model).effort(effort);
    let small = arc(1, 1, [2, 2, 1], 2);
    let longer = arc(2, 1, [4, 2, 2], 2);
    let fails = |model: Arc, rule| {
        let model = Arc { broken: Some(rule), ..model };
        Case::new(PROTOCOL, name(&model), model).without(rule).because(rule.leads_to())
    };
    vec![
        holds(small.clone(), Effort::Small),
        holds(arc(2, 2, [3, 2, 2], 2), Effort::Long),
        holds(longer.clone(), Effort::Long),
        fails(small.clone(), ZeroThenFree),
        fails(small.clone(), EntryClearedBeforeFree),
        fails(small.clone(), BitBeforeEntry),
        fails(small.clone(), FlightClearedFirst),
        fails(longer.clone(), FlightWithoutCell),
        fails(longer.clone(), EntriesBeforeCells).effort(Effort::Short),
        fails(longer.clone(), BlindFree).effort(Effort::Short),
        fails(longer, HomeBeforeMask).effort(Effort::Short),
    ]
}

fn arc(cells: usize, flights: usize, ops: [u8; P], deaths: u8) -> Arc {
    Arc { cells, flights, ops, deaths, broken: None }
}

fn name(model: &Arc) -> String {
    let [a, b, c] = model.ops;
    format!("{P}p {}c {}fl d{} ops {a}+{b}+{c}", model.cells, model.flights, model.deaths)
}
