//! Waiting on doorbells: attach, ring, park, recover the dead (Q1).
//!
//! A structure has a `sleepers` mask, a bit for each index; each participant has a bell (a futex
//! counter) and a life word. Producers publish through a store buffer, which drains at any later
//! time, at a read–modify–write of their own, at their death, or at a sleeper's heavy barrier.
//! Death here is the *proven* death: no store of the dead comes later.
//!
//! | newcomer | | ring one | | park | | recovery of x by R | |
//! |---|---|---|---|---|---|---|---|
//! | N1 | pick i with `life[i]` FREE | L1 | `sleepers` = 0 → done | W1 | try; success → return | R1 | stamped? claimed by a living (Q, g) → keep |
//! | N2 | raise roster | L2 | `fetch_and(!t)`; bit was not there → L1 | W2 | read own bell | R2 | CAS → claim (R, gen R) |
//! | N3 | wake roster, always | L3 | `bell[t]` += 1 | W3 | `fetch_or(sleepers, me)` | R3 | sweep mask, then slots |
//! | N4 | CAS FREE → tid | L4 | wake all on `bell[t]` | W4 | heavy barrier; read roster | R4 | ring every live one, R too |
//! | N5 | only now touch a structure | | | W5 | scan life words | R5 | `gen[x]` += 1 |
//! | | | | | W6 | look: item → W8 | R6 | CAS → FREE |
//! | | | | | W7 | `waitv` on bell, roster, life words | | |
//! | | | | | W8 | `fetch_and(sleepers, !me)` | | |
//! | | | | | W9 | scan again as W5 | | |
//! | | | | | W10 | take, unless leaving | | |
//! | | | | | W11 | baton: more there → ring one | | |
//!
//! The structure is a short FIFO: an item behind an unpublished head cannot be taken.

mod attach;
mod cases;
mod park;
mod recover;
mod rules;

pub use cases::cases;
pub use rules::{Broken, Config, Role};

use crash_check::explore::{Model, Successors, WaitQueues};

/// Threads, one a process.
pub const T: usize = 4;
/// Indices.
pub const I: usize = 4;
/// Slots of the FIFO.
pub const K: usize = 3;

/// Number of the kernel in traces.
const KERNEL: usize = T;

/// A life word.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Life {
    /// Nobody's.
    Free,
    /// Armed by this thread.
    Armed(u8),
    /// Stamped.
    Died,
    /// Stamped, and under recovery by (index, generation).
    Claimed(u8, u8),
}

/// What the control file and the kernel hold for one index.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Line {
    life: Life,
    generation: u8,
    /// The bell was rung since its owner read it.
    rung: bool,
    /// The kernel stamped the word and is about to wake one waiter.
    wakes_one: bool,
    /// The claim, where a broken form keeps it beside the life word.
    claim_beside: Option<(u8, u8)>,
}

/// One place of the FIFO.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Slot {
    Empty,
    Claimed(u8),
    Ready,
    Taken,
    /// Claimed by one who died before it published.
    Skipped,
}

/// The next step of a thread.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum At {
    N1Pick,
    N2Raise,
    N3Wake,
    N4Arm,
    Produce,
    Publish,
    L1Look,
    L2Clear,
    L3Ring,
    L4Wake,
    W1Try,
    W2Bell,
    W3Mask,
    W4Barrier,
    W5Scan,
    W6Look,
    W7Queue,
    Parked,
    W8Unmask,
    W9Scan,
    W10Take,
    W11Baton,
    W12Return,
    R1Read,
    R1Claimant,
    R1Generation,
    R2Claim,
    R3SweepMask,
    R3SweepSlots,
    R4Ring,
    R4Wake,
    R5Generation,
    R6Free,
    Done,
    Ended,
}

/// One thread.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Actor {
    at: At,
    index: Option<u8>,
    /// Items still to send or to receive.
    quota: u8,
    /// A publish that has not left the store buffer: its slot.
    buffered: Option<u8>,
    /// Scan and queueing: next word, and the mark.
    cursor: u8,
    mark: u8,
    /// What `waitv` is to compare.
    expected: [Life; I],
    /// Gives up: a time-out, a select won elsewhere.
    leaves: bool,
    /// Ring and recovery: whom.
    target: u8,
    /// Recovery: value its word was seen with; for the broken form also the generation.
    seen: Life,
    seen_beside: (u8, Option<(u8, u8)>),
    ringing: u8,
    /// Where to go on after ringing, or after a recovery.
    then: At,
    /// N2 raised the mark; or the slot that was claimed.
    raised: bool,
    slot: u8,
}

/// Everything.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    lines: [Line; I],
    actors: [Actor; T],
    queues: WaitQueues<T>,
    /// The mask of sleepers.
    sleepers: u8,
    /// High-water mark of indices in use, and who has not seen its last change.
    roster: u8,
    roster_news: [bool; T],
    slots: [Slot; K],
    deaths: u8,
    timeouts: u8,
    spurious: u8,
}

/// The protocol, in one configuration and with some rules dropped.
#[derive(Clone, Debug)]
pub struct Doorbells {
    /// Who is there and what may happen.
    pub config: Config,
    /// The rules that are dropped.
    pub broken: Vec<Broken>,
}

impl State {
    /// The slot that a consumer could take now: the head, if it is published.
    fn takable(&self) -> Option<usize> {
        let head = self.slots.iter().position(|s| !matches!(s, Slot::Taken | Slot::Skipped))?;
        (self.slots[head] == Slot::Ready).then_some(head)
    }

