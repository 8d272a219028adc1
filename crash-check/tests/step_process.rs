//! The stepper among processes: refused, killed itself, asked to replay, compared with the kernel.
//!
//! Orderings: in these small structures a Release store publishes what precedes it to the Acquire
//! load of the same word; Relaxed words have one writer, or are guarded by another word.
#![cfg(feature = "step")]
// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::{Duration, Instant};

use crash_check::step::{FUTEX_OWNER_DIED, Region, Scenario, StepError, is_permitted};

/// Makes `ptrace` fail with EPERM in the calling thread and in all that it forks.
fn forbid_ptrace() {
    let filter = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter {
        code: u16::try_from(code).unwrap(),
        jt,
        jf,
        k,
    };
    let refuse = libc::SECCOMP_RET_ERRNO | u32::try_from(libc::EPERM).unwrap();
    let mut program = [
        // The number of the system call, at offset 0 of `struct seccomp_data`.
        filter(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        filter(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            u32::try_from(libc::SYS_ptrace).unwrap(),
            0,
            1,
        ),
        filter(libc::BPF_RET | libc::BPF_K, refuse, 0, 0),
        filter(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
    // SAFETY: takes integers only.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: `program` and the filter it points to are live during the call.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) }, 0);
}

#[test]
fn where_ptrace_is_refused_the_error_says_what_to_do() {
    let refused = std::thread::spawn(|| {
        forbid_ptrace();
        (is_permitted(), Scenario::new("any").operation(|_| ()).validate(|_| ()).run())
    });
    let (permitted, run) = refused.join().unwrap();
    assert!(matches!(permitted, Err(StepError::NotPermitted)), "{permitted:?}");
    assert!(matches!(run, Err(StepError::NotPermitted)), "{run:?}");
    assert!(run.unwrap_err().to_string().contains("SYS_PTRACE"));
}

/// The node and the head of a robust list (`linux/futex.h`), in private memory of the victim.
#[repr(C)]
struct RobustHead {
    next: *mut RobustHead,
    futex_offset: libc::c_long,
    pending: *mut RobustHead,
}

/// Registers a robust list of one life word, takes and gives back the word.
fn live_and_die(r: &Region) {
    const LIFE: usize = 64;
    let node: *mut RobustHead = r.as_ptr().cast();
    let head = Box::leak(Box::new(RobustHead {
        next: node,
        futex_offset: LIFE as libc::c_long,
        pending: std::ptr::null_mut(),
    }));
    // The node lies in the region, and its link leads back to the head.
    r.u64_at(0).store(head as *mut RobustHead as u64, Relaxed);
    // SAFETY: the head is leaked, so it lives until the process dies.
    let set = unsafe {
        libc::syscall(libc::SYS_set_robust_list, &raw mut *head, size_of::<RobustHead>())
    };
    assert_eq!(set, 0);
    // Release: the life word last; from here on the kernel stamps it.
    r.u32_at(LIFE).store(std::process::id(), Release);
    r.u32_at(128).store(1, Release);
    r.u32_at(LIFE).store(0, Release);
}

#[test]
fn the_kit_stamps_robust_futexes_exactly_as_the_kernel_does() {
    let report = Scenario::new("life word")
        .operation(live_and_die)
        // Each distinct image is left by a real kill as well, and compared with the prediction.
        .real_kills(usize::MAX)
        .validate(|r| match r.u32_at(64).load(Acquire) {
            0 => Ok(()),
            FUTEX_OWNER_DIED => Ok(()),
            word => Err(format!("the life word of a dead thread is {word:#x}")),
        })
        .run()
        .unwrap();
    report.assert_clean();
    assert!(report.real_kills >= 4, "{report}");
}

const INNER: &str = "CRASH_CHECK_TEST_INNER";

/// A test of this file, run by itself in a process of its own.
fn inner(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(INNER, test);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn is_inner(test: &str) -> bool {
    std::env::var(INNER).is_ok_and(|name| name == test)
}

fn half_done() -> Scenario {
    Scenario::new("two stores").operation(|r| {
        r.u32_at(0).store(1, Release);
        r.u32_at(4).store(1, Release);
    })
}

#[test]
fn a_failure_is_replayed_by_the_command_that_it_prints() {
    const NAME: &str = "a_failure_is_replayed_by_the_command_that_it_prints";
    let scenario = half_done().real_kills(0).validate(|r| {
        let (a, b) = (r.u32_at(0).load(Acquire), r.u32_at(4).load(Acquire));
        if a == b { Ok(()) } else { Err("half") }
    });
    let report = scenario.run().unwrap();
    let failure = report.failure().expect("killed between the stores");
    if is_inner(NAME) {
        assert_eq!(report.recoveries, 1, "only the one point is judged: {report}");
        return;
    }
    assert!(failure.replay.contains(NAME) && failure.replay.contains("cargo test"), "{failure}");
    assert_eq!(failure.replay.contains(" --release "), !cfg!(debug_assertions), "{failure}");
    let point = failure.replay.split('\'').nth(1).unwrap();
    let output = inner(NAME).env("CRASH_CHECK_REPLAY", point).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}");
    assert!(printed.contains("half") && printed.contains("executed last"), "{printed}");
}

#[test]
fn a_point_that_is_not_there_is_an_error() {
    const NAME: &str = "a_point_that_is_not_there_is_an_error";
    if is_inner(NAME) {
        let run = half_done().validate(|_| ()).run();
        assert!(matches!(run, Err(StepError::NoSuchPoint(_))), "{run:?}");
        return;
    }
    let output = inner(NAME).env("CRASH_CHECK_REPLAY", "two stores@999999").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// All processes that descend from `ancestor`.
fn descendants(ancestor: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect();
    let mut found = vec![ancestor];
    let mut at = 0;
    while at < found.len() {
        let parent = found[at];
        found.extend(parents.iter().filter(|(_, p)| *p == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    found.split_off(1)
}

fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn nothing_is_left_behind_when_the_test_itself_is_killed() {
    const NAME: &str = "nothing_is_left_behind_when_the_test_itself_is_killed";
    if is_inner(NAME) {
        // Steps for ever.
        let run = Scenario::new("spin")
            .max_instructions(u64::MAX)
            .operation(|r| while r.u32_at(0).load(Relaxed) == 0 {})
            .validate(|_| ())
            .run();
        unreachable!("{run:?}");
    }
    let mut test = inner(NAME).process_group(0).spawn().unwrap();
    let mut family = Vec::new();
    // The session and its victim.
    eventually("a session with a victim", || {
        family = descendants(test.id());
        family.len() >= 2
    });
    test.kill().unwrap();
    test.wait().unwrap();
    eventually("all of the family gone", || !family.iter().any(|pid| is_alive(*pid)));
}

#[test]
fn many_threads_may_step_at_once() {
    let run = || half_done().validate(|_| ()).run().map(|report| report.images);
    let images: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect()
    });
    assert_eq!(images, [3; 4]);
}

#[test]
fn a_sleeper_that_nobody_wakes_is_killed_in_its_sleep() {
    let sleep = |r: &Region| {
        r.u32_at(0).store(1, Release);
        let forever = std::ptr::null::<libc::timespec>();
        let word = r.u32_at(4).as_ptr();
        // SAFETY: the word is live; the kernel only reads it, and a null timeout means none.
        unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, 0, forever) };
    };
    let report = Scenario::new("sleep").operation(sleep).validate(|_| ()).run().unwrap();
    report.assert_clean();
    assert!(report.left_asleep && report.images == 2, "{report:?}");
}

#[test]
fn a_sleeper_is_woken_by_the_waker_and_killed_after_it() {
    let sleep = |r: &Region| {
        while r.u32_at(4).load(Acquire) == 0 {
            let forever = std::ptr::null::<libc::timespec>();
            let word = r.u32_at(4).as_ptr();
            // SAFETY: the word is live; the kernel only reads it, and a null timeout means none.
            unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, 0, forever) };
        }
        r.u32_at(8).store(1, Release);
    };
    let wake = |r: &Region| {
        r.u32_at(4).store(1, Release);
        let word = r.u32_at(4).as_ptr();
        // SAFETY: the word is live; the kernel uses only its address.
        unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE, 1) };
    };
    let scenario = Scenario::new("sleep, wake").operation(sleep).waker(wake).validate(|_| ());
    let report = scenario.run().unwrap();
    report.assert_clean();
    // Untouched; rung; served.
    assert!(!report.left_asleep && report.images == 3, "{report:?}");
}
