//! What is explored, and what must come out.

use super::super::case::{Case, Effort};
use super::{Broken, PRODUCERS, Slots};

const PROTOCOL: &str = "slots";

/// Every configuration.
pub fn cases() -> Vec<Case> {
    let mut cases = correct();
    cases.extend(broken());
    cases
}

fn name(model: &Slots) -> String {
    let [p0, p1] = model.messages;
    let form = if model.tombstones { ", tombstones" } else { "" };
    format!("{p0}+{p1} messages {}C d{}{form}", model.consumers, model.deaths)
}

fn slots(messages: [u8; PRODUCERS], consumers: usize, deaths: u8) -> Slots {
    Slots { messages, consumers, deaths, tombstones: false, broken: None }
}

fn correct() -> Vec<Case> {
    let holds = |model: Slots, effort| Case::new(PROTOCOL, name(&model), model).effort(effort);
    let tombs = |messages, consumers, deaths| Slots {
        tombstones: true,
        ..slots(messages, consumers, deaths)
    };
    vec![
        holds(slots([1, 1], 1, 1), Effort::Small),
        holds(slots([2, 1], 1, 2), Effort::Short),
        holds(slots([2, 0], 2, 2), Effort::Short),
        holds(slots([2, 2], 1, 2), Effort::Long),
        holds(slots([3, 0], 2, 2), Effort::Long),
        holds(slots([3, 2], 2, 0), Effort::Long),
        holds(slots([2, 1], 2, 2), Effort::Long),
        holds(slots([2, 2], 2, 1), Effort::Long),
        holds(tombs([3, 0], 2, 2), Effort::Long),
        holds(tombs([2, 2], 1, 2), Effort::Long),
    ]
}

fn broken() -> Vec<Case> {
    let fails = |model: Slots, rule| {
        let model = Slots { broken: Some(rule), ..model };
        Case::new(PROTOCOL, name(&model), model).without(rule).because(rule.leads_to())
    };
    vec![
        fails(slots([2, 1], 1, 1), Broken::IntentAfterClaim),
        fails(slots([2, 1], 1, 1), Broken::FreedForTheSameLap),
        fails(slots([3, 0], 2, 1), Broken::ReadyAgain),
        fails(slots([2, 2], 1, 0), Broken::HintAhead),
    ]
}
