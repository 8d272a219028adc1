//! The outer loop: one exploration by loom for every schedule of faults.

use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::error::{Error, Failure, Report};
use super::life::{Life, Proof};
use super::schedule::{FaultKind, Limits, Schedule, Search};
use super::thread::{self, JoinHandle};
use super::{panics, run};

/// What a check explores. The default: one death, no spurious wake-ups, every interleaving.
#[derive(Debug, Clone)]
pub struct Model {
    limits: Limits,
    preemptions: Option<usize>,
    max_branches: usize,
    max_executions: usize,
}

impl Default for Model {
    fn default() -> Self {
        Self::new()
    }
}

impl Model {
    /// One death, no spurious wake-ups, no early time-outs, no bound on preemptions.
    #[must_use]
    pub fn new() -> Self {
        Self {
            limits: Limits { kills: 1, spurious: 0, timeouts: 0 },
            preemptions: None,
            max_branches: 2_000,
            max_executions: 2_000_000,
        }
    }

    /// At most so many threads die in one execution. 0 explores without deaths.
    #[must_use]
    pub fn victims(mut self, most: usize) -> Self {
        self.limits.kills = most;
        self
    }

    /// At most so many sleeps end for no reason in one execution.
    #[must_use]
    pub fn spurious(mut self, most: usize) -> Self {
        self.limits.spurious = most;
        self
    }

    /// At most so many timed sleeps run out in one execution while others could still run.
    #[must_use]
    pub fn timeouts(mut self, most: usize) -> Self {
        self.limits.timeouts = most;
        self
    }

    /// loom's bound on forced switches between threads in one execution; `None`: all of them.
    ///
    /// Two threads of up to about six operations can go without; three threads want `Some(2)` or
    /// `Some(3)`. Switches at a sleep, a spin or an end are not counted.
    #[must_use]
    pub fn preemption_bound(mut self, most: Option<usize>) -> Self {
        self.preemptions = most;
        self
    }

    /// loom's bound on scheduling points and choices in one execution (2,000).
    #[must_use]
    pub fn max_branches(mut self, most: usize) -> Self {
        self.max_branches = most;
        self
    }

    /// A check with more executions under one schedule ends with [`Error::Cut`] (2,000,000).
    #[must_use]
    pub fn max_executions(mut self, most: usize) -> Self {
        self.max_executions = most.clamp(1, usize::MAX - 1);
        self
    }

    /// Explores `model` under every schedule within the limits, smallest first.
    ///
    /// `model` is run from the start for every execution. It builds its shared state afresh, spawns
    /// its threads through the [`World`], and asserts what must hold. It must be deterministic apart
    /// from what the types of this module do. The result is deterministic, too.
    ///
    /// # Errors
    /// [`Error::Failed`] with the schedule and the trace, at the first failing execution;
    /// [`Error::NobodyDied`]; [`Error::Cut`].
    pub fn check<F>(&self, model: F) -> Result<Report, Error>
    where
        F: Fn(&World) + Send + Sync + 'static,
    {
        let start = Instant::now();
        let model = Arc::new(model);
        let mut search = Search::new(self.limits);
        let mut total = Total::default();
        while let Some(schedule) = search.next() {
            let run = self.explore(&schedule, &model)?;
            search.grow(&schedule, &run.seen);
            total.add(&schedule, &run);
        }
        if self.limits.kills > 0 && total.kill_points == 0 {
            return Err(Error::NobodyDied);
        }
        Ok(total.report(start))
    }

    /// Explores `model` under one schedule only, as printed by a failure: `producer@7`.
    ///
    /// loom goes through its executions in the same order each time, so the failing one is reached
    /// again, with its trace.
    ///
    /// # Errors
    /// As [`check`](Self::check), and [`Error::BadSchedule`].
    pub fn replay<F>(&self, schedule: &str, model: F) -> Result<Report, Error>
    where
        F: Fn(&World) + Send + Sync + 'static,
    {
        let start = Instant::now();
        let schedule: Schedule = schedule.parse()?;
        let run = self.explore(&schedule, &Arc::new(model))?;
        let mut total = Total::default();
        total.add(&schedule, &run);
        Ok(total.report(start))
    }

