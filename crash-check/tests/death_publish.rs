//! Death inside loom, on a publish whose producer may die.
#![cfg(feature = "death")]

#[path = "death_subjects/publish.rs"]
mod publish;

use publish::Twin;

fn message_of(twin: Twin) -> String {
    match publish::check(twin) {
        Ok(report) => format!("nothing found: {report}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_was_published_before_the_death_is_received_whole_and_nothing_else() {
    let report = publish::check(Twin::Correct).unwrap();
    println!("{report}");
    assert_eq!(report.kill_points, 7);
}

#[test]
fn an_index_stored_before_its_payload_is_found() {
    let found = message_of(Twin::IndexFirst);
    assert!(found.contains("Causality violation"), "{found}");
}

#[test]
fn an_index_stored_relaxed_is_found() {
    let found = message_of(Twin::RelaxedIndex);
    assert!(found.contains("Causality violation"), "{found}");
}

#[test]
fn a_consumer_that_leaves_on_the_death_without_a_last_look_loses_an_item() {
    let found = message_of(Twin::NoLastLook);
    assert!(found.contains("not what was published"), "{found}");
    assert!(found.contains("producer@"), "{found}");
}
