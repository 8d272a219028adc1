//! A process that allocates, maps, forks and dies on command, so that no test has to wait for
//! anything by the clock.
//!
//! It is this test program run again. Commands come in on its standard input, one a line; each is
//! answered by a line that starts with `@` once it is done.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use memmap2::MmapMut;
use profiling::{Ledger, Sampler};
use rustix::process::{Pid, WaitId, WaitIdOptions};

const IS_CHILD: &str = "PROFILING_TEST_CHILD";
const PAGE: usize = 4096;

/// The driver's side of such a process.
pub struct Load {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Load {
    /// Starts one.
    pub fn start() -> Self {
        Self::spawn(&mut Self::command())
    }

    /// Starts one as a user who may do nothing special.
    pub fn start_unprivileged() -> Self {
        Self::spawn(Self::command().uid(65534).gid(65534))
    }

    fn command() -> Command {
        // The link and not the path: the folders above the program may be closed to others.
        let mut command = Command::new("/proc/self/exe");
        command.args(["child_process", "--exact", "--nocapture", "--test-threads=1"]);
        command.env(IS_CHILD, "1").stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Gives a command and waits for the answer.
    pub fn tell(&mut self, command: &str) -> String {
        writeln!(self.input.as_mut().unwrap(), "{command}").unwrap();
        for line in (&mut self.output).lines() {
            // The test harness of the child writes lines of its own, without a line feed at times.
            if let Some((_, answer)) = line.unwrap().split_once('@') {
                return answer.to_owned();
            }
        }
        panic!("the process ended at {command:?}");
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Load {
    /// Kills it and leaves it a zombie.
    fn kill_unreaped(&mut self) {
        self.child.kill().unwrap();
        let pid = Pid::from_child(&self.child);
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        rustix::process::waitid(WaitId::Pid(pid), options).unwrap();
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        drop(self.input.take()); // the end of its input tells it, and its children, to end
        let _ = self.child.wait();
    }
}

/// In a child: serves commands until its input ends.
pub fn serve_if_child() {
    if std::env::var_os(IS_CHILD).is_none() {
        return;
    }
    let mut worker = Worker::default();
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let answer = worker.obey(&words);
        println!("@{answer}");
    }
}

/// What such a process has.
#[derive(Default)]
struct Worker {
    private: Vec<MmapMut>,
    mapped: Vec<MmapMut>,
    files: Vec<File>,
    children: Vec<Load>,
    forked: Option<Forked>,
}

impl Worker {
    fn obey(&mut self, words: &[&str]) -> String {
        match words {
            ["private", bytes] => self.allocate(bytes.parse().unwrap()),
            ["release"] => self.private.clear(),
            ["memfd", name, bytes] => return self.make_memfd(name, bytes.parse().unwrap()),
            ["map", path] => self.map(path),
            ["touch", bytes] => touch(self.mapped.last_mut().unwrap(), bytes.parse().unwrap()),
            ["unmap"] => drop(self.mapped.pop()),
            ["close"] => drop(self.files.pop()),
            ["spawn"] => return self.spawn(),
            ["to", index, command @ ..] => {
                return self.children[index.parse::<usize>().unwrap()].tell(&command.join(" "));
            }
            ["kill", index] => self.children[index.parse::<usize>().unwrap()].kill(),
            ["kill-unreaped", index] => {
                self.children[index.parse::<usize>().unwrap()].kill_unreaped();
            }
            ["churn", count] => churn(count.parse().unwrap()),
            ["fork"] => self.forked = Some(Forked::new(self.private.last_mut())),
            ["forked-writes"] => self.forked.as_mut().unwrap().write_all(),
            ["forked-ends"] => drop(self.forked.take()),
            ["fork-sampling"] => return fork_while_sampling(),
            ["spawn-stuck", fifo] => spawn_stuck(fifo),
            ["denied", pid] => return denied(pid.parse().unwrap()),
            ["segments"] => return own_segments(),
            other => panic!("no such command: {other:?}"),
        }
        String::new()
    }

    fn allocate(&mut self, bytes: usize) {
        let mut memory = MmapMut::map_anon(bytes).unwrap();
        touch(&mut memory, bytes);
        self.private.push(memory);
    }

    fn make_memfd(&mut self, name: &str, bytes: u64) -> String {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let file = File::from(rustix::fs::memfd_create(name, flags).unwrap());
        file.set_len(bytes).unwrap();
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        self.files.push(file);
        self.map(&path);
        path
    }

    fn map(&mut self, path: &str) {
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        // SAFETY: the file is the test's own, and nobody shortens it.
        self.mapped.push(unsafe { MmapMut::map_mut(&file) }.unwrap());
    }

    fn spawn(&mut self) -> String {
        self.children.push(Load::start());
        let child = self.children.last_mut().unwrap();
        child.tell("release"); // it answers: it is up
        child.pid().to_string()
    }
}

/// Writes to each of the first pages.
fn touch(memory: &mut [u8], bytes: usize) {
    memory[..bytes].iter_mut().step_by(PAGE).for_each(|byte| *byte = byte.wrapping_add(1));
}

/// Many short lives, one after another.
fn churn(count: usize) {
    for _ in 0..count {
        assert!(Command::new("true").status().unwrap().success());
    }
}

/// Sees itself by a ledger: name and resident bytes of each segment.
fn own_segments() -> String {
    let snapshot = Ledger::of(std::process::id()).unwrap().full();
    let segments = snapshot.segments.iter();
    let words: Vec<String> =
        segments.map(|segment| format!("{}={}", segment.name, segment.resident)).collect();
    words.join(" ")
}

/// What it may not read of another process.
fn denied(pid: u32) -> String {
    let snapshot = Ledger::of(pid).unwrap().full();
    snapshot.processes[0].denied.files().join(" ")
}

/// Forks while a sampler runs. The child marks, samples and stops what it inherited; says how many
/// samples child and parent were given.
fn fork_while_sampling() -> String {
    let sampler = Sampler::builder(std::process::id()).start().unwrap();
    // SAFETY: the child calls what is being tested, which takes no lock in it, and leaves by
    // `_exit`.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        // SAFETY: has no preconditions; a child that hangs is to die, and the test to fail.
        unsafe { libc::alarm(10) };
        sampler.mark("not ours");
        sampler.sample_now();
        let samples = sampler.stop().samples.len();
        // SAFETY: ends the process at once; nothing of the parent's is torn down.
        unsafe { libc::_exit(i32::try_from(samples).unwrap_or(99)) };
    }
    let mut status = 0;
    // SAFETY: the pid is our own child's, and the status is writable.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    let timeline = sampler.stop();
    format!("{status} {} {}", timeline.samples.len() >= 2, timeline.marks.len())
}

/// A child made by `fork` without `exec`, which shares all pages with us until it writes.
struct Forked {
    pid: libc::pid_t,
    commands: File,
    answers: File,
}

impl Forked {
    fn new(memory: Option<&mut MmapMut>) -> Self {
        let (command_end, commands) = rustix::pipe::pipe().unwrap();
        let (answers, answer_end) = rustix::pipe::pipe().unwrap();
        let memory: &mut [u8] = memory.unwrap();
        // SAFETY: the child only reads and writes pipes, writes to memory that is its own copy, and
        // leaves by `_exit`: nothing in it takes a lock or allocates.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0);
        if pid == 0 {
            drop(commands); // or the child would hold its own input open for ever
            forked_child(&command_end, &answer_end, memory);
        }
        Self { pid, commands: commands.into(), answers: answers.into() }
    }

