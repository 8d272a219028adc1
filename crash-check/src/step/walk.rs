//! One process, stepped, and the memory it leaves behind after each instruction.

use std::time::Duration;

use super::child::Ended;
use super::error::{During, StepError};
use super::finding::{AfterCall, Change, Phase, Place, changes};
use super::liveness::{Liveness, Mappings, Victim, victim};
use super::region::{Arena, Region, View};
use super::scenario::Job;
use super::survivors::describe_end;
use super::touch::Touch;
use super::trace::{Insn, Stop, Tracee};

/// Bytes of a region above which the memory is compared only behind instructions that touch it.
const LARGE: usize = 64 * 1024;

/// What one step brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// An instruction was executed.
    Moved,
    /// The process sleeps in a system call.
    Asleep,
    /// The operation has returned.
    Finished,
    /// The process crashed or ended by itself.
    Failed(String),
}

/// A traced process and the image that its death would leave now.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    tracee: Tracee,
    view: &'a dyn View,
    liveness: &'a dyn Liveness,
    mappings: Mappings,
    victim: Victim,
    place: Place,
    /// As survivors would see it: stamped.
    image: Vec<u8>,
    previous: Vec<u8>,
    scratch: Vec<u8>,
    changed_at: u64,
    changed: bool,
    phase_seen: Phase,
    touch: Touch,
}

