//! Explores the project's protocols and prints what came out as a table.
//!
//! `cargo run --release -p crash-check --example explore_protocols -- [--long | --walks] [--trace] [word…]`
//! runs the cases whose name contains every word; with `--long` also those that take minutes. With
//! `--walks`, those that are too large to be exhausted are walked at random instead.

#[path = "../models/mod.rs"]
mod models;

use std::process::ExitCode;

use crash_check::explore::Walker;
use models::case::{Case, Effort, Expect};

/// The heads of the two tables of `docs/explore.md`.
const CORRECT: &str = "| protocol | configuration | states | verdict |\n|---|---|---:|---|";
const BROKEN: &str =
    "| protocol | without | configuration | states | found |\n|---|---|---|---:|---|";

fn is_wanted(case: &Case, words: &[String]) -> bool {
    let name = case.to_string();
    words.iter().all(|word| name.contains(word.as_str()))
}

fn main() -> ExitCode {
    let (flags, words): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|argument| argument.starts_with("--"));
    let has = |flag: &str| flags.iter().any(|given| given == flag);
    if has("--walks") {
        return walk(&models::all_cases());
    }
    let effort = if has("--long") { Effort::Long } else { Effort::Short };
    let mut failures = 0;
    let (mut states, mut seconds, mut bytes) = (0, 0.0, 0);
    let cases: Vec<Case> = models::all_cases()
        .into_iter()
        .filter(|case| case.effort <= effort && is_wanted(case, &words))
        .collect();
    // As the page of the book has them: the correct forms, then the broken twins.
    for (broken, head) in [(false, CORRECT), (true, BROKEN)] {
        println!("{head}");
        for case in cases.iter().filter(|case| case.broken.is_empty() != broken) {
            match case.check() {
                Ok(report) => {
                    println!("{}", case.row(&report));
                    states += report.states;
                    seconds += report.elapsed.as_secs_f64();
                    bytes = bytes.max(report.bytes);
                    if has("--trace")
                        && let Some(found) = report.counterexample()
                    {
                        println!("{found}");
                    }
                }
                Err(message) => {
                    failures += 1;
                    println!("UNEXPECTED {message}");
                }
            }
        }
        println!();
    }
    let rate = states as f64 / seconds;
    println!("{states} states in {seconds:.1} s, {rate:.0} a second; at most {} MiB", bytes >> 20);
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Two hundred thousand walks of each case that is cut.
fn walk(cases: &[Case]) -> ExitCode {
    let mut failures = 0;
    for case in cases.iter().filter(|case| case.expect == Expect::Cut) {
        let report = case.walk(Walker::new(1).walks(200_000));
        println!("{case}: {} walks, {} steps", report.walks, report.steps);
        if let Some(walk) = report.failed {
            failures += 1;
            println!("FAILED with seed {}: {}", walk.seed, walk.found);
        }
    }
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
