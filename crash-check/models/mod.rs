//! The project's own protocols as explicit-state models: the correct form of each, and its broken
//! twins. One module a protocol; what is run and what must come out stands in its `cases`.

pub mod arc;
pub mod case;
pub mod doorbells;
pub mod heap;
pub mod ledger;
pub mod participants;
pub mod records;
pub mod runs;
pub mod slots;

use case::Case;

/// Every configuration of every protocol.
pub fn all_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(participants::cases());
    cases.extend(doorbells::cases());
    cases.extend(ledger::cases());
    cases.extend(slots::cases());
    cases.extend(records::cases());
    cases.extend(heap::cases());
    cases.extend(arc::cases());
    cases.extend(runs::cases());
    cases
}
