//! The pool's ledger: ranges of items, one word each (Q3b).
//!
//! `worker | epoch | done | next | end`: with `next = done` and `done < end` the range is not
//! started, with `next = done + 1` item `done` runs, with `done = end` it is finished. The parent
//! alone submits, revokes, recovers and frees; its workers die with it, so its own death needs no
//! recovery. Ring entries (record, epoch) are hints.
//!
//! | worker | | parent | |
//! |---|---|---|---|
//! | X1 | pop an entry; load the word; not mine, other epoch, not startable → drop | Y1 | surface the results `[taken, done)` of any record |
//! | X2 | CAS `next = done + 1`: start | Y2 | all surfaced: free the record, epoch + 1 |
//! | X3 | run, write the result | Y3 | revoke: CAS `end = mid`; then a new record for the rest; push |
//! | X4 | CAS `done + 1`, and `next + 1` if more is left: finish | Y4 | dead worker, each record of its: Y1; then the running item fails or is tried again, and the rest goes to a live worker, epoch + 1; push |
//!
//! What may be killed is a worker; the parent has proof of it.

mod cases;
mod parent;
mod worker;

pub use cases::cases;

use crash_check::explore::{Model, Successors};

/// Records.
pub const R: usize = 3;
/// Workers, respawned ones included; two are there at the start.
pub const W: usize = 4;
/// Items.
pub const I: usize = 3;
/// Entries that a request ring can hold.
pub const RING: usize = 4;

/// Number of the parent in traces.
const PARENT: usize = W;

/// A rule of the protocol that is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// X4 stores instead of comparing: a revocation in between is undone.
    FinishIsNoCas,
    /// X1 compares neither worker nor epoch.
    NeitherOwnerNorEpoch,
}

impl Broken {
    /// What its loss leads to: a part of the counterexample's first line.
    pub fn leads_to(self) -> &'static str {
        match self {
            Broken::FinishIsNoCas => "started again without a recorded attempt",
            Broken::NeitherOwnerNorEpoch => "is lost",
        }
    }
}

/// What happens to an item that was running when its worker died.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    /// It fails.
    Fail,
    /// It is tried once more.
    Retry,
}

/// One record's word.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Word {
    active: bool,
    worker: u8,
    epoch: u8,
    done: u8,
    next: u8,
    end: u8,
}

/// A hint in a ring.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Entry {
    record: u8,
    epoch: u8,
}

/// The next step of a worker.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Work {
    /// Not spawned yet.
    Unborn,
    X1Pop,
    X1Load,
    X2Start,
    X3Run,
    X4Load,
    X4Finish,
    Dead,
}

/// One worker.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Worker {
    at: Work,
    entry: Entry,
    loaded: Word,
    /// Its request ring, oldest entry first.
    ring: [Option<Entry>; RING],
    /// The parent has put another in its place.
    replaced: bool,
}

/// The next step of the parent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Duty {
    Look,
    Y3Revoke,
    Y3NewRecord,
    Y3Push,
    Y4Move,
    Y4Push,
}

/// The parent's variables.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Parent {
    at: Duty,
    record: u8,
    /// For Y3: the free record, the cut, the word as it was loaded.
    free: u8,
    mid: u8,
    loaded: Word,
    /// The worker that gets the work.
    worker: u8,
    /// Results surfaced of each record; private.
    taken: [u8; R],
}

/// What became of an item, for the checker.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Item {
    has_result: bool,
    surfaced: u8,
    starts: u8,
    attempts: u8,
}

/// Everything.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    words: [Word; R],
    workers: [Worker; W],
    parent: Parent,
    items: [Item; I],
    deaths: u8,
    revocations: u8,
    /// A result was surfaced that is not there.
    surfaced_nothing: bool,
}

/// The protocol, in one configuration and perhaps with a rule dropped.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// Ranges at the start: all three items in one, or two and one.
    pub ranges: u8,
    /// Workers that may be killed.
    pub deaths: u8,
    /// Revocations the parent may make.
    pub revocations: u8,
    /// What to do with running items of the dead.
    pub policy: Policy,
    /// Epochs that can be told apart.
    pub epochs: u8,
    /// The rule that is dropped.
    pub broken: Option<Broken>,
}

