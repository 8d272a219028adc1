//! Specimens for the `explore` tool: rules dropped from the project's own protocols.

use crash_check::explore::{Explorer, Model};

use super::{Specimen, judge};

#[path = "../../models/mod.rs"]
#[allow(dead_code, reason = "the zoo shows a few of the models' broken twins")]
mod models;

use models::doorbells::{self, Doorbells};
use models::heap::{self, Heap};
use models::ledger::{self, Ledger};
use models::participants::{self, Participants};
use models::slots::{self, Slots};

/// `Err` is the counterexample; a search that was cut is no answer.
fn explore(model: &impl Model) -> Result<(), String> {
    let report = Explorer::new().budget(2_000_000).run(model);
    match report.counterexample() {
        Some(found) => Err(found.to_string()),
        None if report.holds() => Ok(()),
        None => panic!("too large for the zoo: {report}"),
    }
}

fn ring(broken: Option<slots::Broken>) -> Result<(), String> {
    let (messages, consumers, deaths) = ([2, 0], 2, 1);
    explore(&Slots { messages, consumers, deaths, tombstones: false, broken })
}

#[test]
fn ready_again_ring() {
    judge(
        "explore",
        &Specimen {
            name: "ready-again ring",
            bug: "what a dead consumer was taking becomes READY again, behind everybody's cursor",
            broken: || ring(Some(slots::Broken::ReadyAgain)),
            fixed: || ring(None),
        },
    );
}

fn small_heap(broken: Option<heap::Broken>) -> Result<(), String> {
    explore(&Heap { config: heap::Config::new(3, 1, 1, [2, 2, 1], 2), broken })
}

#[test]
fn drain_by_swap() {
    judge(
        "explore",
        &Specimen {
            name: "drain by swap",
            bug: "the owner takes the freed bits with a swap and is killed before it applies them",
            broken: || small_heap(Some(heap::Broken::DrainBySwap)),
            fixed: || small_heap(None),
        },
    );
}

#[test]
fn publish_before_clear() {
    judge(
        "explore",
        &Specimen {
            name: "publish before clear",
            bug: "killed between publishing a block and clearing its reservation: recovery takes the \
              reservation at its word and frees a block that somebody uses",
            broken: || small_heap(Some(heap::Broken::ReservedMeansUnpublished)),
            fixed: || small_heap(None),
        },
    );
}

fn newcomer(broken: &[doorbells::Broken]) -> Result<(), String> {
    let config = doorbells::Config::new(1, 0, 0, 1).deaths(1);
    explore(&Doorbells { config, broken: broken.to_vec() })
}

#[test]
fn participant_index_reused() {
    judge(
        "explore",
        &Specimen {
            name: "participant index reused",
            bug: "an index is free before the structures are swept: what the dead had claimed is \
              taken for the newcomer's",
            broken: || newcomer(&[doorbells::Broken::FreeBeforeSweep]),
            fixed: || newcomer(&[]),
        },
    );
}

fn two_pairs(broken: &[doorbells::Broken]) -> Result<(), String> {
    let config = doorbells::Config::new(2, 2, 0, 0).no_scans();
    explore(&Doorbells { config, broken: broken.to_vec() })
}

#[test]
fn lost_wake_up_with_no_death() {
    judge(
        "explore",
        &Specimen {
            name: "lost wake-up",
            bug: "an item behind an unpublished head rings a consumer in vain, and who takes the head \
              does not pass the wake on",
            broken: || two_pairs(&[doorbells::Broken::NoBaton]),
            fixed: || two_pairs(&[]),
        },
    );
}

fn killed_waiter(broken: &[doorbells::Broken]) -> Result<(), String> {
    let config = doorbells::Config::new(2, 1, 0, 0).deaths(1).only([0, 0]);
    explore(&Doorbells { config, broken: broken.to_vec() })
}

#[test]
fn wake_swallowed_by_a_killed_waiter() {
    judge(
        "explore",
        &Specimen {
            name: "wake swallowed by a killed waiter",
            bug: "a consumer is rung and killed before it takes the item; nobody watches its life \
              word, so neither its death nor what it was woken for is seen by anyone",
            broken: || killed_waiter(&[doorbells::Broken::PeersNotWatched]),
            fixed: || killed_waiter(&[]),
        },
    );
}

fn keeper_dies(broken: &[participants::Broken]) -> Result<(), String> {
    let config = participants::Config::new(2, 0, 2).deaths(1, 1).cell(&[]);
    explore(&Participants { config, broken: broken.to_vec() })
}

#[test]
fn false_suspicion() {
    judge(
        "explore",
        &Specimen {
            name: "false suspicion",
            bug: "the stamp of a thread is taken as proof that its process is dead",
            broken: || keeper_dies(&[participants::Broken::StampIsProof]),
            fixed: || keeper_dies(&[]),
        },
    );
}

fn claimant_alive(broken: &[participants::Broken]) -> Result<(), String> {
    let config = participants::Config::new(3, 0, 3).dead(1).deaths(0, 1).cell(&[]);
    explore(&Participants { config, broken: broken.to_vec() })
}

#[test]
fn double_recovery() {
    judge(
        "explore",
        &Specimen {
            name: "double recovery",
            bug: "a recoverer whose keeper thread ended is judged dead by its stamp: two recover the \
              same process",
            broken: || claimant_alive(&[participants::Broken::ClaimantJudgedByWord]),
            fixed: || claimant_alive(&[]),
        },
    );
}

fn one_range(broken: Option<ledger::Broken>) -> Result<(), String> {
    let policy = ledger::Policy::Fail;
    explore(&Ledger { ranges: 1, deaths: 0, revocations: 1, policy, epochs: 8, broken })
}

#[test]
fn ledger_finish_without_compare_and_swap() {
    judge(
        "explore",
        &Specimen {
            name: "finish that is not a CAS",
            bug: "a worker stores that it finished over a range that was revoked meanwhile: an item \
              runs twice",
            broken: || one_range(Some(ledger::Broken::FinishIsNoCas)),
            fixed: || one_range(None),
        },
    );
}
