//! Parents of pools in a process of their own, where they may be killed, and where nothing else
//! opens files or takes memory: a test runs itself again.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Set, to a folder, in the environment of a parent that a test started.
const FOLDER: &str = "PROC_POOL_TEST_PARENT";

/// What a parent may take; then it ends, so that the test that waits for it fails.
const LIMIT: Duration = Duration::from_secs(60);

/// In a parent that [`Parent::start`] made: its folder. `None` in the test itself.
pub fn folder() -> Option<String> {
    let folder = std::env::var(FOLDER).ok()?;
    std::thread::spawn(|| {
        std::thread::sleep(LIMIT);
        eprintln!("the parent hangs");
        std::process::abort();
    });
    Some(folder)
}

/// Says something to the test that started this parent.
pub fn say(what: &str) {
    // The test harness has written the beginning of a line.
    println!("\nparent: {what}");
}

/// Says which workers there are, and waits to be killed.
pub fn wait_for_death(workers: &[u32]) -> ! {
    let workers: Vec<String> = workers.iter().map(u32::to_string).collect();
    say(&workers.join(" "));
    loop {
        std::thread::park();
    }
}

/// A parent as its test sees it; killed when dropped.
pub struct Parent {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Parent {
    /// Runs the test of this name again as a parent, in a process group of its own.
    pub fn start(test: &str, folder: &Path) -> Parent {
        Parent::start_with(test, folder, Stdio::inherit())
    }

    /// As [`start`](Parent::start), with this as standard error of parent and workers.
    pub fn start_with(test: &str, folder: &Path, errors: Stdio) -> Parent {
        let mut child = Command::new("/proc/self/exe")
            .args(["--exact", test, "--nocapture", "--test-threads", "1"])
            .env(FOLDER, folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .process_group(0)
            .spawn()
            .expect("a parent");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        Parent { child, output }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// What the parent says next.
    pub fn hear(&mut self) -> String {
        let mut line = String::new();
        while self.output.read_line(&mut line).expect("text") > 0 {
            if let Some(said) = line.strip_prefix("parent: ") {
                return said.trim_end().to_owned();
            }
            line.clear();
        }
        panic!("the parent ended early: {:?}", self.child.wait());
    }

    /// The workers that the parent names.
    pub fn workers(&mut self) -> Vec<u32> {
        self.hear().split_whitespace().map(|pid| pid.parse().expect("a process id")).collect()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the parent lives");
    }

    /// What Ctrl-C on a terminal does: the whole group gets the signal.
    pub fn signal_group(&self, signal: Signal) {
        kill_process_group(self.pid(), signal).expect("the parent lives");
    }

    /// Waits until the parent has ended, whatever with.
    pub fn end(mut self) {
        self.child.wait().expect("the parent's end");
    }

    /// Waits until the parent's own checks are through; prints what it still had to say.
    pub fn succeed(mut self) {
        let mut said = String::new();
        self.output.read_to_string(&mut said).expect("text");
        let status = self.child.wait().expect("the parent's end");
        said.lines()
            .filter(|line| line.starts_with("parent: "))
            .for_each(|line| println!("{line}"));
        assert!(status.success(), "the parent failed: {status}");
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether the process still runs: one that waits to be reaped does not.
pub fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    // The state follows the name, which is in parentheses and may hold anything.
    stat.is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z')))
}

/// Waits until it is so; `false` when the limit comes first.
pub fn becomes(limit: Duration, mut so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !so() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

/// Waits until none of these processes runs; `false` when one still does after a second.
pub fn all_end(pids: &[u32]) -> bool {
    becomes(Duration::from_secs(1), || !pids.iter().any(|&pid| runs(pid)))
}

/// Open files of this process.
pub fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc").count()
}
