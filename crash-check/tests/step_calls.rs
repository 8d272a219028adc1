//! Operations whose traces lie in the kernel: each return from a system call is a kill point.
#![cfg(feature = "step")]
// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use crash_check::step::{FailureKind, Scenario};

fn name(test: &str) -> PathBuf {
    std::env::temp_dir().join(format!("crash-check-{test}-{}", std::process::id()))
}

/// Makes a file and takes it away again; the memory never changes.
fn make_and_remove(file: &Path) -> Scenario {
    let (here, there) = (file.to_owned(), file.to_owned());
    Scenario::new("a name, made and removed")
        .each_system_call()
        .operation(move |_| {
            std::fs::write(&here, b"x")?;
            std::fs::remove_file(&here)
        })
        .validate(move |_| if there.exists() { Err("the dead one's file stays") } else { Ok(()) })
}

#[test]
fn a_name_that_a_kill_between_two_calls_leaves_is_found() {
    const NAME: &str = "a_name_that_a_kill_between_two_calls_leaves_is_found";
    let file =
        name(if std::env::var_os("CRASH_CHECK_REPLAY").is_some() { "again" } else { "left" });
    let report = make_and_remove(&file).run().unwrap();
    let _ = std::fs::remove_file(&file);
    let failure = report.failure().expect("killed between open and unlink").clone();
    assert_eq!(failure.kind, FailureKind::Invariant);
    assert_eq!(failure.path[0].after_call.unwrap().calls, 1, "{failure}");
    assert!(failure.to_string().contains("after its 1 system calls"), "{failure}");

    let point = failure.replay.split('\'').nth(1).unwrap();
    assert!(point.ends_with("@s1!"), "{point}");
    if std::env::var_os("CRASH_CHECK_REPLAY").is_some() {
        return;
    }
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args([NAME, "--exact", "--nocapture"]).env("CRASH_CHECK_REPLAY", point);
    let output = again.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && printed.contains("the dead one's file stays"), "{printed}");
}

#[test]
fn a_recovery_that_removes_it_is_clean_also_when_killed_itself() {
    let file = name("recovered");
    let swept = file.clone();
    let report = make_and_remove(&file)
        .recovery(move |_| match std::fs::remove_file(&swept) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .run()
        .unwrap();
    report.assert_clean();
    // Nothing yet, open, write, close, unlink; and behind each the one call of the recovery.
    assert!(report.images >= 10 && report.real_kills >= 10, "{report:?}");
}

#[test]
fn without_it_an_operation_that_changes_no_memory_is_one_case() {
    let report = Scenario::new("no memory")
        .operation(|_| std::fs::read_dir("/").map(drop))
        .validate(|_| ())
        .run()
        .unwrap();
    report.assert_clean();
    assert_eq!(report.images, 1, "{report:?}");
}
