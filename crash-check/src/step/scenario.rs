//! The description of a run: a region, an operation, a recovery, an invariant.

use std::fmt;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::error::StepError;
use super::interleave::Interleaving;
use super::liveness::{Liveness, RobustList};
use super::marker::Edge;
use super::region::{Region, Source};
use super::report::Report;
use super::session;

/// Something that a traced process does, with its begin and end told to the second argument.
pub(super) type Job = Box<dyn Fn(&Region, &dyn Fn(Edge)) -> Result<(), String>>;
/// Something that an untraced process does.
pub(super) type Body = Box<dyn Fn(&Region) -> Result<(), String>>;

/// What a closure of a scenario may return: nothing, or a `Result` whose error says what is wrong.
pub trait Outcome {
    /// The error's text, if there is one.
    ///
    /// # Errors
    ///
    /// The text of the error that `self` is.
    fn into_result(self) -> Result<(), String>;
}

impl Outcome for () {
    fn into_result(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: fmt::Display> Outcome for Result<(), E> {
    fn into_result(self) -> Result<(), String> {
        self.map_err(|error| error.to_string())
    }
}

/// One operation of a shared structure, killed at every instruction.
///
/// A builder in the manner of `std::process::Command`: describe, then [`run`](Scenario::run).
/// Only [`operation`](Scenario::operation) and [`validate`](Scenario::validate) are required.
/// Each closure runs in a process of its own, forked from the caller: it sees the caller's values
/// as they were at `run`, and what it changes outside the region is lost with it.
///
/// # Examples
///
/// A lock whose word names its owner. The kit stamps the word as the kernel would.
///
/// ```
/// use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
/// use crash_check::step::{FUTEX_OWNER_DIED, LifeWords, Scenario};
///
/// let report = Scenario::new("lock: lock, add twice, unlock")
///     .liveness(LifeWords::at(&[0]))
///     .operation(|r| {
///         let locked = r.u32_at(0).compare_exchange(0, std::process::id(), Acquire, Relaxed);
///         assert!(locked.is_ok());
///         r.u32_at(4).fetch_add(1, Relaxed);
///         r.u32_at(8).fetch_add(1, Relaxed);
///         r.u32_at(0).store(0, Release);
///     })
///     .recovery(|r| {
///         if r.u32_at(0).load(Acquire) == FUTEX_OWNER_DIED {
///             r.u32_at(8).store(r.u32_at(4).load(Relaxed), Relaxed);
///             r.u32_at(0).store(0, Release);
///         }
///     })
///     .validate(|r| match (r.u32_at(0).load(Acquire), r.u32_at(4), r.u32_at(8)) {
///         (0, a, b) if a.load(Relaxed) == b.load(Relaxed) => Ok(()),
///         (0, _, _) => Err("torn"),
///         _ => Err("still locked"),
///     })
///     .run()?;
/// report.assert_clean();
/// # Ok::<(), crash_check::step::StepError>(())
/// ```
pub struct Scenario {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) memory: Source,
    pub(super) others: Vec<Source>,
    pub(super) init: Option<Body>,
    pub(super) operation: Option<Job>,
    pub(super) against: Option<Job>,
    pub(super) recovery: Option<Job>,
    pub(super) validate: Option<Body>,
    pub(super) continuation: Option<Body>,
    pub(super) waker: Option<Body>,
    pub(super) peers: Vec<Body>,
    pub(super) liveness: Box<dyn Liveness>,
    pub(super) max_instructions: u64,
    pub(super) watchdog: Duration,
    pub(super) depth: u32,
    pub(super) real_kills: usize,
    pub(super) copies: bool,
    pub(super) each_call: bool,
}

impl Scenario {
    /// A scenario named after the operation: `"mutex: lock, add, unlock"`.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Scenario {
        Scenario {
            name: name.into(),
            state: String::new(),
            memory: Source::Fresh(4096),
            others: Vec::new(),
            init: None,
            operation: None,
            against: None,
            recovery: None,
            validate: None,
            continuation: None,
            waker: None,
            peers: Vec::new(),
            liveness: Box::new(RobustList),
            max_instructions: 200_000,
            watchdog: Duration::from_secs(3),
            depth: 2,
            real_kills: 4,
            copies: true,
            each_call: false,
        }
    }

    /// The state that the operation starts from, for the report: `"half full"`.
    #[must_use]
    pub fn state(mut self, state: impl Into<String>) -> Scenario {
        self.state = state.into();
        self
    }

    /// Length of the shared region in bytes; 4096 unless said. Up to 64 KiB every step compares all
    /// of it; beyond, only those whose instruction touches it or calls the kernel.
    #[must_use]
    pub fn region(mut self, bytes: usize) -> Scenario {
        self.memory = Source::Fresh(bytes);
        self
    }

    /// A file that the structure made itself, in place of a fresh one: a `memfd`, say, with the
    /// structure in it already, so that `init` may be left out. The region is all of the file, and
    /// is written to; survivors on a copy find theirs under [`Region::fd`], not under a name.
    #[must_use]
    pub fn region_of(mut self, file: impl Into<OwnedFd>) -> Scenario {
        self.memory = Source::Given(file.into());
        self
    }

