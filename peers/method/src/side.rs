//! One side of a case: who does the work, what it promises, and how one sample of it is taken.

use crate::Outcome;

/// What a side keeps when a process is killed in the middle of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// What is delivered, and how often.
    pub delivery: &'static str,
    /// Whether data of the living may be lost, or they may hang, when a process is killed.
    pub may_lose: bool,
}

impl Promise {
    /// Nothing that was handed over is lost, nobody hangs.
    pub const fn keeps(delivery: &'static str) -> Promise {
        Promise { delivery, may_lose: false }
    }

    /// Data may be lost, or the others hang.
    pub const fn may_lose(delivery: &'static str) -> Promise {
        Promise { delivery, may_lose: true }
    }

    /// The side lives inside one process: it dies as a whole.
    pub const ONE_PROCESS: Promise = Promise::may_lose("one process only: dies as a whole");

    /// A limit of the machine or the system, not a rival.
    pub const LIMIT: Promise = Promise::keeps("a limit of the machine, not a rival");
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// In the unit of the case.
    pub value: f64,
    /// How many processors were at work during it, where that tells a disturbance.
    pub busy: Option<f64>,
}

impl From<f64> for Sample {
    fn from(value: f64) -> Sample {
        Sample { value, busy: None }
    }
}

/// One side of a case.
pub struct Side<'a> {
    pub(crate) name: String,
    pub(crate) promise: Promise,
    pub(crate) is_limit: bool,
    pub(crate) run: Box<dyn FnMut() -> Outcome<Sample> + 'a>,
}

impl std::fmt::Debug for Side<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Side").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<'a> Side<'a> {
    /// A side that takes a sample by `run`, which checks what it moved.
    pub fn new(
        name: impl Into<String>,
        promise: Promise,
        run: impl FnMut() -> Outcome<Sample> + 'a,
    ) -> Side<'a> {
        Side { name: name.into(), promise, is_limit: false, run: Box::new(run) }
    }

    /// A limit of the machine: drawn into the charts, and nobody's rival.
    pub fn limit(name: impl Into<String>, run: impl FnMut() -> Outcome<Sample> + 'a) -> Side<'a> {
        Side { is_limit: true, ..Side::new(name, Promise::LIMIT, run) }
    }

    /// The same side under another name.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Side<'a> {
        Side { name: name.into(), ..self }
    }

    /// A side that cannot run here; its row says why.
    pub fn missing(name: impl Into<String>, promise: Promise, why: impl Into<String>) -> Side<'a> {
        let why = why.into();
        Side::new(name, promise, move || Err(why.clone().into()))
    }
}
