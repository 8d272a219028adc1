//! Kill at every instruction: one victim, survivors that have not run.
//!
//! Orderings: in these small structures a Release store publishes what precedes it to the Acquire
//! load of the same word; Relaxed words have one writer, or are guarded by another word.
#![cfg(feature = "step")]

use std::os::fd::FromRawFd;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::time::{Duration, Instant};

use crash_check::step::{
    FUTEX_OWNER_DIED, FailureKind, LifeWords, Region, Report, Scenario, StepError,
};

const LOCK: usize = 0;
const FIRST: usize = 8;
const SECOND: usize = 16;

fn lock(r: &Region) {
    let me = std::process::id();
    // Acquire: pairs with the Release in `unlock`.
    assert!(r.u32_at(LOCK).compare_exchange(0, me, Acquire, Relaxed).is_ok());
}

fn unlock(r: &Region) {
    // Release: pairs with the Acquire in `lock`.
    r.u32_at(LOCK).store(0, Release);
}

fn add_to_both(r: &Region) {
    lock(r);
    // Relaxed: guarded by the lock.
    r.u64_at(FIRST).store(r.u64_at(FIRST).load(Relaxed) + 1, Relaxed);
    r.u64_at(SECOND).store(r.u64_at(SECOND).load(Relaxed) + 1, Relaxed);
    unlock(r);
}

fn complete(r: &Region) {
    if r.u32_at(LOCK).load(Acquire) == FUTEX_OWNER_DIED {
        // Relaxed: the dead owner wrote these, and its death was seen by an Acquire.
        r.u64_at(SECOND).store(r.u64_at(FIRST).load(Relaxed), Relaxed);
        unlock(r);
    }
}

fn both_are_equal(r: &Region) -> Result<(), String> {
    let (first, second) = (r.u64_at(FIRST).load(Acquire), r.u64_at(SECOND).load(Acquire));
    if r.u32_at(LOCK).load(Acquire) != 0 {
        return Err("still locked".to_owned());
    }
    if first == second { Ok(()) } else { Err(format!("torn: {first} and {second}")) }
}

fn pair(name: &str) -> Scenario {
    Scenario::new(name)
        .liveness(LifeWords::at(&[LOCK]))
        .operation(add_to_both)
        .validate(both_are_equal)
        .continuation(add_to_both)
}

#[test]
fn a_lock_with_a_complete_recovery_is_clean_at_every_instruction() {
    let report = pair("pair: add").recovery(complete).run().unwrap();
    report.assert_clean();
    assert!(report.instructions > 10, "{report}");
    // Before, locked, first, second, unlocked: the states that the code passes through.
    assert!(report.images >= 5, "{report}");
    assert!(report.recoveries > report.real_kills && report.real_kills == 4, "{report}");
}

#[test]
fn a_forgotten_unlock_is_found_with_its_source_line() {
    let report = pair("pair: nobody unlocks").run().unwrap();
    let failure = report.failure().expect("nobody recovers, so the lock stays held");
    assert_eq!(failure.kind, FailureKind::Invariant);
    assert_eq!(failure.message, "still locked");
    let source = failure.source.as_deref().unwrap_or("");
    assert!(source.contains("step_kill.rs"), "{failure}");
    assert!(failure.changes.iter().any(|change| change.offset == LOCK as u64), "{failure}");
    assert!(failure.listing.contains("cmpxchg"), "{failure}");
}

#[test]
fn a_recovery_that_ignores_half_the_work_is_found_torn() {
    let report = pair("pair: unlock only").recovery(unlock).run().unwrap();
    let failure = report.failure().expect("the second word is behind");
    assert!(failure.message.starts_with("torn"), "{failure}");
}

#[test]
fn a_recovery_that_cannot_be_killed_is_found() {
    // It unlocks first: fine unless it dies in between.
    let hasty = |r: &Region| {
        if r.u32_at(LOCK).load(Acquire) == FUTEX_OWNER_DIED {
            unlock(r);
            r.u64_at(SECOND).store(r.u64_at(FIRST).load(Relaxed), Relaxed);
        }
    };
    pair("pair: hasty, one death").depth(1).recovery(hasty).run().unwrap().assert_clean();
    let report = pair("pair: hasty, two deaths").recovery(hasty).run().unwrap();
    let failure = report.failure().expect("killed between the unlock and the repair");
    assert_eq!(failure.path.len(), 2, "{failure}");
    assert!(failure.message.starts_with("torn"), "{failure}");
}

