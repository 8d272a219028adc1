//! What is explored, and what must come out.

use super::super::case::{Case, Effort};
use super::{Broken, Runs};

const PROTOCOL: &str = "runs";

/// Every configuration.
pub fn cases() -> Vec<Case> {
    let runs = |spans, ops, deaths| Runs { spans, ops, deaths, broken: None };
    let name = |model: &Runs| {
        let [a, b, c] = model.ops;
        format!("3p {} spans, K = 2 or 3, d{} ops {a}+{b}+{c}", model.spans, model.deaths)
    };
    let holds = |model: Runs, effort| Case::new(PROTOCOL, name(&model), model).effort(effort);
    let small = runs(4, [2, 2, 1], 2);
    let fails = |rule| {
        let model = Runs { broken: Some(rule), ..small.clone() };
        Case::new(PROTOCOL, name(&model), model).without(rule).because(rule.leads_to())
    };
    vec![
        holds(runs(4, [1, 1, 1], 1), Effort::Small),
        holds(small.clone(), Effort::Short),
        holds(runs(5, [2, 2, 1], 2), Effort::Long),
        fails(Broken::HeadFirst).effort(Effort::Short),
        fails(Broken::TailsNotCompared),
        fails(Broken::LiveLeftStanding),
    ]
}