    /// One more file of shared memory, [`Region::other`], for structures that are spread over
    /// several. In an image, and in a failure's changed words, the files follow one another.
    #[must_use]
    pub fn another_file(mut self, bytes: usize) -> Scenario {
        self.others.push(Source::Fresh(bytes));
        self
    }

    /// One more file that the structure made itself, as [`region_of`](Scenario::region_of).
    #[must_use]
    pub fn another_file_of(mut self, file: impl Into<OwnedFd>) -> Scenario {
        self.others.push(Source::Given(file.into()));
        self
    }

    /// Puts the structure into the zeroed region. Runs once, in a process that then ends.
    #[must_use]
    pub fn init<T: Outcome>(mut self, body: impl Fn(&Region) -> T + 'static) -> Scenario {
        self.init = Some(untraced(body));
        self
    }

    /// The operation whose every instruction is a kill point.
    #[must_use]
    pub fn operation<T: Outcome>(self, run: impl Fn(&Region) -> T + 'static) -> Scenario {
        self.operation_with(|_| (), move |region, ()| run(region))
    }

    /// The same, after a preparation that is not stepped: attaching, say, or filling a queue.
    #[must_use]
    pub fn operation_with<S, T: Outcome>(
        mut self,
        prepare: impl Fn(&Region) -> S + 'static,
        run: impl Fn(&Region, &mut S) -> T + 'static,
    ) -> Scenario {
        self.operation = Some(traced(prepare, run));
        self
    }

    /// A second operation, for [`interleave`](Scenario::interleave): two processes, one schedule.
    #[must_use]
    pub fn against<T: Outcome>(self, run: impl Fn(&Region) -> T + 'static) -> Scenario {
        self.against_with(|_| (), move |region, ()| run(region))
    }

    /// The same, after a preparation that is not stepped.
    #[must_use]
    pub fn against_with<S, T: Outcome>(
        mut self,
        prepare: impl Fn(&Region) -> S + 'static,
        run: impl Fn(&Region, &mut S) -> T + 'static,
    ) -> Scenario {
        self.against = Some(traced(prepare, run));
        self
    }

    /// What a survivor does once it knows of the death. It is stepped and killed as well.
    #[must_use]
    pub fn recovery<T: Outcome>(self, run: impl Fn(&Region) -> T + 'static) -> Scenario {
        self.recovery_with(|_| (), move |region, ()| run(region))
    }

    /// The same, after a preparation that is not stepped.
    #[must_use]
    pub fn recovery_with<S, T: Outcome>(
        mut self,
        prepare: impl Fn(&Region) -> S + 'static,
        run: impl Fn(&Region, &mut S) -> T + 'static,
    ) -> Scenario {
        self.recovery = Some(traced(prepare, run));
        self
    }

    /// The invariant: what must hold after each recovery. The error names what is broken.
    #[must_use]
    pub fn validate<T: Outcome>(mut self, body: impl Fn(&Region) -> T + 'static) -> Scenario {
        self.validate = Some(untraced(body));
        self
    }

    /// What the survivors do next, and must be able to do: push, pop, lock. Runs after `validate`.
    #[must_use]
    pub fn continuation<T: Outcome>(mut self, body: impl Fn(&Region) -> T + 'static) -> Scenario {
        self.continuation = Some(untraced(body));
        self
    }

    /// Another participant, which wakes the victim. Runs in a process of its own at the moment the
    /// operation sleeps in a system call; without it the walk ends there, with the sleeper killed.
    #[must_use]
    pub fn waker<T: Outcome>(mut self, body: impl Fn(&Region) -> T + 'static) -> Scenario {
        self.waker = Some(untraced(body));
        self
    }

    /// A live bystander, started when the victim sleeps (or is dead), which must end after the
    /// recovery: it sleeps for the same wake-up, say. With a peer every kill is a real `SIGKILL`,
    /// since a copy of the memory has no sleepers.
    #[must_use]
    pub fn peer<T: Outcome>(mut self, body: impl Fn(&Region) -> T + 'static) -> Scenario {
        self.peers.push(untraced(body));
        self
    }

    /// How a death shows in the memory; [`RobustList`] unless said.
    #[must_use]
    pub fn liveness(mut self, liveness: impl Liveness + 'static) -> Scenario {
        self.liveness = Box::new(liveness);
        self
    }

    /// Instructions after which an operation counts as endless; 200,000 unless said.
    #[must_use]
    pub fn max_instructions(mut self, instructions: u64) -> Scenario {
        self.max_instructions = instructions;
        self
    }

    /// Time after which a survivor that sleeps, or processor time after which a survivor that
    /// spins, counts as stuck; 3 s unless said.
    #[must_use]
    pub fn watchdog(mut self, limit: Duration) -> Scenario {
        self.watchdog = limit;
        self
    }

