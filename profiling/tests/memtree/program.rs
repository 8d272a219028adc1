//! Runs of `memtree`, and of the programs that it watches.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// `memtree` with these arguments, in a folder of its own.
pub fn memtree(folder: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_memtree"));
    command.args(arguments).current_dir(folder.path()).stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub fn output(folder: &TempDir, arguments: &[&str]) -> Output {
    memtree(folder, arguments).output().unwrap()
}

/// What it printed on standard output; it must have succeeded.
pub fn printed(folder: &TempDir, arguments: &[&str]) -> String {
    let output = output(folder, arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

pub fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// A run of `memtree` over a program that says `ready` and then waits for a line.
pub struct Watched {
    pub memtree: Child,
    pub recording: PathBuf,
    answers: BufReader<ChildStdout>,
}

impl Watched {
    /// Starts `memtree run` over it, and waits until it is ready.
    pub fn run(folder: &TempDir, command: &[&str]) -> Self {
        let mut arguments = vec!["run", "-q", "-o", "recording.json", "--"];
        arguments.extend(command);
        let mut command = memtree(folder, &arguments);
        let mut memtree = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let answers = BufReader::new(memtree.stdout.take().unwrap());
        let mut watched =
            Self { memtree, recording: folder.path().join("recording.json"), answers };
        watched.expect("ready");
        watched
    }

    /// Waits for a line of the program.
    pub fn expect(&mut self, word: &str) {
        let mut lines = (&mut self.answers).lines().map(Result::unwrap);
        assert!(lines.any(|line| line == word), "it ended without {word:?}");
    }

    /// Has a sample taken and saved, and reads the recording.
    pub fn save(&self) -> Value {
        save_of(&self.memtree, &self.recording)
    }

    /// How it ended, which it must do by itself, and soon.
    pub fn status(&mut self) -> ExitStatus {
        let limit = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.memtree.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < limit, "it does not end");
            std::thread::yield_now();
        }
    }

    /// Lets the program go on.
    pub fn go_on(&mut self) {
        writeln!(self.memtree.stdin.as_mut().unwrap()).unwrap();
    }

    /// Lets it end, and reads the recording.
    pub fn end(mut self) -> Value {
        self.go_on();
        assert!(self.status().success());
        read_json(&self.recording)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        drop(self.memtree.stdin.take()); // the program's input ends, and so does it
        let _ = self.memtree.wait();
    }
}

/// Has a running `memtree` take a sample and save it, and reads the recording.
pub fn save_of(memtree: &Child, recording: &Path) -> Value {
    // Each save replaces the file by another.
    let file = || fs::metadata(recording).ok().map(|found| (found.ino(), found.mtime_nsec()));
    let before = file();
    kill_process(Pid::from_child(memtree), Signal::USR1).unwrap();
    let limit = Instant::now() + Duration::from_secs(20);
    loop {
        let now = file();
        if now.is_some() && now != before {
            return read_json(recording);
        }
        assert!(Instant::now() < limit, "nothing was saved");
        std::thread::yield_now();
    }
}
