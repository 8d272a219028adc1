//! One traced process, moved on by one instruction at a time.
//!
//! A trace stop belongs to the thread that attached: everything here is called from the one
//! thread of the session process, and waits for its own child only.
//!
//! References: `ptrace(2)`, `process_vm_readv(2)`.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use super::child::{Child, EXIT_UNTRACED, Ended};
use super::error::{During, StepError};
use super::marker;
use super::region::{Arena, Region};
use super::scenario::Job;
use super::sys::{self, Pid, Status};

/// The registers at a stop.
pub(super) type Registers = libc::user_regs_struct;

/// Addresses of the last instructions that a failure shows.
const TRAIL_LEN: usize = 1024;

/// How a stop at a system call looks: `PTRACE_O_TRACESYSGOOD`.
const SYSCALL_STOP: i32 = libc::SIGTRAP | 0x80;

/// How long a process must be seen asleep in a system call before it counts as blocked.
const BLOCKED_AFTER: Duration = Duration::from_millis(3);

/// What the stepper needs to know of an instruction before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Insn {
    /// Anything else.
    Plain,
    /// `syscall`: may sleep.
    Syscall,
    /// `pause`: a spin loop waits for somebody.
    Pause,
    /// `int3`: a marker of ours, or the program's own trap.
    Trap,
}

/// Why a step came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// One instruction was executed.
    Stepped,
    /// The system call sleeps; the instruction is not over.
    Blocked,
    /// The operation is over; nothing was executed.
    Finished,
    /// The instruction raised this signal.
    Fault(i32),
    /// The process ended.
    Gone(Ended),
}

/// A child under trace; killed and reaped when dropped.
#[derive(Debug)]
pub(super) struct Tracee {
    child: Child,
    registers: Registers,
    signal: i32,
    kinds: HashMap<u64, Insn>,
    trail: VecDeque<u64>,
    syscall: Option<u64>,
}

impl Tracee {
    /// Forks a child that runs `job` on `arena` (or on the region itself), and leaves it stopped
    /// at the first instruction of its operation.
    pub(super) fn start(
        job: &Job,
        region: &Region,
        arena: Option<&Arena>,
        dead: &[u32],
        limit: Duration,
    ) -> Result<Tracee, StepError> {
        let child = Child::spawn(|_| {
            if let Some(arena) = arena {
                region.replace_with(arena).map_err(|error| error.to_string())?;
            }
            dead.iter().for_each(|tid| region.deaths().tell(*tid));
            if ptrace_me().is_err() {
                sys::exit_now(EXIT_UNTRACED);
            }
            sys::stop_self();
            job(region, &marker::report)
        })
        .during("fork")?;
        let mut tracee = Tracee {
            child,
            registers: no_registers(),
            signal: 0,
            kinds: HashMap::new(),
            trail: VecDeque::with_capacity(TRAIL_LEN),
            syscall: None,
        };
        tracee.run_to_begin(limit)?;
        Ok(tracee)
    }

    fn run_to_begin(&mut self, limit: Duration) -> Result<(), StepError> {
        match self.wait_stop("prepare", limit)? {
            Status::Stopped(libc::SIGSTOP) => {}
            // The child's own word for it; or a seccomp filter that kills.
            Status::Exited(EXIT_UNTRACED) | Status::Killed(libc::SIGSYS) => {
                return Err(StepError::NotPermitted);
            }
            other => return Err(self.failed_early(other)),
        }
        set_options(self.pid()).map_err(|_| StepError::NotPermitted)?;
        let mut signal = 0;
        loop {
            resume(self.pid(), libc::PTRACE_CONT, signal).during("ptrace(PTRACE_CONT)")?;
            match self.wait_stop("prepare", limit)? {
                Status::Stopped(libc::SIGTRAP) => {
                    self.read_registers()?;
                    if self.registers.rdi == marker::BEGIN {
                        return Ok(());
                    }
                    return Err(self.failed_early(Status::Killed(libc::SIGTRAP)));
                }
                Status::Stopped(other) => signal = other,
                other => return Err(self.failed_early(other)),
            }
        }
    }

    fn failed_early(&self, status: Status) -> StepError {
        let message = match self.child.ended(status) {
            Ended::Well => "ended before the operation began".to_owned(),
            Ended::Says(text) | Ended::Panicked(text) => text,
            Ended::Killed(signal) => format!("was killed by signal {signal}"),
            Ended::Hung => "stopped and did not go on".to_owned(),
        };
        StepError::Setup { part: "prepare".to_owned(), message }
    }