    fn explore<F>(&self, schedule: &Schedule, model: &Arc<F>) -> Result<run::Run, Error>
    where
        F: Fn(&World) + Send + Sync + 'static,
    {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = self.preemptions;
        builder.max_branches = self.max_branches;
        // loom looks at this limit only when it could write a checkpoint, and before the execution
        // of that number.
        builder.max_permutations = Some(self.max_executions + 1);
        builder.checkpoint_interval = self.max_executions + 1;
        builder.max_duration = None;
        builder.checkpoint_file = None;

        run::begin(schedule.clone());
        let model = Arc::clone(model);
        let result = panics::caught(|| {
            builder.check(move || {
                run::begin_execution();
                model(&World { _of_this_thread: PhantomData });
                run::make_held();
                run::end(false);
            });
        });
        let run = run::finish();
        match result {
            Err(panic) => Err(Error::Failed(Box::new(Failure {
                schedule: schedule.clone(),
                message: panic.message,
                location: panic.location,
                execution: run.executions,
                trace: run.trace(),
            }))),
            Ok(()) if run.executions >= self.max_executions => {
                Err(Error::Cut { executions: run.executions, schedule: schedule.clone() })
            }
            Ok(()) => Ok(run),
        }
    }
}

#[derive(Debug, Default)]
struct Total {
    executions: usize,
    schedules: usize,
    kill_points: usize,
    executions_with_death: usize,
}

impl Total {
    fn add(&mut self, schedule: &Schedule, run: &run::Run) {
        let deaths = schedule.count(FaultKind::Kill);
        self.executions += run.executions;
        self.executions_with_death += run.executions_with_death;
        self.schedules += 1;
        self.kill_points += usize::from(deaths > 0 && run.most_deaths == deaths);
    }

    fn report(&self, start: Instant) -> Report {
        Report {
            executions: self.executions,
            schedules: self.schedules,
            kill_points: self.kill_points,
            executions_with_death: self.executions_with_death,
            elapsed: start.elapsed(),
        }
    }
}

/// One execution of a model, as its main thread sees it.
#[derive(Debug)]
pub struct World {
    _of_this_thread: PhantomData<Rc<()>>,
}

impl World {
    /// Spawns a thread that may die: the search kills it before each of its shared operations in
    /// turn, asleep in each of its sleeps, and after its last operation.
    ///
    /// It is a process of its own. Its name stands in schedules and traces.
    ///
    /// # Panics
    /// With more than five threads, the main one included, and if another has the same name.
    pub fn victim<T: 'static>(&self, name: &str, f: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
        thread::start(Some(name), None, true, f)
    }

    /// Spawns a thread that never dies, a process of its own.
    ///
    /// # Panics
    /// As [`victim`](Self::victim).
    pub fn spawn<T: 'static>(&self, name: &str, f: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
        thread::start(Some(name), None, false, f)
    }

    /// A process of several threads, each of which ends on its own.
    #[must_use]
    pub fn process(&self, name: &str) -> Process {
        Process { name: name.to_owned() }
    }

    /// The life word of the thread of that name, which may be spawned later.
    #[track_caller]
    #[must_use]
    pub fn life(&self, thread: &str) -> Life {
        Life::of_thread(thread)
    }

    /// The proof of death of a process; a thread spawned by the world is one of its own name.
    ///
    /// Ask for it before its threads are spawned.
    #[track_caller]
    #[must_use]
    pub fn proof(&self, process: &str) -> Proof {
        Proof::of_process(process)
    }
}

/// A process of several threads: one may be stamped while another still stores.
#[derive(Debug, Clone)]
pub struct Process {
    name: String,
}

impl Process {
    /// Spawns a thread of this process that may die.
    ///
    /// # Panics
    /// As [`World::victim`].
    pub fn victim<T: 'static>(&self, name: &str, f: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
        thread::start(Some(name), Some(&self.name), true, f)
    }

    /// Spawns a thread of this process that outlives the others for as long as it likes.
    ///
    /// # Panics
    /// As [`World::victim`].
    pub fn spawn<T: 'static>(&self, name: &str, f: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
        thread::start(Some(name), Some(&self.name), false, f)
    }
}
