//! Slot-owned MPMC queue (Q2): a slot word names its owner, positions are private cursors.
//!
//! `slot[k] = state (FREE, CLAIMED, READY, TAKING) | owner | sequence`; `intent[thread]` = position.
//!
//! | producer | | consumer | | recovery of a dead thread | |
//! |---|---|---|---|---|---|
//! | P1 | look at the slot of `pos` | T1 | look | V1 | `intent[dead]`; slot not owned by the dead → nothing |
//! | P2 | store `intent = pos` | T2 | store `intent = pos` | V2 | CLAIMED(dead) or TAKING(dead) → FREE(pos + N) |
//! | P3 | CAS FREE(pos) → CLAIMED(me, pos) | T3 | CAS READY(pos) → TAKING(me, pos) | V3 | done |
//! | P4 | payload | T4 | copy out | | |
//! | P5 | store READY(pos): sent | T5 | store FREE(pos + N): received | | |
//! | P6 | pos + 1; perhaps store the hint | T6 | pos + 1; perhaps store the hint | | |
//!
//! What is seen at `pos`: sequence larger → go on by one or jump to the hint; smaller → FULL or
//! EMPTY; the same → by the state (see [`Slots::p1_look`] and [`Slots::t1_look`]).
//!
//! Recovery is claimed as in the participants' protocol, here in one step; it is inherited.

mod cases;
mod consumer;
mod producer;
mod recover;

pub use cases::cases;

use crash_check::explore::{Model, Successors};

/// Slots of the ring.
pub const N: usize = 2;
/// Threads: two producers, then the consumers.
pub const T: usize = 4;
/// Producers.
pub const PRODUCERS: usize = 2;

/// A rule of the protocol that is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// P2 after P3.
    IntentAfterClaim,
    /// V2: a dead claim goes back to FREE(pos), behind everybody's cursor.
    FreedForTheSameLap,
    /// V2: what a dead consumer was taking becomes READY again.
    ReadyAgain,
    /// P6: the hint is one ahead of the cursor.
    HintAhead,
}

impl Broken {
    /// What its loss leads to: a part of the counterexample's first line.
    pub fn leads_to(self) -> &'static str {
        match self {
            Broken::IntentAfterClaim | Broken::FreedForTheSameLap => "a committed message is lost",
            Broken::ReadyAgain => "taken twice, or out of order",
            Broken::HintAhead => "wedge",
        }
    }
}

/// State of a slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    Free,
    Claimed,
    Ready,
    Taking,
    /// Only in the form with tombstones: a dead claim that a consumer frees.
    Tomb,
}

/// A slot's word.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Word {
    kind: Kind,
    owner: u8,
    seq: u8,
}

/// A message: which producer's, and which of its messages.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Message {
    producer: u8,
    number: u8,
}

/// The next step of a thread.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum At {
    P1Look,
    P2Intent,
    P3Claim,
    P4Payload,
    P5Commit,
    P6Hint,
    T1Look,
    T2Intent,
    T3Take,
    T4Copy,
    T5Free,
    T6Hint,
    ClearTomb,
    V1Intent,
    V3Done,
    Dead,
    Absent,
}

/// One thread.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Thread {
    at: At,
    cursor: u8,
    /// The word that the coming CAS expects.
    seen: Option<Word>,
    /// Producer: messages sent. Consumer: what it copied out.
    sent: u8,
    copy: Option<Message>,
    /// Recovery: of whom. Where it goes on is the start of its loop.
    target: u8,
    /// In shared memory: the position it is about to claim.
    intent: Option<u8>,
    recovery: Recovery,
}

/// How far the recovery of a thread is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Recovery {
    None,
    By(u8),
    Done,
}

/// What became of a producer's messages, for the checker: one bit a message.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Fate {
    committed: u8,
    received: u8,
    /// In the hands of a consumer that died.
    lost: u8,
    /// Number of the next message that may be taken.
    next: u8,
}

/// Everything.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    slots: [Word; N],
    payload: [Option<Message>; N],
    hint_producers: u8,
    hint_consumers: u8,
    threads: [Thread; T],
    fates: [Fate; PRODUCERS],
    deaths: u8,
}

