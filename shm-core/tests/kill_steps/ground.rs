//! What all rows stand on.

use std::error::Error;

use crash_check::step::{Scenario, is_permitted};

/// What a closure of a scenario says.
pub type Said = Result<(), Box<dyn Error>>;

/// Whether the rows that take long are asked for.
pub fn is_long() -> bool {
    std::env::var_os("KILL_LONG").is_some()
}

/// Runs a scenario in the depth that is asked for; the row goes to the test's output.
pub fn run(scenario: Scenario) {
    if is_permitted().is_err() {
        eprintln!("ptrace is not permitted here: not checked");
        return;
    }
    scenario.depth(if is_long() { 2 } else { 1 }).run().unwrap().assert_clean();
}
