//! Processes of a run: forked, watched, and never left behind.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::region::Region;
use super::sys::{self, Pid, Status};

// Exit codes that no scenario's code is likely to use, so that its own `exit(0)` is noticed.

/// The body ended well.
pub(super) const EXIT_WELL: i32 = 90;
/// The body returned an error; its text is in the outbox.
pub(super) const EXIT_SAYS: i32 = 91;
/// The body panicked; the panic's text is in the outbox.
pub(super) const EXIT_PANIC: i32 = 92;
/// The parent died before the child could tie its life to it.
pub(super) const EXIT_ORPHAN: i32 = 93;
/// The kernel refused to let the child be traced.
pub(super) const EXIT_UNTRACED: i32 = 94;

/// How often a process that is starved of processor time is given its time limit again.
const STARVED_ROUNDS: u32 = 20;

/// Where the panic hook of a child leaves the panic's text.
static OUTBOX: Mutex<Option<Outbox>> = Mutex::new(None);

/// A few kilobytes that a child leaves for its parent: `length: u64`, `stage: u64`, then text.
#[derive(Debug)]
pub(super) struct Outbox(std::sync::Arc<Region>);

impl Outbox {
    const LEN: usize = 16 * 1024;
    const STAGE: usize = 8;
    const TEXT: usize = 16;
    const ROOM: usize = Outbox::LEN - Outbox::TEXT;

    pub(super) fn new() -> io::Result<Outbox> {
        Region::new(Outbox::LEN).map(|region| Outbox(std::sync::Arc::new(region)))
    }

    fn same(&self) -> Outbox {
        Outbox(self.0.clone())
    }

    fn put(&self, text: &str) {
        let len = text.len().min(Outbox::ROOM);
        for (at, byte) in text.bytes().take(len).enumerate() {
            // Relaxed: read after the writer's death, which `waitpid` orders.
            self.0.u8_at(Outbox::TEXT + at).store(byte, Ordering::Relaxed);
        }
        // Relaxed: as above.
        self.0.u64_at(0).store(len as u64, Ordering::Relaxed);
    }

    /// Notes how far the child has come.
    pub(super) fn set_stage(&self, stage: u64) {
        // Relaxed: read after the writer's death, which `waitpid` orders.
        self.0.u64_at(Outbox::STAGE).store(stage, Ordering::Relaxed);
    }

    /// What the child left, once it has ended.
    pub(super) fn text(&self) -> String {
        // Relaxed: the writer is dead, which `waitpid` orders.
        let len = self.0.u64_at(0).load(Ordering::Relaxed);
        let len = usize::try_from(len).unwrap_or(0).min(Outbox::ROOM);
        // Relaxed: as above.
        let bytes: Vec<u8> =
            (0..len).map(|at| self.0.u8_at(Outbox::TEXT + at).load(Ordering::Relaxed)).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// How a child ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Well.
    Well,
    /// With an error of its own.
    Says(String),
    /// With a panic.
    Panicked(String),
    /// By a signal.
    Killed(i32),
    /// Not at all: asleep, or past its processor time.
    Hung,
}

/// A child process; killed and reaped when dropped.
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    pidfd: OwnedFd,
    outbox: Outbox,
    reaped: bool,
}

impl Child {
    /// Forks; the child runs `body` and leaves, and dies with this process in any case.
    pub(super) fn spawn(body: impl FnOnce(&Outbox) -> Result<(), String>) -> io::Result<Child> {
        let outbox = Outbox::new()?;
        let parent = sys::this_process();
        let Some(pid) = sys::fork()? else {
            sys::die_with(parent);
            run_to_exit(&outbox, body);
        };
        match sys::pidfd(pid) {
            Ok(pidfd) => Ok(Child { pid, pidfd, outbox, reaped: false }),
            Err(error) => {
                sys::kill(pid, libc::SIGKILL);
                sys::wait(pid, true)?;
                Err(error)
            }
        }
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Notes that someone else's `waitpid` saw the end of this child.
    pub(super) fn set_reaped(&mut self) {
        self.reaped = true;
    }

    /// Waits for the end; [`Ended::Hung`] when it is asleep after `limit`, or has used `limit` of
    /// processor time. A process that merely gets no processor is waited for longer.
    pub(super) fn wait_within(&mut self, limit: Duration) -> io::Result<Ended> {
        for _ in 0..STARVED_ROUNDS {
            if sys::readable_within(self.pidfd.as_fd(), limit)? {
                return self.reap();
            }
            if sys::is_asleep(self.pid) || sys::cpu_time(self.pid) >= limit {
                break;
            }
        }
        self.kill()?;
        Ok(Ended::Hung)
    }

    /// Waits for the end, however long it takes.
    pub(super) fn wait_for_end(&mut self) -> io::Result<Ended> {
        self.reap()
    }

    /// Has it ended? Does not wait.
    pub(super) fn has_ended(&self) -> io::Result<bool> {
        sys::readable_within(self.pidfd.as_fd(), Duration::ZERO)
    }

    /// `SIGKILL`, then waits until nothing of the process runs any more.
    pub(super) fn kill(&mut self) -> io::Result<()> {
        if self.reaped {
            return Ok(());
        }
        sys::kill(self.pid, libc::SIGKILL);
        // A stop that was on its way when the kill came may be reported first.
        while let Status::Stopped(_) | Status::Nothing = sys::wait(self.pid, true)? {}
        self.reaped = true;
        Ok(())
    }

    fn reap(&mut self) -> io::Result<Ended> {
        let status = sys::wait(self.pid, true)?;
        self.reaped = true;
        Ok(self.ended(status))
    }

    /// What a final status means.
    pub(super) fn ended(&self, status: Status) -> Ended {
        match status {
            Status::Exited(EXIT_WELL) => Ended::Well,
            Status::Exited(EXIT_SAYS) => Ended::Says(self.outbox.text()),
            Status::Exited(EXIT_PANIC) => Ended::Panicked(self.outbox.text()),
            Status::Exited(code) => Ended::Says(format!("called exit({code})")),
            Status::Killed(signal) => Ended::Killed(signal),
            Status::Stopped(_) | Status::Nothing => Ended::Hung,
        }
    }

    /// How far the child had come when it ended.
    pub(super) fn stage(&self) -> u64 {
        // Relaxed: the writer is dead, which `waitpid` orders.
        self.outbox.0.u64_at(Outbox::STAGE).load(Ordering::Relaxed)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // A failure here would mean that the kernel took the child from us: nothing to undo.
        let _ = self.kill();
    }
}

/// The whole life of a forked child.
pub(super) fn run_to_exit(outbox: &Outbox, body: impl FnOnce(&Outbox) -> Result<(), String>) -> ! {
    *OUTBOX.lock().unwrap_or_else(PoisonError::into_inner) = Some(outbox.same());
    match catch_unwind(AssertUnwindSafe(|| body(outbox))) {
        Ok(Ok(())) => sys::exit_now(EXIT_WELL),
        Ok(Err(text)) => {
            outbox.put(&text);
            sys::exit_now(EXIT_SAYS)
        }
        Err(_) => sys::exit_now(EXIT_PANIC),
    }
}

/// Sends the text of panics to the outbox of the child that panics, and nowhere else.
pub(super) fn keep_panics_quiet() {
    std::panic::set_hook(Box::new(|info| {
        if let Ok(Some(outbox)) = OUTBOX.lock().as_deref() {
            outbox.put(&info.to_string());
        }
    }));
}
