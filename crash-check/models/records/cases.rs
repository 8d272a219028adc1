//! What is explored, and what must come out.

use super::super::case::{Case, Effort};
use super::Role::{Absent, Joiner, Submitter, Worker};
use super::{Broken, Records, Role, T};

const PROTOCOL: &str = "records";

const TWO_WORKERS: [Role; T] = [Submitter, Worker, Worker, Absent];
const THREE_WORKERS: [Role; T] = [Submitter, Worker, Worker, Worker];
const WITH_JOINER: [Role; T] = [Submitter, Worker, Worker, Joiner];
const ONE_WORKER: [Role; T] = [Submitter, Worker, Joiner, Absent];

/// Every configuration.
pub fn cases() -> Vec<Case> {
    let mut cases = correct();
    cases.extend(broken());
    cases
}

fn name(model: &Records) -> String {
    let count = |role| model.roles.iter().filter(|&&r| r == role).count();
    let joiner = if count(Joiner) > 0 { "+J" } else { "" };
    let nested = if model.nested { " nested" } else { "" };
    format!(
        "S+{}W{joiner}{nested} {} items d{} {} nack",
        count(Worker),
        model.items,
        model.deaths,
        model.nacks
    )
}

fn records(roles: [Role; T], items: u8, deaths: u8, nacks: u8, limit: u8) -> Records {
    Records { roles, items, deaths, nacks, limit, nested: false, broken: None }
}

fn nested(roles: [Role; T], deaths: u8, limit: u8) -> Records {
    Records { nested: true, ..records(roles, 1, deaths, 0, limit) }
}

fn correct() -> Vec<Case> {
    let holds = |model: Records, effort| Case::new(PROTOCOL, name(&model), model).effort(effort);
    vec![
        holds(records(TWO_WORKERS, 1, 1, 1, 3), Effort::Small),
        holds(nested(ONE_WORKER, 1, 3), Effort::Small),
        holds(records(TWO_WORKERS, 2, 2, 0, 3), Effort::Short),
        holds(nested(WITH_JOINER, 1, 3), Effort::Short),
        holds(records(TWO_WORKERS, 3, 1, 1, 3), Effort::Long),
        holds(records(TWO_WORKERS, 3, 2, 1, 3), Effort::Long),
        holds(records(TWO_WORKERS, 2, 2, 2, 4), Effort::Long),
        holds(records(THREE_WORKERS, 2, 2, 0, 2), Effort::Long),
        holds(records(THREE_WORKERS, 1, 2, 1, 3), Effort::Long),
        holds(nested(WITH_JOINER, 2, 2), Effort::Long),
        holds(records(WITH_JOINER, 2, 1, 0, 3), Effort::Long),
    ]
}

fn broken() -> Vec<Case> {
    let fails = |model: Records, rule| {
        let model = Records { broken: Some(rule), ..model };
        Case::new(PROTOCOL, name(&model), model).without(rule).because(rule.leads_to())
    };
    vec![
        fails(records(TWO_WORKERS, 1, 1, 0, 3), Broken::SlotFreedBeforeLease),
        fails(records(TWO_WORKERS, 1, 1, 1, 3), Broken::ClearWithoutIntent),
        fails(records(TWO_WORKERS, 1, 1, 1, 3), Broken::NackWithoutIntent),
        fails(records(TWO_WORKERS, 1, 1, 0, 3), Broken::SubmitWithoutIntent),
        fails(records(THREE_WORKERS, 1, 2, 0, 4), Broken::RecoveryWithoutIntent)
            .effort(Effort::Short),
        fails(records(THREE_WORKERS, 1, 2, 0, 4), Broken::BitBeforeQueued).effort(Effort::Short),
        fails(nested(ONE_WORKER, 0, 3), Broken::SingleCollect),
        fails(records(WITH_JOINER, 1, 2, 0, 3), Broken::NobodyRung).effort(Effort::Short),
    ]
}
