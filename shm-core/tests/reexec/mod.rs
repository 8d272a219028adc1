//! Another process for a test: this test binary again, running one function of it.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
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

/// An actor's argument: these descriptors of ours, which it opens anew with [`Places`].
pub fn places(files: &[BorrowedFd<'_>]) -> String {
    let numbers = files.iter().map(|file| format!(" {}", file.as_raw_fd()));
    numbers.fold(std::process::id().to_string(), |places, number| places + &number)
}

/// In the actor: what its argument from [`places`] names, one after the other.
pub struct Places<'a> {
    pid: &'a str,
    numbers: std::str::SplitWhitespace<'a>,
}

impl<'a> Places<'a> {
    pub fn of(argument: &'a str) -> Places<'a> {
        let mut numbers = argument.split_whitespace();
        Places { pid: numbers.next().unwrap(), numbers }
    }

    /// The next one, for reading and writing.
    pub fn open(&mut self) -> OwnedFd {
        self.open_with(libc::O_RDWR)
    }

    /// The next one, as a place: for a group.
    pub fn open_place(&mut self) -> OwnedFd {
        self.open_with(libc::O_PATH)
    }

    fn open_with(&mut self, flags: libc::c_int) -> OwnedFd {
        let path = format!("/proc/{}/fd/{}", self.pid, self.numbers.next().unwrap());
        let path = std::ffi::CString::new(path).unwrap();
        // SAFETY: a path that ends with a zero byte.
        let fd = unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC) };
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        // SAFETY: opened just now, and nobody else's.
        unsafe { OwnedFd::from_raw_fd(fd) }
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
