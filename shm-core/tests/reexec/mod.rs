//! Another process for a test: this test binary again, running one function of it.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const ROLE: &str = "SHM_CORE_TEST_ROLE";
const ARGUMENT: &str = "SHM_CORE_TEST_ARGUMENT";

/// The role that this process was started for, and its argument; `None` in the test run itself.
pub fn role() -> Option<(String, String)> {
    Some((std::env::var(ROLE).ok()?, std::env::var(ARGUMENT).unwrap_or_default()))
}

/// A process that plays a role; killed and waited for when this is dropped.
pub struct Actor {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Actor {
    /// Starts the test `in_a_child` of this binary in the given role. It hears what we [`say`].
    ///
    /// [`say`]: Actor::say
    pub fn start(role: &str, argument: &str) -> Actor {
        Actor::spawn(role, argument, Stdio::piped())
    }

    /// The same, with this file as its descriptor 0 in place of our words.
    pub fn with_file(role: &str, argument: &str, file: OwnedFd) -> Actor {
        Actor::spawn(role, argument, Stdio::from(file))
    }

    fn spawn(role: &str, argument: &str, stdin: Stdio) -> Actor {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["in_a_child", "--exact", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(ARGUMENT, argument)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let from = BufReader::new(child.stdout.take().unwrap());
        Actor { to: child.stdin.take(), child, from }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn say(&mut self, line: &str) {
        writeln!(self.to.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The next line that it spoke with [`tell`]; the harness's own lines are passed over.
    pub fn hear(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(self.from.read_line(&mut line).unwrap(), 0, "it ended without a word");
            if let Some(at) = line.find('@') {
                return line[at + 1..].trim_end().to_owned();
            }
        }
    }

    /// Whether it has not ended yet.
    pub fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it has ended, and gives the signal that ended it.
    pub fn signal(&mut self) -> Option<i32> {
        std::os::unix::process::ExitStatusExt::signal(&self.child.wait().unwrap())
    }

    /// Waits until it has ended by itself.
    pub fn finish(mut self) {
        drop(self.to.take());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In the actor: a line to the test.
pub fn tell(line: &str) {
    println!("@{line}");
}

/// In the actor: the next line from the test; ends the process when the test is gone.
pub fn listen() -> String {
    let mut line = String::new();
    if std::io::stdin().read_line(&mut line).unwrap_or(0) == 0 {
        std::process::exit(0);
    }
    line.trim_end().to_owned()
}
