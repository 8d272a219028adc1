//! The mutation matrix: each ordering, barrier and wake of the ring, the bell and the roles, and
//! each statement of what ends, claims and recovers, is needed by a model, or says why it is there.

use std::error::Error;

use crash_check::mutate::Mutations;

use super::{
    BOUND, bell, broadcast, closing, mailbox, message, mpmc, range, ring, roles, waiting, work,
};

/// Functions that end, claim, give back, take over, wake and announce: their statements are left
/// out in turn, too.
const STATEMENTS_OF: [&str; 12] = [
    "end",
    "revive",
    "claim",
    "claim_if",
    "disconnect",
    "release",
    "wake_listeners",
    "listen",
    "announce",
    "cancel",
    "publish",
    "consume",
];

const FENCED: &str = "beyond the tool: a model has a full fence in the light barrier before it; \
    where membarrier works there is none, and this Release is what the fence in `listen` pairs with";

/// Four threads: a model of its own, too slow to be run for every mutant.
const LEFT_OUT: &str = "a_supervisor_wakes_both_waiters_of_a_ringer_that_died";

fn mutations() -> Mutations {
    let mut mutations = Mutations::new()
        .source("ipc-queue/src/ring.rs", include_str!("../ring.rs"))
        .source("ipc-queue/src/bell.rs", include_str!("../bell.rs"))
        .source("ipc-queue/src/role.rs", include_str!("../role.rs"))
        .source("ipc-queue/src/wait.rs", include_str!("../wait.rs"));
    for function in STATEMENTS_OF {
        mutations = mutations.statements_of(function);
    }
    for models in [ring::MODELS, closing::MODELS, roles::MODELS, bell::MODELS, waiting::MODELS] {
        for &(name, model) in models.iter().filter(|(name, _)| *name != LEFT_OUT) {
            mutations = mutations.model(name, model);
        }
    }
    with_reasons(mutations)
}

fn with_reasons(mut mutations: Mutations) -> Mutations {
    let rung = "match word.compare_exchange(state, rung";
    mutations = mutations.reason("wake_listeners", rung, "Release → Relaxed", FENCED);
    let hint =
        "a hint: the role's own word decides, and a bit that is left costs each operation a look";
    mutations = mutations.reason("revive", "self.control", "dropped", hint);
    for line in ["light_barrier();", "let state = self.state"] {
        let why = "for bells with many listeners: see the other matrix";
        mutations = mutations.reason("ring_some", line, "unreached", why);
    }
    for (function, line) in [("is_sendable", "self.consumer"), ("is_receivable", "self.producer")] {
        mutations = mutations.reason(function, line, "unreached", FOR_SELECTORS);
    }
    for (function, line) in [
        ("read", "self.spins"),
        ("read", "self.parks"),
        ("read", "self.wakes"),
        ("read", "self.full"),
        ("read", "self.empty"),
        ("add_one", "counter.fetch_add"),
    ] {
        let why = "a count to show, Relaxed already, no part of the protocol and of no model";
        mutations = mutations.reason(function, line, "unreached", why);
    }
    let quick = "the fast form of `ring`, for a process whose mode allows it: a model has fences";
    mutations = mutations.reason("has_listener", "self.state", "unreached", quick);
    mutations
}

/// The models in which four threads sleep: too slow to be run for every mutant.
const LEFT_OUT_OF_MPMC: [&str; 1] = ["a_consumer_that_was_woken_and_killed_wakes_another"];

