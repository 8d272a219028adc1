//! The other side: this binary once more, which runs one test only, in a role. The segment comes as its
//! standard input, the group as its standard error.

use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use shm_core::{Group, Segment};

const ROLE: &str = "IPC_QUEUE_TEST_ROLE";

fn command(test: &str, role: &str, segment: &Segment) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture"])
        .env(ROLE, role)
        .stdin(segment.as_fd().try_clone_to_owned().unwrap())
        .stdout(Stdio::null());
    command
}

/// Runs `test` in a role.
pub fn run(test: &str, role: &str, segment: &Segment) -> Child {
    command(test, role, segment).spawn().unwrap()
}

/// The same as one who can join the group.
pub fn run_in(test: &str, role: &str, segment: &Segment, group: &Group) -> Child {
    let group = group.as_fd().try_clone_to_owned().unwrap();
    command(test, role, segment).stderr(group).spawn().unwrap()
}

/// In the other process: its role, and the segment. `None` for the test as a test of its own, which does
/// nothing.
pub fn role() -> Option<(String, Segment)> {
    let role = std::env::var(ROLE).ok()?;
    let segment = Segment::attach(std::io::stdin().as_fd().try_clone_to_owned().unwrap()).unwrap();
    Some((role, segment))
}

/// The same, with the group.
pub fn role_in() -> Option<(String, Segment, Group)> {
    let (role, segment) = role()?;
    Some((role, segment, Group::attach(std::io::stderr().as_fd()).unwrap()))
}