#[test]
fn a_hang_of_the_survivors_is_a_verdict() {
    let spin = |r: &Region| {
        while r.u32_at(LOCK).load(Acquire) != 0 {
            std::hint::spin_loop();
        }
    };
    let report =
        pair("pair: spin").watchdog(Duration::from_millis(100)).recovery(spin).run().unwrap();
    let failure = report.failure().expect("the lock is never released");
    assert_eq!(failure.kind, FailureKind::Recovery);
    assert_eq!(failure.message, "recovery hangs");
}

#[test]
fn a_crash_of_the_operation_is_a_verdict() {
    let report = Scenario::new("null")
        .operation(|r| {
            r.u32_at(0).store(1, Relaxed);
            let nowhere = std::hint::black_box(std::ptr::null_mut::<u32>());
            // SAFETY: none: this is the crash under test, and only the victim executes it.
            unsafe { std::ptr::write_volatile(nowhere.wrapping_add(1024), 1) };
        })
        .validate(|_| ())
        .run()
        .unwrap();
    let failure = report.failure().expect("SIGSEGV");
    assert_eq!(failure.kind, FailureKind::Operation);
    assert!(failure.message.contains("SIGSEGV"), "{failure}");
    assert!(failure.to_string().contains("step_kill.rs"), "{failure}");
}

#[test]
fn a_panic_of_the_operation_is_a_verdict_with_its_message() {
    let report = Scenario::new("panic")
        .operation(|r| assert_eq!(r.u32_at(0).load(Relaxed), 1, "not one"))
        .validate(|_| ())
        .run()
        .unwrap();
    let failure = report.failure().expect("a panic");
    assert!(failure.message.contains("not one"), "{failure}");
}

#[test]
fn seven_hundred_instructions_are_exhausted_in_seconds() {
    let start = Instant::now();
    let report = Scenario::new("count in 64 words")
        .real_kills(2)
        .operation(|r| {
            // SAFETY: counts a register of its own down: 400 instructions in any build.
            unsafe {
                std::arch::asm!("2: dec {left}", "jnz 2b", left = inout(reg) 200_u64 => _);
            }
            for at in 0..64 {
                r.u64_at(at * 8).fetch_add(1, Relaxed);
            }
        })
        .recovery(|r| {
            r.u64_at(0).fetch_max(1, AcqRel);
        })
        .validate(|r| {
            let values: Vec<u64> = (0..64).map(|at| r.u64_at(at * 8).load(Relaxed)).collect();
            values.is_sorted_by(|a, b| a >= b).then_some(()).ok_or("not a prefix")
        })
        .run()
        .unwrap();
    println!("{:?}", start.elapsed());
    report.assert_clean();
    assert!(report.instructions >= 700 && report.images >= 65, "{report}");
}

#[test]
fn a_string_instruction_is_killed_between_its_iterations() {
    let report = Scenario::new("rep movsb")
        .operation(|r| {
            let from = [7_u8; 32];
            // SAFETY: both ranges hold 32 bytes and do not overlap; the direction flag is clear.
            unsafe {
                std::arch::asm!(
                    "rep movsb",
                    inout("rcx") 32_usize => _,
                    inout("rsi") from.as_ptr() => _,
                    inout("rdi") r.as_ptr() => _,
                );
            }
        })
        .validate(|_| ())
        .run()
        .unwrap();
    report.assert_clean();
    assert!(report.images >= 33, "one image a byte: {report}");
}

#[test]
fn an_operation_that_calls_the_kernel_and_the_c_library_is_stepped_through() {
    let report = Scenario::new("write a file")
        .operation(|r| {
            let text = format!("{:?}", std::time::SystemTime::now());
            std::os::unix::fs::FileExt::write_at(
                &std::fs::File::options().write(true).open(r.path())?,
                &text.as_bytes()[..8],
                64,
            )?;
            r.u32_at(0).store(1, Release);
            std::io::Result::Ok(())
        })
        .validate(|r| {
            let written = r.u64_at(64).load(Relaxed) != 0;
            (written || r.u32_at(0).load(Acquire) == 0).then_some(()).ok_or("flag before data")
        })
        .run()
        .unwrap();
    report.assert_clean();
    assert!(report.images >= 3, "{report}");
}

