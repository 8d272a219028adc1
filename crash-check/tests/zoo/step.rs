//! Specimens for the `step` tool.

#[path = "step/claims.rs"]
mod claims;
#[path = "step/kernel.rs"]
mod kernel;
#[path = "step/memory.rs"]
mod memory;
#[path = "step/rings.rs"]
mod rings;

use std::sync::atomic::AtomicU32;
use std::time::Duration;

use crash_check::step::{Scenario, is_permitted};

/// Runs the judge, or says in one line why it can not.
fn judge(specimen: &super::Specimen) {
    match is_permitted() {
        Ok(()) => super::judge("step", specimen),
        Err(why) => println!("zoo | {} | step | not run: {why}", specimen.name),
    }
}

/// The tool's word on a scenario.
fn verdict(scenario: Scenario) -> Result<(), String> {
    let report = scenario.run().map_err(|error| format!("no verdict: {error}"))?;
    println!("{report}");
    report.into_result()
}

/// Long enough for any survivor that is not stuck, even on a busy machine.
const WATCHDOG: Duration = Duration::from_secs(1);

/// This process, as it names itself in shared words.
fn me() -> u32 {
    std::process::id()
}

/// `FUTEX_WAIT` on a word that several processes share.
fn futex_wait(word: &AtomicU32, expected: u32) {
    let forever = std::ptr::null::<libc::timespec>();
    // SAFETY: `word` is live; the kernel only reads it, and a null timeout means none.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, expected, forever) };
}

/// `FUTEX_WAKE` of at most `count` sleepers.
fn futex_wake(word: &AtomicU32, count: i32) {
    // SAFETY: `word` is live; the kernel uses only its address.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, count) };
}
