//! Death inside loom, on the claim of a recovery: two deaths, one of them inside the recovery.
#![cfg(feature = "death")]

#[path = "death_subjects/claim.rs"]
mod claim;

use claim::Twin;

fn message_of(twin: Twin) -> String {
    match claim::check(twin) {
        Ok(report) => format!("nothing found: {report}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_recovery_is_exclusive_and_is_inherited_when_the_recoverer_dies() {
    let report = claim::check(Twin::Correct).unwrap();
    println!("{report}");
    assert!(report.kill_points > 12, "{report}");
}

#[test]
fn two_recoverers_at_once_are_found() {
    let found = message_of(Twin::ClaimUnchecked);
    println!("{found}");
    assert!(found.contains("Causality violation"), "{found}");
}

#[test]
fn a_claim_that_nobody_inherits_is_found() {
    let found = message_of(Twin::NoInheritance);
    println!("{found}");
    assert!(found.contains("lost for ever"), "{found}");
    assert!(found.contains("recoverer@"), "{found}");
}

#[test]
fn an_index_freed_before_its_sweep_is_found() {
    let found = message_of(Twin::FreeBeforeSweep);
    println!("{found}");
    assert!(found.contains("Causality violation"), "{found}");
    assert!(found.contains("holder@"), "{found}");
}