    /// Waits for a stop of a process that runs freely.
    fn wait_stop(&mut self, part: &str, limit: Duration) -> Result<Status, StepError> {
        let start = Instant::now();
        let mut polls = 0_u32;
        loop {
            match sys::wait(self.pid(), false).during("waitpid")? {
                Status::Nothing => {}
                status => return Ok(self.note_end(status)),
            }
            let starved = !sys::is_asleep(self.pid()) && sys::cpu_time(self.pid()) < limit;
            if start.elapsed() > limit && (!starved || start.elapsed() > limit * 20) {
                return Err(StepError::Slow { part: part.to_owned(), limit });
            }
            polls += 1;
            back_off(polls);
        }
    }

    fn note_end(&mut self, status: Status) -> Status {
        if matches!(status, Status::Exited(_) | Status::Killed(_)) {
            self.child.set_reaped();
        }
        status
    }

    /// The process under trace.
    pub(super) fn pid(&self) -> Pid {
        self.child.pid()
    }

    /// Does it sleep in a system call?
    pub(super) fn is_asleep(&self) -> bool {
        sys::is_asleep(self.pid())
    }

    /// The registers before the next instruction.
    pub(super) fn registers(&self) -> &Registers {
        &self.registers
    }

    /// Addresses of the last instructions executed, oldest first.
    pub(super) fn trail(&self) -> Vec<u64> {
        self.trail.iter().copied().collect()
    }

    /// The system call that the last step executed, if it was one.
    pub(super) fn executed_syscall(&self) -> Option<u64> {
        self.syscall
    }

    /// What the next instruction is.
    pub(super) fn next(&mut self) -> Insn {
        let ip = self.registers.rip;
        if let Some(kind) = self.kinds.get(&ip) {
            return *kind;
        }
        let mut code = [0_u8; 2];
        let kind = match read_memory(self.pid(), ip, &mut code) {
            Ok(()) if code == [0x0f, 0x05] => Insn::Syscall,
            Ok(()) if code == [0xf3, 0x90] => Insn::Pause,
            Ok(()) if code[0] == 0xcc => Insn::Trap,
            Ok(()) | Err(_) => Insn::Plain,
        };
        self.kinds.insert(ip, kind);
        kind
    }

    /// Executes one instruction.
    pub(super) fn step(&mut self) -> Result<Stop, StepError> {
        let next = self.next();
        if next == Insn::Trap && self.registers.rdi == marker::END {
            return Ok(Stop::Finished);
        }
        if self.trail.len() == TRAIL_LEN {
            self.trail.pop_front();
        }
        self.trail.push_back(self.registers.rip);
        let signal = std::mem::take(&mut self.signal);
        resume(self.pid(), libc::PTRACE_SINGLESTEP, signal).during("ptrace(PTRACE_SINGLESTEP)")?;
        self.syscall = (next == Insn::Syscall).then_some(self.registers.rax);
        let status = if next == Insn::Syscall {
            match self.wait_unless_asleep()? {
                Some(status) => status,
                None => return Ok(Stop::Blocked),
            }
        } else {
            sys::wait(self.pid(), true).during("waitpid")?
        };
        self.after(status, next)
    }

    /// Runs freely until so many system calls have returned; `Some` when something else came first.
    pub(super) fn run_calls(
        &mut self,
        calls: u64,
        limit: Duration,
    ) -> Result<Option<Stop>, StepError> {
        // Each call stops its process twice: at its entry, and at its exit.
        let mut stops = calls * 2;
        while stops > 0 {
            let signal = std::mem::take(&mut self.signal);
            resume(self.pid(), libc::PTRACE_SYSCALL, signal).during("ptrace(PTRACE_SYSCALL)")?;
            match self.wait_stop("operation", limit)? {
                Status::Stopped(SYSCALL_STOP) => stops -= 1,
                // The marker of the end.
                Status::Stopped(libc::SIGTRAP) => return Ok(Some(Stop::Finished)),
                status => match self.after(status, Insn::Plain)? {
                    Stop::Stepped => {}
                    end => return Ok(Some(end)),
                },
            }
        }
        self.read_registers()?;
        Ok(None)
    }

    /// Waits for a step that was [`Stop::Blocked`]; `None` when it still sleeps after `limit`.
    pub(super) fn wake_within(&mut self, limit: Duration) -> Result<Option<Stop>, StepError> {
        let start = Instant::now();
        let mut polls = 0_u32;
        loop {
            match sys::wait(self.pid(), false).during("waitpid")? {
                Status::Nothing if start.elapsed() > limit => return Ok(None),
                Status::Nothing => {}
                status => return self.after(status, Insn::Syscall).map(Some),
            }
            polls += 1;
            back_off(polls);
        }
    }