fn mutations_of_mpmc() -> Mutations {
    let mut mutations = Mutations::new()
        .source("ipc-queue/src/mpmc/send.rs", include_str!("../mpmc/send.rs"))
        .source("ipc-queue/src/mpmc/receive.rs", include_str!("../mpmc/receive.rs"))
        .source("ipc-queue/src/mpmc/shared.rs", include_str!("../mpmc/shared.rs"))
        .source("ipc-queue/src/mpmc/attached.rs", include_str!("../mpmc/attached.rs"))
        .source("ipc-queue/src/mpmc/park.rs", include_str!("../mpmc/park.rs"))
        .source("ipc-queue/src/bell.rs", include_str!("../bell.rs"));
    for function in [
        "free_of_the_dead",
        "announce",
        "close",
        "ring_everybody",
        "has_arrived",
        "look_after",
        "has_ended",
    ] {
        mutations = mutations.statements_of(function);
    }
    for (function, line, mutant, why) in [
        ("wake_listeners", "match word.compare_exchange(state, rung", "Release → Relaxed", FENCED),
        ("count", "let count", "unreached", "a count to show, Relaxed already"),
        ("cancel", "fetch_and", "unreached", "for bells with one listener: see the other matrix"),
        ("has_listener", "self.state", "unreached", "for other kinds: see the other matrix"),
    ] {
        mutations = mutations.reason(function, line, mutant, why);
    }
    for &(name, model) in mpmc::MODELS.iter().filter(|(name, _)| !LEFT_OUT_OF_MPMC.contains(name)) {
        mutations = mutations.model(name, model);
    }
    mutations
}

fn mutations_of_work() -> Mutations {
    let mut mutations = Mutations::new()
        .source("ipc-queue/src/work/shared.rs", include_str!("../work/shared.rs"))
        .source("ipc-queue/src/work/submit.rs", include_str!("../work/submit.rs"))
        .source("ipc-queue/src/work/lease.rs", include_str!("../work/lease.rs"))
        .source("ipc-queue/src/work/join.rs", include_str!("../work/join.rs"));
    for function in ["look_after", "has_ended", "put_back"] {
        mutations = mutations.statements_of(function);
    }
    for &(name, model) in work::MODELS {
        mutations = mutations.model(name, model);
    }
    mutations
}

fn mutations_of_range() -> Mutations {
    let mut mutations = Mutations::new()
        .source("ipc-queue/src/work/range.rs", include_str!("../work/range.rs"))
        .statements_of("start")
        .statements_of("finish")
        .statements_of("revoke");
    for &(name, model) in range::MODELS {
        mutations = mutations.model(name, model);
    }
    mutations
}

const FOR_SELECTORS: &str =
    "Relaxed already: for selectors, who look again by the operation itself";

fn mutations_of_broadcast() -> Mutations {
    let mut mutations = Mutations::new()
        .source("ipc-queue/src/broadcast/send.rs", include_str!("../broadcast/send.rs"))
        .source("ipc-queue/src/broadcast/receive.rs", include_str!("../broadcast/receive.rs"))
        .source("ipc-queue/src/broadcast/shared.rs", include_str!("../broadcast/shared.rs"))
        .source("ipc-queue/src/broadcast/words.rs", include_str!("../broadcast/words.rs"));
    for function in ["take_role", "leave_role", "take_row", "leave_row", "close", "pass"] {
        mutations = mutations.statements_of(function);
    }
    let rows = "beyond the tool: loom orders two stores to one word (a row's cursor, by its reader and \
        the next) as they happened";
    mutations = mutations.reason("take_row", "compare_exchange", "Acquire → Relaxed", rows);
    mutations = mutations.reason("is_ready", "let tail", "unreached", FOR_SELECTORS);
    let tail = "beyond the tool: a model has a full fence between the tail and the limit, in the light \
        barrier of each send; where membarrier works there is none";
    mutations = mutations.reason("promise", "store", "Release → Relaxed", tail);
    mutations = mutations.reason("promised", "load", "Acquire → Relaxed", tail);
    for &(name, model) in broadcast::MODELS {
        mutations = mutations.model(name, model);
    }
    mutations
}

