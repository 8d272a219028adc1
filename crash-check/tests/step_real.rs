//! Real kills only: proofs of death that a process which merely stands still does not satisfy.
#![cfg(feature = "step")]

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

use crash_check::step::{FailureKind, Region, Scenario};

const OWNER: usize = 0;
const FIRST: usize = 8;
const SECOND: usize = 16;

/// Two equal words, guarded by a word that holds the owner's process id.
fn add_to_both(r: &Region) {
    // Acquire: pairs with the Release below.
    assert!(r.u32_at(OWNER).compare_exchange(0, std::process::id(), Acquire, Relaxed).is_ok());
    r.u64_at(FIRST).fetch_add(1, Relaxed);
    r.u64_at(SECOND).fetch_add(1, Relaxed);
    r.u32_at(OWNER).store(0, Release);
}

/// Proof by the kernel: there is no such process.
fn is_gone(pid: u32) -> bool {
    // SAFETY: takes integers only; a descriptor that it makes ends with this short process.
    unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) < 0 }
}

fn repair(r: &Region) {
    let owner = r.u32_at(OWNER).load(Acquire);
    if owner != 0 && is_gone(owner) {
        r.u64_at(SECOND).store(r.u64_at(FIRST).load(Relaxed), Relaxed);
        r.u32_at(OWNER).store(0, Release);
    }
}

fn unlock_then_repair(r: &Region) {
    let owner = r.u32_at(OWNER).load(Acquire);
    if owner != 0 && is_gone(owner) {
        r.u32_at(OWNER).store(0, Release);
        r.u64_at(SECOND).store(r.u64_at(FIRST).load(Relaxed), Relaxed);
    }
}

fn both_are_equal(r: &Region) -> Result<(), String> {
    let words = (r.u64_at(FIRST).load(Acquire), r.u64_at(SECOND).load(Acquire));
    match r.u32_at(OWNER).load(Acquire) {
        0 if words.0 == words.1 => Ok(()),
        0 => Err(format!("torn: {words:?}")),
        _ => Err("still owned".to_owned()),
    }
}

fn pair(name: &str, recovery: fn(&Region)) -> Scenario {
    Scenario::new(name).operation(add_to_both).recovery(recovery).validate(both_are_equal)
}

#[test]
fn a_proof_by_the_kernel_holds_after_real_kills_only() {
    let copied = pair("pidfd: on copies", repair).run().unwrap();
    let failure = copied.failure().expect("the victim stands still, and lives");
    assert_eq!(failure.message, "still owned");
    assert!(failure.to_string().contains("did no harm"), "the real kill says so: {failure}");
    let real = pair("pidfd: real", repair).only_real_kills().run().unwrap();
    real.assert_clean();
    // Four images of the operation with an owner or a change, and kills inside the recovery.
    assert!(real.real_kills > 5 && real.real_kills == real.recoveries, "{real}");
}

#[test]
fn a_recovery_that_cannot_be_killed_is_found_by_real_kills_too() {
    let report = pair("pidfd: hasty", unlock_then_repair).only_real_kills().run().unwrap();
    let failure = report.failure().expect("killed between the unlock and the repair");
    assert_eq!(failure.path.len(), 2, "{failure}");
    assert!(failure.message.starts_with("torn"), "{failure}");
    assert!(failure.replay.contains("!'"), "{failure}");
}

#[test]
fn a_timed_sleep_is_walked_through() {
    let report = Scenario::new("store, nap, store")
        .operation(|r| {
            r.u32_at(0).store(1, Release);
            std::thread::sleep(Duration::from_millis(20));
            r.u32_at(0).store(2, Release);
        })
        .validate(|_| ())
        .run()
        .unwrap();
    report.assert_clean();
    assert!(!report.left_asleep && report.images == 3, "{report:?}");
}

#[test]
fn an_error_of_the_operation_is_a_verdict() {
    let report = Scenario::new("full").operation(|_| Err("full")).validate(|_| ()).run().unwrap();
    let failure = report.failure().expect("it returned an error");
    assert_eq!(failure.kind, FailureKind::Operation);
    assert!(failure.message.contains("full"), "{failure}");
}

#[test]
fn a_stamp_that_the_kernel_does_not_make_is_found() {
    #[derive(Debug)]
    struct Wishful;
    impl crash_check::step::Liveness for Wishful {
        fn stamp(&self, _: &crash_check::step::Victim, image: &mut [u8]) {
            image[64] = 1;
        }
    }
    let scenario = Scenario::new("wishful").liveness(Wishful).operation(|_| ()).validate(|_| ());
    let report = scenario.run().unwrap();
    assert_eq!(report.failure().expect("no such stamp").kind, FailureKind::Stamp);
}