impl<'a> Walk<'a> {
    /// Starts `job` on the region, or on `arena` in its place, and stops it before its first
    /// instruction.
    pub(super) fn start(
        job: &Job,
        region: &'a Region,
        arena: Option<&'a Arena>,
        dead: &[u32],
        liveness: &'a dyn Liveness,
        limit: Duration,
    ) -> Result<Walk<'a>, StepError> {
        let tracee = Tracee::start(job, region, arena, dead, limit)?;
        let view: &dyn View = match arena {
            Some(arena) => arena,
            None => region,
        };
        let mut walk = Walk {
            tracee,
            view,
            liveness,
            mappings: Mappings::default(),
            victim: Victim::default(),
            place: Place { instruction: 0, address: 0, phase: Phase::Running, after_call: None },
            image: Vec::new(),
            previous: Vec::new(),
            scratch: Vec::new(),
            changed_at: 0,
            changed: true,
            phase_seen: Phase::Running,
            touch: Touch::new(),
        };
        walk.find_mappings()?;
        walk.look();
        walk.previous.clone_from(&walk.image);
        walk.changed = true;
        Ok(walk)
    }

    /// The same walk, for which each return from a system call is a change.
    pub(super) fn counting_calls(mut self) -> Walk<'a> {
        self.place.after_call = Some(AfterCall { calls: 0, instructions: 0 });
        self
    }

    /// Goes on to the last system call before `place` without looking at what lies between, for a
    /// walk that has not begun; `false` when it ended on the way.
    pub(super) fn skip_to(&mut self, place: &Place, limit: Duration) -> Result<bool, StepError> {
        let Some(after) = place.after_call.filter(|after| after.calls > 0) else { return Ok(true) };
        if self.tracee.run_calls(after.calls, limit)?.is_some() {
            return Ok(false);
        }
        self.place.instruction = place.instruction - after.instructions;
        self.place.address = self.tracee.registers().rip;
        self.place.after_call = Some(AfterCall { instructions: 0, ..after });
        self.find_mappings()?;
        self.look();
        Ok(true)
    }

    /// Counts the instruction that was just executed.
    fn count(&mut self, address: u64) {
        self.place.instruction += 1;
        self.place.address = address;
        if let Some(after) = &mut self.place.after_call {
            after.instructions += 1;
            if self.tracee.executed_syscall().is_some() {
                *after = AfterCall { calls: after.calls + 1, instructions: 0 };
            }
        }
    }

    fn find_mappings(&mut self) -> Result<(), StepError> {
        let files = self.view.files_at().during("fstat")?;
        self.mappings = Mappings::of(self.tracee.pid(), &files);
        Ok(())
    }

    /// Executes one instruction and looks at the memory.
    pub(super) fn advance(&mut self) -> Result<Progress, StepError> {
        if self.image.len() > LARGE && !self.is_noticeable() {
            let progress = self.advance_unseen()?;
            self.look_at_the_robust_list();
            return Ok(progress);
        }
        let address = self.tracee.registers().rip;
        let stop = self.tracee.step()?;
        self.take(stop, address)
    }

    /// Executes one instruction that is known not to touch the memory.
    pub(super) fn advance_unseen(&mut self) -> Result<Progress, StepError> {
        let address = self.tracee.registers().rip;
        match self.tracee.step()? {
            Stop::Stepped => {
                self.count(address);
                Ok(Progress::Moved)
            }
            other => self.take(other, address),
        }
    }

    fn take(&mut self, stop: Stop, address: u64) -> Result<Progress, StepError> {
        match stop {
            Stop::Stepped => {
                self.count(address);
                // The structure may have mapped the file once more.
                let maps = [libc::SYS_mmap, libc::SYS_mremap].map(i64::unsigned_abs);
                if self.tracee.executed_syscall().is_some_and(|call| maps.contains(&call)) {
                    self.find_mappings()?;
                }
                self.look();
                self.changed |= self.place.after_call.is_some_and(|after| after.instructions == 0);
                Ok(Progress::Moved)
            }
            Stop::Blocked => {
                self.place.phase = Phase::Asleep;
                self.look();
                Ok(Progress::Asleep)
            }
            Stop::Finished => Ok(Progress::Finished),
            Stop::Fault(signal) => {
                self.place.address = address;
                Ok(Progress::Failed(describe_end(&Ended::Killed(signal))))
            }
            Stop::Gone(ended) => {
                self.place.address = address;
                Ok(Progress::Failed(describe_end(&ended)))
            }
        }
    }

    /// After [`Progress::Asleep`], once somebody has rung: `None` when it goes on sleeping.
    pub(super) fn wake_within(&mut self, limit: Duration) -> Result<Option<Progress>, StepError> {
        let address = self.tracee.registers().rip;
        let alone = self.sleeps_for_a_time();
        let Some(stop) = self.tracee.wake_within(limit)? else { return Ok(None) };
        // A sleep that ends by itself owes nothing to anybody.
        self.place.phase = if alone { Phase::Running } else { Phase::Woken };
        self.take(stop, address).map(Some)
    }

    /// Is it in a sleep that no other process can end?
    pub(super) fn sleeps_for_a_time(&self) -> bool {
        let call = self.tracee.executed_syscall().unwrap_or(0);
        [libc::SYS_nanosleep, libc::SYS_clock_nanosleep].iter().any(|at| at.unsigned_abs() == call)
    }

    /// Is it in a sleep that only another process can end?
    pub(super) fn sleeps_for_ever(&self) -> bool {
        let call = self.tracee.executed_syscall().unwrap_or(0);
        let waits = [libc::SYS_futex, libc::SYS_futex_waitv];
        // Both take the address of their timeout as the fourth argument.
        let no_timeout = self.tracee.registers().r10 == 0;
        call == libc::SYS_pause.unsigned_abs()
            || (no_timeout && waits.iter().any(|at| at.unsigned_abs() == call))
    }

    /// After [`Progress::Asleep`]: has it been woken by now? The same answer each time the same
    /// schedule is run: a wake-up makes the sleeper runnable before the waker's call returns.
    pub(super) fn woken(&mut self) -> Result<Option<Progress>, StepError> {
        loop {
            let asleep = self.tracee.is_asleep();
            let progress = self.wake_within(Duration::ZERO)?;
            if asleep || progress.is_some() {
                return Ok(progress);
            }
            std::thread::yield_now();
        }
    }

    /// Looks at the memory as survivors would see it now.
    pub(super) fn look(&mut self) {
        self.view.image(&mut self.scratch);
        self.victim = victim(self.tracee.pid(), &self.mappings);
        self.liveness.stamp(&self.victim, &mut self.scratch);
        let moved = self.scratch != self.image;
        self.changed = moved || self.place.phase != self.phase_seen;
        self.phase_seen = self.place.phase;
        if moved {
            self.changed_at = self.place.address;
            std::mem::swap(&mut self.previous, &mut self.image);
            std::mem::swap(&mut self.image, &mut self.scratch);
        }
    }

    /// After an instruction that did not touch the memory: what the kernel would stamp can have
    /// changed all the same, since the list of it is private memory of the victim.
    fn look_at_the_robust_list(&mut self) {
        self.changed = false;
        if victim(self.tracee.pid(), &self.mappings) != self.victim {
            self.look();
        }
    }

    /// Did the last step change what survivors would see, or put the process to sleep?
    pub(super) fn changed(&self) -> bool {
        self.changed
    }

    /// What survivors would see if the process died now.
    pub(super) fn image(&self) -> &[u8] {
        &self.image
    }

    /// Where the process stands.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// The process as the kernel would see it dying.
    pub(super) fn victim(&self) -> &Victim {
        &self.victim
    }

    /// The last instruction that changed the image, and the words it changed.
    pub(super) fn last_change(&self) -> (u64, Vec<Change>) {
        (self.changed_at, changes(&self.previous, &self.image))
    }

    /// Addresses of the last instructions.
    pub(super) fn trail(&self) -> Vec<u64> {
        self.tracee.trail()
    }

    /// Address of the next instruction.
    pub(super) fn next_address(&self) -> u64 {
        self.tracee.registers().rip
    }

    /// A real `SIGKILL`, waited for.
    pub(super) fn kill(&mut self) -> Result<(), StepError> {
        self.tracee.kill()
    }

    /// Lets a finished operation end by itself; its own error, if it has one.
    pub(super) fn let_go(&mut self, limit: Duration) -> Result<Option<String>, StepError> {
        let ended = self.tracee.release(limit)?;
        Ok((ended != Ended::Well).then(|| describe_end(&ended)))
    }

    /// Could another process notice the next instruction?
    pub(super) fn is_noticeable(&mut self) -> bool {
        let pid = self.tracee.pid();
        self.tracee.next() == Insn::Syscall
            || self.touch.is_near(pid, self.tracee.registers(), &self.mappings)
    }

    /// Does it spin, or offer the processor to others, right now?
    pub(super) fn gives_way(&mut self) -> bool {
        let yields = self.tracee.next() == Insn::Syscall
            && self.tracee.registers().rax == libc::SYS_sched_yield.unsigned_abs();
        yields || self.tracee.next() == Insn::Pause
    }
}
