//! What is explored, and what must come out.

use super::super::case::{Case, Effort};
use super::{Broken, Ledger, Policy};

const PROTOCOL: &str = "ledger";

/// Every configuration.
pub fn cases() -> Vec<Case> {
    use Policy::{Fail, Retry};
    let holds = |ranges, deaths, revocations, policy, effort| {
        let name = format!("{ranges} range(s) d{deaths} {revocations} rev {policy:?}");
        Case::new(PROTOCOL, name, ledger(ranges, deaths, revocations, policy)).effort(effort)
    };
    let one_epoch = Ledger { epochs: 1, ..ledger(2, 1, 2, Fail) };
    let anybody = Ledger { broken: Some(Broken::NeitherOwnerNorEpoch), ..ledger(1, 1, 2, Fail) };
    let blind = Ledger { broken: Some(Broken::FinishIsNoCas), ..ledger(1, 0, 1, Fail) };
    vec![
        holds(1, 0, 2, Fail, Effort::Small),
        holds(1, 1, 1, Fail, Effort::Small),
        holds(1, 2, 1, Fail, Effort::Short),
        holds(1, 2, 1, Retry, Effort::Short),
        holds(2, 1, 2, Fail, Effort::Long),
        holds(2, 1, 2, Retry, Effort::Long),
        holds(2, 2, 1, Fail, Effort::Long),
        holds(2, 2, 1, Retry, Effort::Long),
        Case::new(PROTOCOL, "2 range(s) d1 2 rev Fail, one epoch", one_epoch).effort(Effort::Long),
        Case::new(PROTOCOL, "1 range(s) d0 1 rev Fail", blind)
            .without(Broken::FinishIsNoCas)
            .because(Broken::FinishIsNoCas.leads_to()),
        Case::new(PROTOCOL, "1 range(s) d1 2 rev Fail", anybody)
            .without(Broken::NeitherOwnerNorEpoch)
            .because(Broken::NeitherOwnerNorEpoch.leads_to())
            .effort(Effort::Short),
    ]
}

fn ledger(ranges: u8, deaths: u8, revocations: u8, policy: Policy) -> Ledger {
    Ledger { ranges, deaths, revocations, policy, epochs: 8, broken: None }
}
