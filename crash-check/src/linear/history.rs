//! Histories: what the callers saw, as a sequence of events in the order of real time.

use super::Error;
use std::collections::BTreeMap;
use std::fmt;

/// One sequential actor: a thread, or the only thread of a process.
///
/// The literature's *process*. A program of several threads is several of them; when it is
/// killed, record a crash for each. A successor that takes over the role of a dead process (and
/// its recovery) keeps its number; any other newcomer takes a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process(pub u32);

impl From<u32> for Process {
    fn from(number: u32) -> Self {
        Self(number)
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "P{}", self.0)
    }
}

/// One event of a history.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Event<Op, Ret> {
    /// An operation begins.
    Invoke(Process, Op),
    /// The open operation of this process ends. After a crash and a recovery of the process: its
    /// recovery code finished the operation and knows the response (Attiya, Ben-Baruch, Hendler,
    /// PODC 2018).
    Return(Process, Ret),
    /// The process dies; its open operation, if any, becomes pending.
    Crash(Process),
    /// The recovery of the dead process is complete: what its death gives back is given back.
    Recover(Process),
}

impl<Op, Ret> Event<Op, Ret> {
    /// The process whose event this is.
    pub fn process(&self) -> Process {
        match self {
            Self::Invoke(process, _)
            | Self::Return(process, _)
            | Self::Crash(process)
            | Self::Recover(process) => *process,
        }
    }
}

/// A history: events in the order in which they happened.
///
/// Operation `a` precedes `b` if the return of `a` stands before the invocation of `b`; else they
/// overlap. [`Checker::check`](super::Checker::check) refuses a history that is not well-formed.
///
/// ```
/// use crash_check::linear::{History, spec::{ItemOp::*, ItemRet::*}};
///
/// let mut history = History::new();
/// history.invoke(0, Push(7)).invoke(1, Pop).returned(1, Popped(7)).crash(0);
/// assert_eq!(history.events().len(), 4);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History<Op, Ret> {
    events: Vec<Event<Op, Ret>>,
}

impl<Op, Ret> Default for History<Op, Ret> {
    fn default() -> Self {
        Self { events: Vec::new() }
    }
}

impl<Op, Ret> FromIterator<Event<Op, Ret>> for History<Op, Ret> {
    fn from_iter<I: IntoIterator<Item = Event<Op, Ret>>>(events: I) -> Self {
        Self { events: events.into_iter().collect() }
    }
}

impl<Op, Ret> History<Op, Ret> {
    /// An empty history.
    pub fn new() -> Self {
        Self::default()
    }

    /// The events, in the order of real time.
    pub fn events(&self) -> &[Event<Op, Ret>] {
        &self.events
    }

    /// Appends an event.
    pub fn push(&mut self, event: Event<Op, Ret>) -> &mut Self {
        self.events.push(event);
        self
    }

    /// Appends the invocation of an operation.
    pub fn invoke(&mut self, process: impl Into<Process>, op: Op) -> &mut Self {
        self.push(Event::Invoke(process.into(), op))
    }

    /// Appends the return of the process's open operation.
    pub fn returned(&mut self, process: impl Into<Process>, ret: Ret) -> &mut Self {
        self.push(Event::Return(process.into(), ret))
    }

    /// Appends an operation that overlaps no other.
    pub fn call(&mut self, process: impl Into<Process>, op: Op, ret: Ret) -> &mut Self {
        let process = process.into();
        self.invoke(process, op).returned(process, ret)
    }

    /// Appends the death of a process.
    pub fn crash(&mut self, process: impl Into<Process>) -> &mut Self {
        self.push(Event::Crash(process.into()))
    }

    /// Appends the end of the recovery of a dead process.
    pub fn recover(&mut self, process: impl Into<Process>) -> &mut Self {
        self.push(Event::Recover(process.into()))
    }
}

