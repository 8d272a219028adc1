//! What all rows stand on.

use std::error::Error;

use crash_check::step::{Scenario, is_permitted};

/// What a closure of a scenario says.
pub type Said = Result<(), Box<dyn Error>>;

/// Runs a scenario in the depth that is asked for; the row goes to the test's output.
pub fn run(scenario: Scenario) {
    if is_permitted().is_err() {
        eprintln!("ptrace is not permitted here: not checked");
        return;
    }
    let is_long = std::env::var_os("KILL_LONG").is_some();
    scenario.depth(if is_long { 2 } else { 1 }).run().unwrap().assert_clean();
}
