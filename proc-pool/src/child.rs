//! Worker processes: starting this program again, and proof of death.

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process, kill_process_group,
    pidfd_open, pidfd_send_signal, waitid, waitpid,
};

use crate::death::Death;
use crate::error::PoolError;
use crate::fork_server::StartMethod;
use crate::link::Settings;
use crate::output::{Sink, WriteEnds};
use crate::protocol::ENV;
use crate::state::Call;

/// How workers are started, besides the pool's own needs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Launch {
    pub env: Vec<(OsString, OsString)>,
    pub settings: Settings,
    /// Processors for the workers, in turn; none for any.
    pub processors: Vec<u32>,
    /// Whether a worker that ended may be followed by another.
    pub replace: bool,
    pub method: StartMethod,
    /// Whether somebody is to end what spawned workers have started, when this process is killed.
    pub guard: bool,
    /// Who gets what workers write; nobody when they inherit this process's output.
    pub output: Option<Sink>,
    /// Run by a fork server before it forks.
    pub preload: Option<Call>,
}

impl Launch {
    /// What worker `number` is told.
    pub fn settings_of(&self, number: usize) -> Settings {
        let mut settings = self.settings.clone();
        settings.number = number as u32;
        if !self.processors.is_empty() {
            settings.processor = 1 + self.processors[number % self.processors.len()];
        }
        settings
    }
}

/// Arguments with which this program turns into a worker; none for an ordinary program.
static ARGUMENTS: Mutex<Option<Vec<String>>> = Mutex::new(None);

/// Inside a test harness a worker is the harness again, told to run the one test that called this.
pub(crate) fn start_as_test(path: &str) {
    let name = path.split_once("::").map_or(path, |(_crate_name, rest)| rest);
    let arguments = ["--exact", name, "--nocapture"].map(str::to_owned).to_vec();
    *ARGUMENTS.lock().unwrap_or_else(PoisonError::into_inner) = Some(arguments);
}

/// A child process of ours, not yet waited for.
///
/// The pidfd names exactly this process: no other can take its place, even when its number is
/// used again. It becomes readable when the whole process is gone: the proof of death.
#[derive(Debug)]
pub(crate) struct Child {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Child {
    /// Starts this program again, with `socket` as its standard input, and with these as standard
    /// output and error, or this process's.
    ///
    /// By way of `posix_spawn`, which takes about a millisecond whatever the size of this process
    /// (a fork takes 18 ms a GiB). `/proc/self/exe` is the program that runs, also when its file
    /// was replaced or deleted meanwhile.
    pub fn start(
        launch: &Launch,
        socket: OwnedFd,
        output: Option<WriteEnds>,
    ) -> Result<Child, PoolError> {
        let mut command = Command::new("/proc/self/exe");
        if let Some(name) = std::env::args_os().next() {
            command.arg0(name);
        }
        let arguments = ARGUMENTS.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(arguments) = arguments {
            // The harness would announce the test on standard output once for every worker.
            command.args(arguments).stdout(Stdio::null());
        }
        if let Some([out, err]) = output {
            command.stdout(Stdio::from(out)).stderr(Stdio::from(err));
        }
        command
            .envs(launch.env.iter().map(|(key, value)| (key, value)))
            .env(ENV, std::process::id().to_string())
            .stdin(Stdio::from(socket))
            // A group of its own: Ctrl-C on the terminal reaches the parent alone.
            .process_group(0);
        let mut child = command.spawn().map_err(PoolError::system("posix_spawn"))?;
        // Dropping std's `Child` neither waits nor kills; waiting is ours, through the pidfd.
        let pid = Pid::from_child(&child);
        // The child cannot be reaped by anyone before we wait for it, so the number is still its.
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Child { pid, pidfd }),
            Err(errno) => {
                // No file descriptor is left, most likely. Nobody would ever reap this one.
                let _ = child.kill();
                let _ = child.wait();
                Err(PoolError::system("pidfd_open")(errno))
            }
        }
    }

    /// A child that a fork server made for us.
    pub fn forked(pid: u32) -> Result<Child, Errno> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
        // A child of ours, which nobody has reaped, so the number is still its.
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).inspect_err(|_| {
            // No file descriptor is left, most likely. Nobody would ever reap this one.
            let _ = kill_process(pid, Signal::KILL);
            let _ = waitpid(Some(pid), WaitOptions::empty());
        })?;
        Ok(Child { pid, pidfd })
    }

    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Fails only when the process is gone already.
    pub fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.pidfd, signal);
    }

    /// Kills what the process has left in its process group. To be called when it is dead and
    /// before it is reaped: until then nobody else's group can have its number.
    pub fn kill_group(&self) {
        // Fails when there is nobody.
        let _ = kill_process_group(self.pid, Signal::KILL);
    }

    /// Whether the whole process is gone.
    pub fn is_gone(&self) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(self.as_fd(), PollFlags::IN)];
        matches!(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(1..))
    }

    /// Of one that is gone and not reaped: whether SIGKILL ended it.
    pub fn was_killed(&self) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::PidFd(self.as_fd()), look).ok().flatten();
        status.and_then(|status| status.terminating_signal()) == Some(libc::SIGKILL)
    }

    /// Waits until it is; does not reap it.
    pub fn wait(&self) {
        while !self.is_gone() {
            let mut fds = [PollFd::from_borrowed_fd(self.as_fd(), PollFlags::IN)];
            // Interrupted: looked at again.
            let _ = poll(&mut fds, None);
        }
    }

    /// Waits for the end of the process and lets the kernel forget it; how it ended, and the most
    /// bytes that it had resident.
    pub fn reap(&self) -> (Death, u64) {
        loop {
            match wait_with_usage(self.pidfd.as_fd()) {
                Ok(ended) => return ended,
                Err(libc::EINTR) => {}
                // Somebody else reaped it (`SIGCHLD` ignored, or `wait` for any child).
                Err(_) => return (Death::Exit(-1), 0),
            }
        }
    }
}

/// `waitid` with the resource usage that the kernel adds and the C library hides.
fn wait_with_usage(pidfd: BorrowedFd<'_>) -> Result<(Death, u64), i32> {
    // SAFETY: all-zero is a value of this plain C structure.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `waitid(2)` with its fifth argument; both structures are writable and of the
    // kernel's layout, which is also the C library's.
    let result = unsafe {
        libc::syscall(
            libc::SYS_waitid,
            libc::P_PIDFD,
            pidfd.as_raw_fd(),
            &raw mut info,
            libc::WEXITED,
            &raw mut usage,
        )
    };
    if result != 0 {
        return Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0));
    }
    // SAFETY: a successful `waitid` has filled in a child's end, which has this field.
    let status = unsafe { info.si_status() };
    let death = match info.si_code {
        libc::CLD_EXITED => Death::Exit(status),
        _ => Death::Signal(status),
    };
    let kib = u64::try_from(usage.ru_maxrss).unwrap_or(0);
    Ok((death, kib.saturating_mul(1024)))
}

/// Readable once the process is gone.
impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}