impl Ledger {
    fn drops(&self, rule: Broken) -> bool {
        self.broken == Some(rule)
    }

    fn next_epoch(&self, epoch: u8) -> u8 {
        (epoch + 1) % self.epochs
    }
}

impl Word {
    /// Not started, and something to start.
    fn startable(&self) -> bool {
        self.active && self.next == self.done && self.next < self.end
    }
}

/// Appends a hint to a worker's ring, which is large enough for all of them.
fn push(n: &mut State, worker: u8, entry: Entry) {
    let ring = &mut n.workers[worker as usize].ring;
    if let Some(place) = ring.iter_mut().find(|place| place.is_none()) {
        *place = Some(entry);
    }
}

impl Model for Ledger {
    type State = State;

    fn initial(&self) -> State {
        let nobody = Worker {
            at: Work::Unborn,
            entry: Entry::default(),
            loaded: Word::default(),
            ring: [None; RING],
            replaced: false,
        };
        let parent = Parent {
            at: Duty::Look,
            record: 0,
            free: 0,
            mid: 0,
            loaded: Word::default(),
            worker: 0,
            taken: [0; R],
        };
        let mut s = State {
            words: [Word::default(); R],
            workers: [nobody; W],
            parent,
            items: [Item::default(); I],
            deaths: self.deaths,
            revocations: self.revocations,
            surfaced_nothing: false,
        };
        s.workers[0].at = Work::X1Pop;
        s.workers[1].at = Work::X1Pop;
        let cut = if self.ranges == 1 { 3 } else { 2 };
        s.words[0] = Word { active: true, end: cut, ..Word::default() };
        push(&mut s, 0, Entry { record: 0, epoch: 0 });
        if self.ranges == 2 {
            let rest = Word { active: true, worker: 1, epoch: 0, done: cut, next: cut, end: 3 };
            s.words[1] = rest;
            s.parent.taken[1] = cut;
            push(&mut s, 1, Entry { record: 1, epoch: 0 });
        }
        s
    }

    fn successors(&self, s: &State, out: &mut Successors<'_, State>) {
        for w in 0..W {
            match s.workers[w].at {
                Work::Unborn | Work::Dead => continue,
                Work::X1Pop => self.x1_pop(s, w, out),
                Work::X1Load => self.x1_load(s, w, out),
                Work::X2Start => self.x2_start(s, w, out),
                Work::X3Run => self.x3_run(s, w, out),
                Work::X4Load => self.x4_load(s, w, out),
                Work::X4Finish => self.x4_finish(s, w, out),
            }
            if s.deaths > 0 {
                out.event(w, "KILLED", |n| worker::die(n, w));
            }
        }
        match s.parent.at {
            Duty::Look => self.look(s, out),
            Duty::Y3Revoke => self.y3_revoke(s, out),
            Duty::Y3NewRecord => self.y3_new_record(s, out),
            Duty::Y3Push => self.y3_push(s, out),
            Duty::Y4Move => self.y4_move(s, out),
            Duty::Y4Push => self.y4_push(s, out),
        }
    }

    fn invariants(&self, s: &State) -> Result<(), String> {
        if s.surfaced_nothing {
            return Err("a result was surfaced that is not written".into());
        }
        for (number, item) in s.items.iter().enumerate() {
            if item.surfaced > 1 {
                return Err(format!("item {number} surfaced twice"));
            }
            if item.starts > 1 + item.attempts {
                return Err(format!("item {number} was started again without a recorded attempt"));
            }
        }
        Ok(())
    }

    fn may_end(&self, s: &State) -> Result<(), String> {
        for (number, item) in s.items.iter().enumerate() {
            if item.surfaced == 0 {
                return Err(format!("item {number} is lost"));
            }
            if self.policy == Policy::Fail && item.starts > 1 {
                return Err(format!("item {number} ran twice, and was to fail"));
            }
        }
        if s.words.iter().any(|word| word.active) {
            return Err("a record is never freed".into());
        }
        Ok(())
    }

    fn name_of(&self, who: usize) -> String {
        if who == PARENT { "parent".to_owned() } else { format!("W{who}") }
    }
}