    fn wait_unless_asleep(&mut self) -> Result<Option<Status>, StepError> {
        let start = Instant::now();
        let mut polls = 0_u32;
        let mut asleep_since = None;
        loop {
            match sys::wait(self.pid(), false).during("waitpid")? {
                Status::Nothing => {}
                status => return Ok(Some(status)),
            }
            polls += 1;
            if polls > 64 && sys::is_asleep(self.pid()) {
                let since = *asleep_since.get_or_insert_with(|| start.elapsed());
                if start.elapsed().saturating_sub(since) > BLOCKED_AFTER {
                    return Ok(None);
                }
            } else {
                asleep_since = None;
            }
            back_off(polls);
        }
    }

    fn after(&mut self, status: Status, executed: Insn) -> Result<Stop, StepError> {
        match self.note_end(status) {
            Status::Stopped(libc::SIGTRAP) if executed != Insn::Trap => {
                self.read_registers()?;
                Ok(Stop::Stepped)
            }
            Status::Stopped(
                fault @ (libc::SIGSEGV
                | libc::SIGBUS
                | libc::SIGILL
                | libc::SIGFPE
                | libc::SIGTRAP
                | libc::SIGSYS),
            ) => Ok(Stop::Fault(fault)),
            Status::Stopped(other) => {
                // Delivered with the next step, as the kernel would have.
                self.signal = other;
                self.read_registers()?;
                Ok(Stop::Stepped)
            }
            end => Ok(Stop::Gone(self.child.ended(end))),
        }
    }

    /// Lets a finished operation go, untraced, and waits for its end.
    pub(super) fn release(&mut self, limit: Duration) -> Result<Ended, StepError> {
        // Past the marker, whose trap nobody would catch.
        self.registers.rip += 1;
        write_registers(self.pid(), &self.registers).during("ptrace(PTRACE_SETREGS)")?;
        resume(self.pid(), libc::PTRACE_DETACH, 0).during("ptrace(PTRACE_DETACH)")?;
        self.child.wait_within(limit).during("waitpid")
    }

    /// `SIGKILL`, and waits until the kernel has finished with the process.
    pub(super) fn kill(&mut self) -> Result<(), StepError> {
        self.child.kill().during("kill")
    }

    fn read_registers(&mut self) -> Result<(), StepError> {
        self.registers = read_registers(self.pid()).during("ptrace(PTRACE_GETREGS)")?;
        Ok(())
    }
}

/// Spins, then yields, then naps: the answer mostly comes within microseconds.
pub(super) fn back_off(polls: u32) {
    match polls {
        0..16 => std::hint::spin_loop(),
        16..64 => std::thread::yield_now(),
        _ => std::thread::sleep(Duration::from_micros(200)),
    }
}

fn no_registers() -> Registers {
    // SAFETY: the structure holds integers only, for which zero is a value.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

fn answer(result: libc::c_long) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn ptrace_me() -> io::Result<()> {
    // SAFETY: this request ignores its other arguments.
    answer(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) })
}

fn set_options(pid: Pid) -> io::Result<()> {
    let options = libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACESYSGOOD;
    // SAFETY: `pid` is our stopped tracee; the request takes flags and no memory.
    answer(unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, pid, 0, options) })
}

fn resume(pid: Pid, request: libc::c_uint, signal: i32) -> io::Result<()> {
    // SAFETY: `pid` is our stopped tracee; these requests take a signal number and no memory.
    answer(unsafe { libc::ptrace(request, pid, 0, libc::c_long::from(signal)) })
}

fn read_registers(pid: Pid) -> io::Result<Registers> {
    let mut registers = MaybeUninit::<Registers>::uninit();
    // SAFETY: `registers` has room for what the kernel writes; `pid` is our stopped tracee.
    answer(unsafe { libc::ptrace(libc::PTRACE_GETREGS, pid, 0, registers.as_mut_ptr()) })?;
    // SAFETY: the call succeeded, so the structure is filled in.
    Ok(unsafe { registers.assume_init() })
}

fn write_registers(pid: Pid, registers: &Registers) -> io::Result<()> {
    let registers: *const Registers = registers;
    // SAFETY: `registers` is live and filled in; `pid` is our stopped tracee.
    answer(unsafe { libc::ptrace(libc::PTRACE_SETREGS, pid, 0, registers) })
}

/// Reads memory of a child, all of `into` or an error.
pub(super) fn read_memory(pid: Pid, address: u64, into: &mut [u8]) -> io::Result<()> {
    let base = usize::try_from(address).map_err(|_| io::ErrorKind::InvalidInput)?;
    let here = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let there = libc::iovec { iov_base: base as *mut libc::c_void, iov_len: into.len() };
    // SAFETY: `here` describes the live buffer `into`; the kernel checks the child's side itself.
    let read = unsafe { libc::process_vm_readv(pid, &raw const here, 1, &raw const there, 1, 0) };
    if usize::try_from(read) == Ok(into.len()) {
        return Ok(());
    }
    if read < 0 {
        Err(io::Error::last_os_error())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}