    /// How many processes die one after another: 1 kills the operation only, 2 (unless said) its
    /// recovery as well, 3 the recovery of that.
    #[must_use]
    pub fn depth(mut self, deaths: u32) -> Scenario {
        self.depth = deaths.max(1);
        self
    }

    /// How many of the distinct images are reached once more and left by a real `SIGKILL`; 4
    /// unless said, spread evenly; `usize::MAX` for each of them.
    #[must_use]
    pub fn real_kills(mut self, sample: usize) -> Scenario {
        self.real_kills = sample;
        self
    }

    /// No copies: every distinct image, those inside the recovery too, is reached anew and left by
    /// a real `SIGKILL`. For structures whose proof of death only a real death satisfies: a pidfd,
    /// a record lock. Slower, since each kill walks the way from the start.
    #[must_use]
    pub fn only_real_kills(mut self) -> Scenario {
        self.copies = false;
        self
    }

    /// Every return from a system call is a case of its own, whether or not the memory changed, and
    /// every kill is real ([`only_real_kills`](Scenario::only_real_kills)). For operations whose
    /// traces lie in the kernel: names, locks on files, mappings, other files. Between two calls
    /// a process changes nothing but memory, so this is exhaustive for its path, too.
    ///
    /// What a case leaves outside of the region is not put back before the next one: let
    /// `validate` end where `operation_with` can begin again.
    #[must_use]
    pub fn each_system_call(mut self) -> Scenario {
        self.each_call = true;
        self.only_real_kills()
    }

    /// Kills the operation at every instruction.
    ///
    /// The verdict is in the report: a structure that fails is not an error of the run. If the
    /// environment has `CRASH_CHECK_REPLAY` set to a point of this scenario, as a failure prints
    /// it, only that point is run, and more is printed, to standard error.
    ///
    /// # Errors
    ///
    /// [`StepError::NotPermitted`] where the kernel refuses ptrace; else what is missing from the
    /// scenario, or what failed before anything was killed.
    pub fn run(self) -> Result<Report, StepError> {
        if self.operation.is_none() {
            return Err(self.incomplete("operation"));
        }
        if self.validate.is_none() {
            return Err(self.incomplete("validate"));
        }
        session::run(&self)
    }

    /// Runs the operation and [`against`](Scenario::against) in two processes, interleaved
    /// instruction by instruction under many schedules.
    ///
    /// Registers and private memory belong to the state here, so that no two schedules are one
    /// case: this is a search with a budget, not a proof. Processes are switched only before
    /// instructions that touch the region or call the kernel, since nobody sees the others.
    ///
    /// # Errors
    ///
    /// As [`run`](Scenario::run).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::Ordering::Relaxed;
    /// use crash_check::step::{Interleaving, Region, Scenario};
    ///
    /// let add = |r: &Region| {
    ///     let seen = std::hint::black_box(r.u32_at(0).load(Relaxed));
    ///     r.u32_at(0).store(seen + 1, Relaxed);
    /// };
    /// let report = Scenario::new("two increments")
    ///     .operation(add)
    ///     .against(add)
    ///     .validate(|r| match r.u32_at(0).load(Relaxed) {
    ///         2 => Ok(()),
    ///         _ => Err("an increment is lost"),
    ///     })
    ///     .interleave(Interleaving::bounded(1))?;
    /// assert!(report.failure().is_some());
    /// # Ok::<(), crash_check::step::StepError>(())
    /// ```
    pub fn interleave(self, how: Interleaving) -> Result<Report, StepError> {
        for (part, is_there) in [
            ("operation", self.operation.is_some()),
            ("against", self.against.is_some()),
            ("validate", self.validate.is_some()),
        ] {
            if !is_there {
                return Err(self.incomplete(part));
            }
        }
        session::run_pairs(&self, &how)
    }

    /// Are images judged on copies? Live peers are part of the state, and can not be copied.
    pub(super) fn has_copies(&self) -> bool {
        self.copies && self.peers.is_empty()
    }

    /// Name and state, as failures and replays show them.
    pub(super) fn full_name(&self) -> String {
        match self.state.as_str() {
            "" => self.name.clone(),
            state => format!("{} ({state})", self.name),
        }
    }

    pub(super) fn incomplete(&self, part: &'static str) -> StepError {
        StepError::Incomplete { scenario: self.name.clone(), part }
    }
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scenario")
            .field("name", &self.name)
            .field("state", &self.state)
            .field("memory", &self.memory)
            .field("liveness", &self.liveness)
            .finish_non_exhaustive()
    }
}

fn untraced<T: Outcome>(body: impl Fn(&Region) -> T + 'static) -> Body {
    Box::new(move |region| body(region).into_result())
}

fn traced<S, T: Outcome>(
    prepare: impl Fn(&Region) -> S + 'static,
    run: impl Fn(&Region, &mut S) -> T + 'static,
) -> Job {
    Box::new(move |region, edge| {
        let mut state = prepare(region);
        edge(Edge::Begin);
        let outcome = run(region, &mut state);
        edge(Edge::End);
        outcome.into_result()
    })
}
