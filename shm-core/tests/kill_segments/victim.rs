//! A process that is really killed at a chosen point of one operation.
//!
//! The operation runs under `ptrace`. It is stopped either where it enters its n-th system call, or
//! at the first instruction after which what others can see has changed for the n-th time. Between
//! two such points nothing changes but private memory, so they stand for every instruction.

use crate::reexec::{Actor, tell};

/// In the victim: lets its tracer have it, runs the operation, and stops for good.
pub fn traced<R>(operation: impl FnOnce() -> R) {
    // SAFETY: no arguments.
    let thread = unsafe { libc::gettid() };
    // SAFETY: asks to be traced by the process that started this one; no memory is touched.
    if unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) } != 0 {
        return tell("refused");
    }
    tell(&thread.to_string());
    stop(thread);
    let result = operation();
    stop(thread);
    drop(result);
}

fn stop(thread: i32) {
    let process = std::process::id();
    // SAFETY: a signal to this very thread, which stops it.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGSTOP) };
    assert_eq!(sent, 0);
}

/// A process that has stopped before its operation.
pub struct Victim {
    actor: Actor,
    thread: i32,
}

/// However the test ends.
impl Drop for Victim {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What it was doing when it stopped.
#[derive(PartialEq)]
enum Stop {
    Operation,
    SystemCall,
    Step,
}

impl Victim {
    /// Whether this system lets a process trace its child; says so in a line if not.
    pub fn permitted() -> bool {
        let mut actor = Actor::start("nothing", "");
        match actor.hear().as_str() {
            "refused" => {
                println!("skipped: ptrace is not permitted here");
                false
            }
            thread => {
                // Dropped, and so killed.
                let _stopped = Victim { thread: thread.parse().unwrap(), actor };
                true
            }
        }
    }

    pub fn of(mut actor: Actor) -> Victim {
        let thread = actor.hear().parse().unwrap();
        let victim = Victim { actor, thread };
        assert!(victim.wait() == Stop::Operation);
        let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL;
        victim.ptrace(libc::PTRACE_SETOPTIONS, options as usize);
        victim
    }

    pub fn id(&self) -> u32 {
        self.actor.id()
    }

    fn ptrace(&self, request: libc::c_uint, data: usize) {
        // SAFETY: our own tracee, which is stopped; these requests touch no memory of ours.
        let done = unsafe { libc::ptrace(request, self.thread, 0, data) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }

    fn wait(&self) -> Stop {
        let status = self.reap().expect("it is traced");
        assert!(libc::WIFSTOPPED(status), "it ended by itself: {status:#x}");
        match libc::WSTOPSIG(status) {
            libc::SIGSTOP => Stop::Operation,
            libc::SIGTRAP => Stop::Step,
            signal if signal == libc::SIGTRAP | 0x80 => Stop::SystemCall,
            signal => panic!("signal {signal} in the victim"),
        }
    }

    /// The traced thread's next change; `None` when it is not traced.
    fn reap(&self) -> Option<libc::c_int> {
        let mut status = 0;
        // SAFETY: waits for our own tracee; the status is ours.
        let found = unsafe { libc::waitpid(self.thread, &raw mut status, libc::__WALL) };
        (found == self.thread).then_some(status)
    }

    /// SIGKILL, and waits until it is gone.
    fn kill(&mut self) {
        let process = self.actor.id().cast_signed();
        // SAFETY: a signal to our own child, which nobody has waited for yet.
        unsafe { libc::kill(process, libc::SIGKILL) };
        if self.thread != process {
            // A traced thread that is not the process's first is its tracer's to wait for.
            while self.reap().is_some_and(|status| libc::WIFSTOPPED(status)) {}
        }
        self.actor.kill();
    }

    /// Kills it where it enters its `n`-th system call, counted from 0; `false` when the operation
    /// ended before that: then it is killed there.
    pub fn kill_at_system_call(self, n: usize) -> bool {
        let mut entered = 0;
        loop {
            self.ptrace(libc::PTRACE_SYSCALL, 0);
            if self.wait() == Stop::Operation {
                return false;
            }
            if entered == n {
                // Killed before it runs on, as everywhere here: by being dropped.
                return true;
            }
            entered += 1;
            self.ptrace(libc::PTRACE_SYSCALL, 0);
            if self.wait() == Stop::Operation {
                return false;
            }
        }
    }

    /// Kills it after the instruction with which `look` has changed for the `n`-th time, counted
    /// from 1; `false` when the operation ended before that. With `n` = 0 at its first instruction.
    pub fn kill_at_change<S: PartialEq>(self, n: usize, look: impl Fn() -> S) -> bool {
        let (mut last, mut changes) = (look(), 0);
        while changes < n {
            self.ptrace(libc::PTRACE_SINGLESTEP, 0);
            if self.wait() == Stop::Operation {
                return false;
            }
            let now = look();
            if now != last {
                (last, changes) = (now, changes + 1);
            }
        }
        true
    }
}