/// One operation of a history, with the events that bound it.
#[derive(Debug, Clone)]
pub(super) struct Call<Op, Ret> {
    pub process: Process,
    pub op: Op,
    pub ret: Option<Ret>,
    /// Index of the invocation.
    pub invoked: usize,
    /// Index of the return.
    pub returned: Option<usize>,
    /// Index of the crash that found it open.
    pub crashed: Option<usize>,
    /// Index of the same process's next invocation, if the operation never returned.
    pub next: Option<usize>,
}

/// One death of a process.
#[derive(Debug, Clone)]
pub(super) struct Death {
    pub process: Process,
    /// Index of the crash.
    pub crashed: usize,
    /// Index of the end of its recovery.
    pub recovered: Option<usize>,
}

/// A well-formed history, taken apart.
#[derive(Debug, Clone)]
pub(super) struct Parsed<Op, Ret> {
    /// By invocation.
    pub calls: Vec<Call<Op, Ret>>,
    /// By crash.
    pub deaths: Vec<Death>,
}

/// Where one process stands while the history is read.
#[derive(Debug, Default)]
struct Progress {
    /// Its open or abandoned operation: index into `calls`.
    open: Option<usize>,
    /// The death it has not recovered from: index into `deaths`.
    dead: Option<usize>,
    /// Whether `open` was found open by a crash, so that it may be left behind.
    interrupted: bool,
}

/// Takes a history apart, and refuses what is not well-formed.
pub(super) fn parse<Op: Clone, Ret: Clone>(
    history: &History<Op, Ret>,
) -> Result<Parsed<Op, Ret>, Error> {
    let mut parsed = Parsed { calls: Vec::new(), deaths: Vec::new() };
    let mut processes: BTreeMap<Process, Progress> = BTreeMap::new();
    for (index, event) in history.events.iter().enumerate() {
        let at = processes.entry(event.process()).or_default();
        parsed.accept(at, index, event)?;
    }
    Ok(parsed)
}

impl<Op: Clone, Ret: Clone> Parsed<Op, Ret> {
    fn accept(
        &mut self,
        at: &mut Progress,
        event: usize,
        what: &Event<Op, Ret>,
    ) -> Result<(), Error> {
        let process = what.process();
        if at.dead.is_some() && !matches!(what, Event::Recover(_)) {
            return Err(Error::ActsAfterCrash { event, process });
        }
        match what {
            Event::Invoke(_, op) => self.invoke(at, event, process, op.clone()),
            Event::Return(_, ret) => {
                let open = at.open.take();
                let open = open.ok_or(Error::ReturnWithoutInvoke { event, process })?;
                at.interrupted = false;
                self.calls[open].ret = Some(ret.clone());
                self.calls[open].returned = Some(event);
                Ok(())
            }
            Event::Crash(_) => {
                at.dead = Some(self.deaths.len());
                self.deaths.push(Death { process, crashed: event, recovered: None });
                if let Some(open) = at.open {
                    // A second crash inside recovery leaves the first one's bound.
                    self.calls[open].crashed.get_or_insert(event);
                    at.interrupted = true;
                }
                Ok(())
            }
            Event::Recover(_) => {
                let dead = at.dead.take();
                let dead = dead.ok_or(Error::RecoverWithoutCrash { event, process })?;
                self.deaths[dead].recovered = Some(event);
                Ok(())
            }
        }
    }

    fn invoke(
        &mut self,
        at: &mut Progress,
        event: usize,
        process: Process,
        op: Op,
    ) -> Result<(), Error> {
        if let Some(open) = at.open.take() {
            if !at.interrupted {
                return Err(Error::Overlap { event, process });
            }
            self.calls[open].next = Some(event);
        }
        at.interrupted = false;
        at.open = Some(self.calls.len());
        self.calls.push(Call {
            process,
            op,
            ret: None,
            invoked: event,
            returned: None,
            crashed: None,
            next: None,
        });
        Ok(())
    }
}