    fn is_live(&self, index: u8) -> bool {
        matches!(self.lines[index as usize].life, Life::Armed(_))
    }
}

/// The store buffer of `t` drains.
fn drain(n: &mut State, t: usize) {
    if let Some(slot) = n.actors[t].buffered.take() {
        n.slots[slot as usize] = Slot::Ready;
    }
}

impl Doorbells {
    fn drops(&self, rule: Broken) -> bool {
        self.broken.contains(&rule)
    }

    fn environment(&self, s: &State, t: usize, out: &mut Successors<'_, State>) {
        let a = &s.actors[t];
        if s.deaths > 0 && self.config.may_die[t] {
            out.event(t, "KILLED", |n| {
                n.deaths -= 1;
                die(n, t);
            });
        }
        if a.buffered.is_some() {
            out.step(t, "store buffer drains", |n| drain(n, t));
        }
        if a.at != At::Parked {
            return;
        }
        if s.timeouts > 0 {
            out.event(t, "time-out", |n| {
                n.timeouts -= 1;
                n.actors[t].leaves = true;
                n.actors[t].at = At::W8Unmask;
            });
        }
        if s.spurious > 0 && !s.queues.was_woken(t) {
            out.event(t, "spurious wake", |n| {
                n.spurious -= 1;
                n.actors[t].at = At::W8Unmask;
            });
        }
    }
}

/// Proven death: the buffer drains, the kernel stamps and will wake one waiter.
fn die(n: &mut State, t: usize) {
    drain(n, t);
    if let Some(index) = n.actors[t].index {
        n.lines[index as usize].life = Life::Died;
        n.lines[index as usize].wakes_one = true;
    }
    n.queues.leave(t);
    n.roster_news[t] = false;
    n.actors[t] = Actor { at: At::Ended, ..rules::actor() };
}

impl Model for Doorbells {
    type State = State;

    fn initial(&self) -> State {
        self.config.initial()
    }

    fn successors(&self, s: &State, out: &mut Successors<'_, State>) {
        for i in 0..I {
            if s.lines[i].wakes_one {
                wake_one(s, i, out);
            }
        }
        for t in 0..T {
            if s.actors[t].at == At::Ended {
                continue;
            }
            self.environment(s, t, out);
            match s.actors[t].at {
                At::N1Pick => self.n1_pick(s, t, out),
                At::N2Raise => self.n2_raise(s, t, out),
                At::N3Wake => self.n3_wake(s, t, out),
                At::N4Arm => self.n4_arm(s, t, out),
                At::Produce => self.produce(s, t, out),
                At::Publish => self.publish(s, t, out),
                At::L1Look => self.l1_look(s, t, out),
                At::L2Clear => self.l2_clear(s, t, out),
                At::L3Ring => self.l3_ring(s, t, out),
                At::L4Wake => self.l4_wake(s, t, out),
                At::W1Try => self.w1_try(s, t, out),
                At::W2Bell => self.w2_read_bell(s, t, out),
                At::W3Mask => self.w3_mask(s, t, out),
                At::W4Barrier => self.w4_barrier(s, t, out),
                At::W5Scan | At::W9Scan => self.scan(s, t, out),
                At::W6Look => self.w6_look(s, t, out),
                At::W7Queue => self.w7_queue(s, t, out),
                At::Parked => self.w7_return(s, t, out),
                At::W8Unmask => self.w8_unmask(s, t, out),
                At::W10Take => self.w10_take(s, t, out),
                At::W11Baton => self.w11_baton(s, t, out),
                At::W12Return => self.w12_return(s, t, out),
                At::R1Read => self.r1_read(s, t, out),
                At::R1Claimant => self.r1_claimant(s, t, out),
                At::R1Generation => self.r1_generation(s, t, out),
                At::R2Claim => self.r2_claim(s, t, out),
                At::R3SweepMask => self.r3_sweep_mask(s, t, out),
                At::R3SweepSlots => self.r3_sweep_slots(s, t, out),
                At::R4Ring => self.r4_ring(s, t, out),
                At::R4Wake => self.r4_wake(s, t, out),
                At::R5Generation => self.r5_generation(s, t, out),
                At::R6Free => self.r6_free(s, t, out),
                At::Done | At::Ended => {}
            }
        }
    }

    fn invariants(&self, s: &State) -> Result<(), String> {
        self.invariants_hold(s)
    }

    fn may_end(&self, s: &State) -> Result<(), String> {
        self.is_good_end(s)
    }

    fn name_of(&self, who: usize) -> String {
        if who == KERNEL {
            return "kern".to_owned();
        }
        let letter = match self.config.roles[who] {
            Role::Consumer => "C",
            Role::Producer => "P",
            Role::Newcomer => "N",
            Role::Idle | Role::Absent => "I",
        };
        format!("{letter}{who}")
    }
}

/// Number of the futex `bell[index]`; `life[i]` is number i.
fn bell(index: u8) -> usize {
    I + index as usize
}

/// Number of the futex `roster`.
const ROSTER: usize = 2 * I;

fn wake_one(s: &State, i: usize, out: &mut Successors<'_, State>) {
    let mut nobody = true;
    for waiter in s.queues.waiting_on(i) {
        nobody = false;
        out.step(waiter, "kernel wakes this one for the stamp", |n| {
            n.lines[i].wakes_one = false;
            n.queues.wake(waiter, i);
        });
    }
    if nobody {
        out.step(KERNEL, "the stamp wakes nobody", |n| n.lines[i].wakes_one = false);
    }
}
