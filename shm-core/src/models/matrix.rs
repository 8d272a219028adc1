//! The mutation matrix: each ordering and each statement of the turns is needed by a model, or says
//! why it is there.

use std::error::Error;

use crash_check::mutate::Mutations;

use super::MODELS;

#[test]
fn loom_matrix_of_the_turns() -> Result<(), Box<dyn Error>> {
    let mut mutations = Mutations::new().source("shm-core/src/turn.rs", include_str!("../turn.rs"));
    for function in ["set_count", "hand_over", "redeem", "recall"] {
        mutations = mutations.statements_of(function);
    }
    for &(name, model) in MODELS {
        mutations = mutations.model(name, model);
    }
    run(&mutations, "shm-core-turns", "Mutation matrix of shm-core: turns")
}

#[test]
fn loom_matrix_of_the_locks() -> Result<(), Box<dyn Error>> {
    let mut mutations = Mutations::new()
        .source("shm-core/src/lock/raw.rs", include_str!("../lock/raw.rs"))
        .source("shm-core/src/lock/signal.rs", include_str!("../lock/signal.rs"))
        .source("shm-core/src/lock/shares.rs", include_str!("../lock/shares.rs"))
        .source("shm-core/src/lock/rwlock.rs", include_str!("../lock/rwlock.rs"))
        .source("shm-core/src/lock/semaphore.rs", include_str!("../lock/semaphore.rs"))
        .source("shm-core/src/lock/event.rs", include_str!("../lock/event.rs"))
        .source("shm-core/src/lock/once.rs", include_str!("../lock/once.rs"));
    mutations = mutations
        .reason(
            "clear",
            "fetch_and(!SET",
            "unreached",
            "the user's own flag: it publishes nothing, and a mark of sleepers stays",
        )
        .reason(
            "look",
            "compare_exchange(self.seen, mine",
            "Acquire → Relaxed",
            "for an earlier run that panicked and one more between the load and the exchange; in a \
             model a panic is a death",
        )
        .reason(
            "wake_after_release",
            "self.word.wake_all()",
            "dropped",
            "the condvar's model finds it with two forced switches, in a minute; here it has one",
        );
    for &(name, model) in super::locks::MODELS {
        mutations = mutations.model(name, model);
    }
    run(&mutations, "shm-core-locks", "Mutation matrix of shm-core: locks")
}

pub(crate) fn run(mutations: &Mutations, file: &str, title: &str) -> Result<(), Box<dyn Error>> {
    let matrix = mutations.run()?;
    println!("{}", matrix.text());
    if let Some(folder) = std::env::var_os("MUTATION_PAGES") {
        let page = std::path::Path::new(&folder).join(file);
        std::fs::write(page.with_extension("txt"), matrix.text())?;
        std::fs::write(page.with_extension("html"), matrix.html(title))?;
    }
    matrix.check(0.1)?;
    Ok(())
}
