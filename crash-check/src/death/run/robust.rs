//! What is left to do for the dead: words to stamp, processes to count out.

use super::{Process, me, with};
use crate::death::sync::AtomicU32;

/// Notes a word that the kernel stamps when the thread of that name dies.
pub(in crate::death) fn watch(thread: &str, word: AtomicU32) {
    with(|run| match run.threads.iter_mut().find(|t| t.name == thread) {
        Some(thread) => thread.robust.push((word, true)),
        None => run.lives.entry(thread.to_owned()).or_default().push(word),
    });
}

/// Adds a word to the robust list of the running thread.
pub(in crate::death) fn add_robust(word: AtomicU32) {
    let me = me();
    with(|run| run.threads[me].robust.push((word, false)));
}

/// Takes a word off the robust list of the running thread; dropped by the caller.
pub(in crate::death) fn remove_robust(word: usize) -> Vec<(AtomicU32, bool)> {
    let me = me();
    with(|run| {
        let list = &mut run.threads[me].robust;
        let (off, on) = std::mem::take(list).into_iter().partition(|(w, _)| w.id() == word);
        *list = on;
        off
    })
}

/// The robust list of the running thread, for the kernel to walk.
pub(in crate::death) fn take_robust() -> Vec<(AtomicU32, bool)> {
    let me = me();
    with(|run| std::mem::take(&mut run.threads[me].robust))
}

/// The count of ended threads of a process, made by `new` if nobody asked before.
pub(in crate::death) fn process(name: &str, new: impl FnOnce() -> AtomicU32) -> AtomicU32 {
    if let Some(word) = with(|run| run.processes.get(name).map(|p| p.ended.share())) {
        return word;
    }
    let word = new();
    let kept = word.share();
    with(|run| run.processes.insert(name.to_owned(), Process { ended: kept }));
    word
}

/// The word of the running thread's process, if somebody may ask for a proof.
pub(in crate::death) fn my_process() -> Option<AtomicU32> {
    let me = me();
    with(|run| {
        let name = &run.threads[me].process;
        run.processes.get(name).map(|process| process.ended.share())
    })
}

/// How many threads a process has.
pub(in crate::death) fn threads_of(process: &str) -> u32 {
    with(|run| {
        let count = run.threads.iter().filter(|thread| thread.process == process).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    })
}
