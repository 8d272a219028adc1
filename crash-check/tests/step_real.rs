//! Real kills only: proofs of death that a process which merely stands still does not satisfy.
//!
//! Orderings: in these small structures a Release store publishes what precedes it to the Acquire
//! load of the same word; Relaxed words have one writer, or are guarded by another word.
#![cfg(feature = "step")]

use std::os::fd::AsRawFd;
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

/// A POSIX record lock on the first byte, or the question who has one.
fn record_lock(r: &Region, command: i32, kind: i32) -> libc::flock {
    let mut lock = libc::flock {
        l_type: i16::try_from(kind).unwrap_or(0),
        l_whence: 0,
        l_start: 0,
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open, and the kernel reads and writes the one live structure.
    let done = unsafe { libc::fcntl(r.fd().as_raw_fd(), command, &raw mut lock) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    lock
}

#[test]
fn a_record_lock_of_the_dead_is_free_on_copies_as_after_real_kills() {
    let under_the_lock = |r: &Region| {
        record_lock(r, libc::F_SETLK, libc::F_WRLCK);
        r.u64_at(FIRST).fetch_add(1, Relaxed);
        r.u64_at(SECOND).fetch_add(1, Relaxed);
        record_lock(r, libc::F_SETLK, libc::F_UNLCK);
    };
    let repair = |r: &Region| {
        let held = record_lock(r, libc::F_GETLK, libc::F_WRLCK);
        if i32::from(held.l_type) != libc::F_UNLCK {
            return Err(format!("process {} holds the lock", held.l_pid));
        }
        r.u64_at(SECOND).store(r.u64_at(FIRST).load(Relaxed), Relaxed);
        Ok(())
    };
    let scenario = |name: &str| {
        let scenario = Scenario::new(name).operation(under_the_lock).recovery(repair);
        scenario.validate(both_are_equal)
    };
    scenario("record lock: copies").run().unwrap().assert_clean();
    scenario("record lock: real").only_real_kills().run().unwrap().assert_clean();
}

static FLAG: std::sync::atomic::AtomicPtr<u8> =
    std::sync::atomic::AtomicPtr::new(std::ptr::null_mut());

extern "C" fn on_signal(_: i32) {
    // Relaxed: set by this very thread before the signal.
    let at = FLAG.load(Relaxed);
    // SAFETY: `at` is the first byte of the region, mapped for the whole run.
    unsafe { at.write_volatile(2) };
}

#[test]
fn a_signal_handler_is_stepped_through() {
    let report = Scenario::new("signal")
        .operation(|r| {
            FLAG.store(r.as_ptr(), Relaxed);
            let handler = on_signal as extern "C" fn(i32) as libc::sighandler_t;
            // SAFETY: the handler only stores one byte.
            unsafe { libc::signal(libc::SIGUSR1, handler) };
            // SAFETY: takes an integer.
            unsafe { libc::raise(libc::SIGUSR1) };
            r.u8_at(1).store(r.u8_at(0).load(Relaxed), Release);
        })
        .validate(|_| ())
        .run()
        .unwrap();
    report.assert_clean();
    assert_eq!(report.images, 3, "before, in the handler, behind it: {report}");
}

#[test]
fn an_exit_in_the_middle_is_not_taken_for_success() {
    let leave = |_: &Region| -> Result<(), String> { std::process::exit(0) };
    let report = Scenario::new("exit").operation(|_| ()).validate(leave).run().unwrap();
    assert!(report.failure().expect("validate left").message.contains("exit(0)"));
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