/// The protocol, in one configuration and perhaps with a rule dropped.
#[derive(Clone, Debug)]
pub struct Slots {
    /// Messages of each producer.
    pub messages: [u8; PRODUCERS],
    /// Consumers.
    pub consumers: usize,
    /// Kills.
    pub deaths: u8,
    /// The form in which recovery leaves a tombstone for a consumer to clear.
    pub tombstones: bool,
    /// The rule that is dropped.
    pub broken: Option<Broken>,
}

impl Slots {
    fn drops(&self, rule: Broken) -> bool {
        self.broken == Some(rule)
    }
}

impl State {
    /// The slot that thread `t` looks at.
    fn slot_of(&self, t: usize) -> usize {
        self.threads[t].cursor as usize % N
    }
}

/// The word of a slot that is free at position `seq`.
fn free(seq: u8) -> Word {
    Word { kind: Kind::Free, owner: 0, seq }
}

/// A thread with nothing in its variables.
fn thread(at: At) -> Thread {
    Thread {
        at,
        cursor: 0,
        seen: None,
        sent: 0,
        copy: None,
        target: 0,
        intent: None,
        recovery: Recovery::None,
    }
}

impl Model for Slots {
    type State = State;

    fn initial(&self) -> State {
        let threads = std::array::from_fn(|t| match t.checked_sub(PRODUCERS) {
            None => thread(At::P1Look),
            Some(consumer) if consumer < self.consumers => thread(At::T1Look),
            Some(_) => thread(At::Absent),
        });
        State {
            slots: std::array::from_fn(|k| free(k as u8)),
            payload: [None; N],
            hint_producers: 0,
            hint_consumers: 0,
            threads,
            fates: [Fate::default(); PRODUCERS],
            deaths: self.deaths,
        }
    }

    fn successors(&self, s: &State, out: &mut Successors<'_, State>) {
        for t in 0..T {
            match s.threads[t].at {
                At::Dead | At::Absent => continue,
                At::P1Look => {
                    self.v1_claim(s, t, out);
                    self.p1_look(s, t, out);
                }
                At::P2Intent => self.p2_intent(s, t, out),
                At::P3Claim => self.p3_claim(s, t, out),
                At::P4Payload => self.p4_payload(s, t, out),
                At::P5Commit => self.p5_commit(s, t, out),
                At::P6Hint => self.p6_hint(s, t, out),
                At::T1Look => {
                    self.v1_claim(s, t, out);
                    self.t1_look(s, t, out);
                }
                At::T2Intent => self.t2_intent(s, t, out),
                At::T3Take => self.t3_take(s, t, out),
                At::T4Copy => self.t4_copy(s, t, out),
                At::T5Free => self.t5_free(s, t, out),
                At::T6Hint => self.t6_hint(s, t, out),
                At::ClearTomb => self.clear_tomb(s, t, out),
                At::V1Intent => self.v2_repair(s, t, out),
                At::V3Done => self.v3_done(s, t, out),
            }
            if s.deaths > 0 {
                out.event(t, "KILLED", |n| recover::die(n, t));
            }
        }
    }

    fn may_end(&self, s: &State) -> Result<(), String> {
        let lives = |t: usize| !matches!(s.threads[t].at, At::Dead | At::Absent);
        let waits = |t: usize| lives(t) && s.threads[t].sent < self.messages[t];
        if (PRODUCERS..T).any(lives) {
            if (0..PRODUCERS).any(waits) {
                return Err("wedge: producers see FULL, consumers see EMPTY".into());
            }
            if s.fates.iter().any(|fate| fate.committed != fate.received | fate.lost) {
                return Err("a committed message is lost".into());
            }
        }
        let unrecovered = |th: &Thread| th.at == At::Dead && th.recovery != Recovery::Done;
        if (0..T).any(lives) && s.threads.iter().any(unrecovered) {
            return Err("a dead one is not recovered".into());
        }
        Ok(())
    }

    fn name_of(&self, who: usize) -> String {
        if who < PRODUCERS { format!("P{who}") } else { format!("C{who}") }
    }
}
