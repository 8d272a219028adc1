//! Runs of an object by several processes that overlap, die and recover, driven by a script.

use crash_check::linear::{History, Process, Specification};
use proptest::prelude::*;

/// One step of the script: a process, what it tends to do, and a number to choose by.
pub type Step = (u32, u8, u64);

/// Scripts of up to `length` steps for three processes.
pub fn script(length: usize) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((0..3u32, 0..16u8, any::<u64>()), 4..length)
}

/// An operation on its way.
struct Open<S: Specification> {
    op: S::Op,
    /// What it will return, once it has taken effect.
    ret: Option<S::Ret>,
}

/// One object, and what each process is doing to it.
pub struct Simulation<'a, S: Specification> {
    spec: &'a S,
    op: fn(u64) -> S::Op,
    state: S::State,
    open: Vec<Option<Open<S>>>,
    dead: Vec<bool>,
    /// Operations of the dead that may still take effect.
    ghosts: Vec<(Process, S::Op)>,
    pub history: History<S::Op, S::Ret>,
    invoked: usize,
    /// Whether operations of the dead take effect after the crash, as if survivors helped.
    pub helps: bool,
    pub crashes: bool,
}

impl<'a, S: Specification> Simulation<'a, S> {
    pub fn new(spec: &'a S, op: fn(u64) -> S::Op) -> Self {
        Self {
            spec,
            op,
            state: spec.init(),
            open: (0..3).map(|_| None).collect(),
            dead: vec![false; 3],
            ghosts: Vec::new(),
            history: History::new(),
            invoked: 0,
            helps: true,
            crashes: true,
        }
    }

    /// Runs the script until `limit` operations were invoked.
    pub fn run(mut self, steps: &[Step], limit: usize) -> History<S::Op, S::Ret> {
        for &(process, action, number) in steps {
            self.step(process as usize, action, number, limit);
        }
        self.history
    }

    fn step(&mut self, process: usize, action: u8, number: u64, limit: usize) {
        let name = Process(process as u32);
        match action {
            13 if self.crashes && !self.dead[process] => {
                self.dead[process] = true;
                self.history.crash(name);
                let unfinished = self.open[process].take().filter(|open| open.ret.is_none());
                self.ghosts.extend(unfinished.map(|open| (name, open.op)));
            }
            14 if self.helps && !self.ghosts.is_empty() => {
                let (ghost, op) = self.ghosts.swap_remove(number as usize % self.ghosts.len());
                self.apply(ghost, &op, number);
            }
            _ if self.dead[process] => {
                if let Some(op) = self.spec.at_death(name, 0) {
                    self.apply(name, &op, number);
                }
                self.dead[process] = false;
                self.history.recover(name);
            }
            _ => match self.open[process].take() {
                None if self.invoked < limit => {
                    self.invoked += 1;
                    let op = (self.op)(number);
                    self.history.invoke(name, op.clone());
                    self.open[process] = Some(Open { op, ret: None });
                }
                None => {}
                Some(Open { op, ret: None }) => {
                    let ret = self.apply(name, &op, number);
                    self.open[process] = Some(Open { op, ret });
                }
                Some(Open { ret: Some(ret), .. }) => {
                    self.history.returned(name, ret);
                }
            },
        }
    }

    /// The effect, if the operation need not wait.
    fn apply(&mut self, by: Process, op: &S::Op, number: u64) -> Option<S::Ret> {
        let mut outcomes = self.spec.step(&self.state, by, op);
        if outcomes.is_empty() {
            return None;
        }
        let (state, ret) = outcomes.swap_remove((number >> 32) as usize % outcomes.len());
        self.state = state;
        Some(ret)
    }
}
