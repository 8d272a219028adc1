//! The project's own protocols, explored: every correct form holds in all its states, and every
//! broken twin is caught. The larger configurations are run by the example `explore_protocols`.
#![cfg(feature = "explore")]

#[path = "../models/mod.rs"]
mod models;

use crash_check::explore::Walker;
use models::case::{Case, Effort};

/// The page whose tables show the cases.
const PAGE: &str = include_str!("../docs/explore.md");

/// Checks the cases of one protocol that fit a test run: what comes out, and that the page says so.
fn check(protocol: &str) {
    let effort = if cfg!(debug_assertions) { Effort::Small } else { Effort::Short };
    let cases = models::all_cases();
    let fitting = cases.iter().filter(|case| case.protocol == protocol && case.effort <= effort);
    let failures: Vec<String> = fitting.filter_map(unexpected).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn unexpected(case: &Case) -> Option<String> {
    match case.check() {
        Ok(report) => {
            let row = case.row(&report);
            let shown = PAGE.lines().any(|line| line == row);
            (!shown).then(|| format!("docs/explore.md lacks, or has with other numbers: {row}"))
        }
        Err(message) => Some(message),
    }
}

#[test]
fn participants_recover_the_dead_once_and_no_death_is_lost() {
    check("participants");
}

#[test]
fn doorbells_lose_no_wake_and_no_death() {
    check("doorbells");
}

#[test]
fn the_ledger_surfaces_each_item_once() {
    check("ledger");
}

#[test]
fn every_protocol_has_a_correct_form_and_broken_twins() {
    let cases = models::all_cases();
    for case in &cases {
        let of_this = |broken: bool| {
            cases.iter().any(|c| c.protocol == case.protocol && c.broken.is_empty() != broken)
        };
        assert!(of_this(false) && of_this(true), "{} lacks one of them", case.protocol);
    }
}

#[test]
fn the_page_shows_every_case_and_no_other() {
    let cases = models::all_cases();
    let begins: Vec<String> = cases.iter().map(Case::row_begins).collect();
    let is_row = |line: &&str| {
        cases.iter().any(|case| {
            line.strip_prefix("| ")
                .is_some_and(|rest| rest.starts_with(&format!("{} |", case.protocol)))
        })
    };
    let rows: Vec<&str> = PAGE.lines().filter(is_row).collect();
    let lacks = |begin: &&String| !rows.iter().any(|row| row.starts_with(begin.as_str()));
    let missing: Vec<&String> = begins.iter().filter(lacks).collect();
    assert!(missing.is_empty(), "no row: {missing:#?}");
    let is_of_none = |row: &&&str| !begins.iter().any(|begin| row.starts_with(begin.as_str()));
    let stale: Vec<&&str> = rows.iter().filter(is_of_none).collect();
    assert!(stale.is_empty(), "a row of no case: {stale:#?}");
}

#[test]
fn the_slot_owned_queue_delivers_what_was_committed_once_and_in_order() {
    check("slots");
}

#[test]
fn item_records_end_each_item_once_and_join_is_exact() {
    check("records");
}

#[test]
fn the_heap_loses_no_block_and_frees_none_that_is_held() {
    check("heap");
}

#[test]
fn the_last_holder_of_an_arc_frees_it_and_nobody_before() {
    check("arc");
}

#[test]
fn large_runs_are_claimed_and_given_back_whole() {
    check("runs");
}

#[test]
fn random_walks_find_false_suspicion_too_and_none_in_the_correct_form() {
    let cases = models::all_cases();
    let walk = |broken: &str| {
        let of_two = |case: &&Case| {
            let configuration = "2a i2 d1 k1";
            case.protocol == "participants"
                && case.configuration == configuration
                && case.broken == broken
        };
        let case = cases.iter().find(of_two).expect("both forms are explored");
        case.walk(Walker::new(1).walks(300)).failed
    };
    assert!(walk("StampIsProof").is_some());
    assert!(walk("").is_none());
}