#[test]
fn an_endless_operation_is_an_error_that_says_so() {
    let spin = |r: &Region| while r.u32_at(0).load(Relaxed) == 0 {};
    let run = Scenario::new("spin").max_instructions(500).operation(spin).validate(|_| ()).run();
    assert!(matches!(run, Err(StepError::TooLong { .. })), "{run:?}");
}

#[test]
fn what_is_missing_is_named() {
    let run = Scenario::new("empty").run();
    assert!(run.unwrap_err().to_string().contains("operation"));
    let run = Scenario::new("no validate").operation(|_| ()).run();
    assert!(run.unwrap_err().to_string().contains("validate"));
    let run = pair("bad init").init(|_| Err("no room")).run();
    assert!(run.unwrap_err().to_string().contains("no room"));
    let run = pair("grown").init(|r| {
        std::fs::File::options().write(true).open(r.path()).and_then(|f| f.set_len(1 << 20))
    });
    assert!(matches!(run.run(), Err(StepError::RegionTooSmall { file: 0x10_0000 })));
}

#[test]
fn a_report_is_a_table_row_and_a_json_object() {
    let report: Report = pair("pair: \"add\"").state("fresh").recovery(complete).run().unwrap();
    let json = report.to_json();
    for key in ["operation", "state", "instructions", "images", "recoveries", "verdict"] {
        assert!(json.contains(&format!("\"{key}\":")), "{json}");
    }
    assert!(json.contains(r#""pair: \"add\"""#), "{json}");
    let columns = |row: &str| row.matches('|').count();
    let header = Report::table_header().lines().next().unwrap();
    assert_eq!(columns(&report.to_string()), columns(header));
}

#[test]
fn a_large_region_is_walked_through_the_same_images() {
    let run = |bytes: usize| {
        let scenario = pair("pair: add, large").region(bytes).recovery(complete).real_kills(2);
        scenario.run().unwrap()
    };
    let (small, large) = (run(4096), run(1 << 20));
    large.assert_clean();
    assert_eq!((small.images, small.instructions), (large.images, large.instructions));
}

#[test]
fn a_structure_spread_over_two_files_is_seen_whole() {
    // The flag lies in one file, the data in the other.
    let write = |data_first: bool| {
        move |r: &Region| {
            let data = || r.other(0).u64_at(FIRST).store(7, Release);
            if data_first {
                data();
            }
            r.u32_at(0).store(1, Release);
            if !data_first {
                data();
            }
        }
    };
    let run = |data_first: bool| {
        let scenario = Scenario::new("flag and data").another_file(4096);
        let scenario = scenario.operation(write(data_first)).validate(|r| {
            let flag = r.u32_at(0).load(Acquire) == 1;
            let data = r.other(0).u64_at(FIRST).load(Acquire) == 7;
            if flag && !data { Err("flag without data") } else { Ok(()) }
        });
        scenario.run().unwrap()
    };
    run(true).assert_clean();
    assert_eq!(run(true).images, 3);
    assert!(run(false).failure().is_some());
}

#[test]
fn a_file_that_the_structure_made_is_stepped_as_it_is() {
    // SAFETY: the name is a C string that outlives the call.
    let raw = unsafe { libc::memfd_create(c"mine".as_ptr(), libc::MFD_CLOEXEC) };
    assert!(raw >= 0);
    // SAFETY: the descriptor was just made, and is nobody else's.
    let file = unsafe { std::fs::File::from_raw_fd(raw) };
    file.set_len(8192).unwrap();
    std::os::unix::fs::FileExt::write_at(&file, &[3], 5000).unwrap();
    let report = Scenario::new("own file")
        .region_of(file)
        .operation(|r| _ = r.u8_at(5000).fetch_add(1, AcqRel))
        .validate(|r| matches!(r.u8_at(5000).load(Acquire), 3 | 4).then_some(()).ok_or("zeroed"))
        .run()
        .unwrap();
    report.assert_clean();
    assert_eq!(report.images, 2, "{report}");
}