fn mutations_of_message() -> Mutations {
    let mut mutations = Mutations::new()
        .source("ipc-queue/src/message/send.rs", include_str!("../message/send.rs"))
        .source("ipc-queue/src/message/receive.rs", include_str!("../message/receive.rs"))
        .source("ipc-queue/src/message/shared.rs", include_str!("../message/shared.rs"));
    for function in ["take_role", "leave_role", "close", "commit", "release"] {
        mutations = mutations.statements_of(function);
    }
    for line in ["let head", "let tail"] {
        mutations = mutations.reason("is_ready", line, "unreached", FOR_SELECTORS);
    }
    for &(name, model) in message::MODELS {
        mutations = mutations.model(name, model);
    }
    mutations
}

/// Three threads that sleep, die or clear up beside each other: too slow to be run for every mutant.
const LEFT_OUT_OF_MAILBOX: [&str; 4] = [
    "two_messages_wake_two_sleepers_though_the_first_was_finished_last",
    "a_parked_producer_gets_the_slot_of_a_dead_consumer",
    "a_slot_that_nobody_can_settle_is_passed_over",
    "of_two_who_take_over_one_succeeds",
];

fn mutations_of_mailbox() -> Mutations {
    let mut mutations = Mutations::new()
        .source("ipc-queue/src/mailbox/send.rs", include_str!("../mailbox/send.rs"))
        .source("ipc-queue/src/mailbox/receive.rs", include_str!("../mailbox/receive.rs"))
        .source("ipc-queue/src/mailbox/shared.rs", include_str!("../mailbox/shared.rs"));
    for function in [
        "claim",
        "skip",
        "hand_over",
        "look_for_the_end",
        "take_next",
        "announce_room",
        "take_over",
        "release",
        "free",
    ] {
        mutations = mutations.statements_of(function);
    }
    for &(name, model) in
        mailbox::MODELS.iter().filter(|(name, _)| !LEFT_OUT_OF_MAILBOX.contains(name))
    {
        mutations = mutations.model(name, model);
    }
    mutations
}

#[test]
fn loom_matrix_of_the_mailbox() -> Result<(), Box<dyn Error>> {
    run(&mutations_of_mailbox(), "ipc-queue-mailbox", "Mutation matrix of ipc-queue's mailbox")
}

#[test]
fn loom_matrix_of_the_broadcast_ring() -> Result<(), Box<dyn Error>> {
    run(
        &mutations_of_broadcast(),
        "ipc-queue-broadcast",
        "Mutation matrix of ipc-queue's broadcast",
    )
}

#[test]
fn loom_matrix_of_messages() -> Result<(), Box<dyn Error>> {
    run(&mutations_of_message(), "ipc-queue-message", "Mutation matrix of ipc-queue's message")
}

#[test]
fn loom_matrix_of_the_work_queue() -> Result<(), Box<dyn Error>> {
    run(&mutations_of_work(), "ipc-queue-work", "Mutation matrix of ipc-queue's work")
}

#[test]
fn loom_matrix_of_the_range_record() -> Result<(), Box<dyn Error>> {
    run(&mutations_of_range(), "ipc-queue-range", "Mutation matrix of ipc-queue's range record")
}

#[test]
fn loom_matrix_of_the_ring_the_bell_and_the_roles() -> Result<(), Box<dyn Error>> {
    run(&mutations(), "ipc-queue", "Mutation matrix of ipc-queue")
}

#[test]
fn loom_matrix_of_the_queue_for_many() -> Result<(), Box<dyn Error>> {
    run(&mutations_of_mpmc(), "ipc-queue-mpmc", "Mutation matrix of ipc-queue's mpmc")
}

fn run(mutations: &Mutations, page: &str, title: &str) -> Result<(), Box<dyn Error>> {
    // Two switches find what three do, in a tenth of the time.
    BOUND.set(Some(2));
    let matrix = mutations.run();
    BOUND.set(None);
    let matrix = matrix?;
    println!("{}", matrix.text());
    if let Some(folder) = std::env::var_os("MUTATION_PAGES") {
        let page = std::path::Path::new(&folder).join(page);
        std::fs::write(page.with_extension("txt"), matrix.text())?;
        std::fs::write(page.with_extension("html"), matrix.html(title))?;
    }
    matrix.check(0.1)?;
    Ok(())
}