    fn write_all(&mut self) {
        self.commands.write_all(b"w").unwrap();
        std::io::Read::read_exact(&mut self.answers, &mut [0]).unwrap();
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        self.commands.write_all(b"e").unwrap();
        // SAFETY: the pid is our own child's, not yet waited for; a null status is allowed.
        unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), 0) };
    }
}

fn forked_child(commands: &OwnedFd, answers: &OwnedFd, memory: &mut [u8]) -> ! {
    let mut command = [0u8];
    while rustix::io::read(commands, &mut command) == Ok(1) && command == *b"w" {
        let bytes = memory.len();
        touch(memory, bytes);
        let _ = rustix::io::write(answers, b"@");
    }
    // SAFETY: ends the process at once; nothing of the parent's is torn down.
    unsafe { libc::_exit(0) }
}

/// Starts `true` by `posix_spawn` with its input from a FIFO nobody writes to yet: the child hangs
/// before `exec`, while it still runs in our memory.
fn spawn_stuck(fifo: &str) {
    let fifo = CString::new(fifo).unwrap();
    // A thread of its own, because `posix_spawn` returns only after `exec`.
    std::thread::spawn(move || {
        let program = CString::new("true").unwrap();
        let arguments = [program.as_ptr().cast_mut(), std::ptr::null_mut()];
        let environment = [std::ptr::null_mut()];
        let mut actions = std::mem::MaybeUninit::uninit();
        // SAFETY: the place is writable.
        unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) };
        // SAFETY: initialised just above, and the path is a C string.
        unsafe {
            libc::posix_spawn_file_actions_addopen(
                actions.as_mut_ptr(),
                0,
                fifo.as_ptr(),
                libc::O_RDONLY,
                0,
            )
        };
        let mut pid = 0;
        // SAFETY: all pointers lead to live, null-terminated data.
        unsafe {
            libc::posix_spawnp(
                &raw mut pid,
                program.as_ptr(),
                actions.as_ptr(),
                std::ptr::null(),
                arguments.as_ptr(),
                environment.as_ptr(),
            )
        };
        // SAFETY: initialised, and not used after this.
        unsafe { libc::posix_spawn_file_actions_destroy(actions.as_mut_ptr()) };
        // SAFETY: the pid is our own child's; a null status is allowed.
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    });
}
