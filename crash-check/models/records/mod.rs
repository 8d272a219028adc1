//! Item records: submit, lease, ack, nack, recovery and the exact join (Q3a).
//!
//! `rec[r]`: FREE, RESERVED(p), QUEUED or LEASED(c), with an epoch, redeliveries and `J` (a joiner
//! waits). The ring of indices and the `returned` bitmap are hints. *The hint rule*: whoever makes
//! a record QUEUED, or removes a hint to it, first stores its index in its intent.
//!
//! | submit | | lease | | end of lease | | recovery of dead D by R | |
//! |---|---|---|---|---|---|---|---|
//! | S1 | intent; CAS FREE → RESERVED | A1 | returned ≠ 0: intent | K1 | ack: CAS LEASED → FREE, epoch + 1; J seen → ring joiners | V1 | D's ring entry: set its bit, then free the slot |
//! | S3 | store QUEUED | A2 | clear the bit | K2 | nack: intent; CAS LEASED → QUEUED; set the bit | V2 | D's intents: record QUEUED → set its bit |
//! | S4 | push (or set the bit) | A3 | CAS QUEUED → LEASED | | | V3 | RESERVED(D) → FREE; LEASED(D): R's second intent, CAS → QUEUED, set the bit |
//! | | | B1 | else take a ring entry (the slot is TAKING) | | | V4 | ring all |
//! | | | B2 | CAS QUEUED → LEASED | | | | |
//! | | | B3 | free the ring slot | | | | |
//!
//! | join | |
//! |---|---|
//! | J1 | read the bell |
//! | J2 | collect all records; busy → J4 |
//! | J3 | collect again; all the same → return |
//! | J4 | CAS J into the busy record; wait; J1 |
//!
//! The ring is one FIFO with a TAKING state (its own model is `slots`); load and CAS of a record
//! are one step; the proof of death is exact.

mod cases;
mod join;
mod lease;
mod recover;
mod submit;

pub use cases::cases;

use crash_check::explore::{Model, Successors};

/// Records.
pub const R: usize = 2;
/// Threads.
pub const T: usize = 4;
/// Entries that the ring can hold.
pub const RING: usize = 3;

/// A rule of the protocol that is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// B3 before B2.
    SlotFreedBeforeLease,
    /// A2 without A1.
    ClearWithoutIntent,
    /// K2 without its intent.
    NackWithoutIntent,
    /// S1 without its intent.
    SubmitWithoutIntent,
    /// V3 without R's second intent.
    RecoveryWithoutIntent,
    /// V3: the bit is set only before LEASED becomes QUEUED.
    BitBeforeQueued,
    /// J3 is left out.
    SingleCollect,
    /// V4 is left out.
    NobodyRung,
}

impl Broken {
    /// What its loss leads to: a part of the counterexample's first line.
    pub fn leads_to(self) -> &'static str {
        match self {
            Broken::SlotFreedBeforeLease
            | Broken::ClearWithoutIntent
            | Broken::NackWithoutIntent
            | Broken::SubmitWithoutIntent
            | Broken::RecoveryWithoutIntent
            | Broken::BitBeforeQueued => "no hint says so",
            Broken::SingleCollect => "there was no idle instant",
            Broken::NobodyRung => "the join hangs",
        }
    }
}

/// What a thread is there for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Puts items in.
    Submitter,
    /// Leases items, ends the leases, and may submit from within one.
    Worker,
    /// Waits until there was an idle instant; never killed.
    Joiner,
    /// Not there.
    Absent,
}

/// State of a record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    Free,
    Reserved(u8),
    Queued,
    Leased(u8),
}

/// A record's word.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Word {
    kind: Kind,
    epoch: u8,
    redeliveries: u8,
    joiner: bool,
}

/// The next step of a thread.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum At {
    S1Pick,
    S1Intent,
    S1Reserve,
    S3Queue,
    S4Push,
    Lease,
    A1Intent,
    A2Clear,
    A3Lease,
    B2Lease,
    B3FreeSlot,
    Work,
    K1Ack,
    K1RingJoiners,
    K2Intent,
    K2Nack,
    K2SetBit,
    V1SetBit,
    V1FreeSlot,
    V2Intent,
    V2SecondIntent,
    V3Scan,
    V3Requeue,
    V3SetBit,
    V4RingAll,
    V5Done,
    JStart,
    J1Bell,
    J2Collect,
    J3Compare,
    J4Mark,
    JWait,
    Returned,
    Dead,
}

/// One thread.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Thread {
    at: At,
    /// The record it is about; in a scan, the next one.
    record: u8,
    /// Its lease succeeded.
    leased: bool,
    /// Submitter: items still to submit. Worker: nested submissions still to make.
    quota: u8,
    /// The record it holds while it submits from within a lease.
    held: Option<u8>,
    /// Recovery: of whom; where to go on.
    target: u8,
    then: At,
    /// Joiner: the first collect, or the busy word.
    collected: [Option<Word>; R],
    busy: Option<Word>,
    /// In shared memory: intents, and the entry of the ring slot it is taking.
    intent: Option<u8>,
    second_intent: Option<u8>,
    taking: Option<u8>,
    recovery: Recovery,
}

/// How far the recovery of a thread is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Recovery {
    None,
    By(u8),
    Done,
}

/// Everything.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    records: [Word; R],
    /// The item in each record, and for the checker: how many were submitted, and a bit for each
    /// that was acked, that failed.
    items: [u8; R],
    submitted: u8,
    acked: u8,
    failed: u8,
    ring: [Option<u8>; RING],
    returned: u8,
    threads: [Thread; T],
    /// The joiner's bell was rung since it was read.
    rung: bool,
    /// For the checker: there was an idle instant since the join began.
    was_idle: bool,
    deaths: u8,
    nacks: u8,
}

/// The protocol, in one configuration and perhaps with a rule dropped.
#[derive(Clone, Debug)]
pub struct Records {
    /// Who is there.
    pub roles: [Role; T],
    /// Items that a submitter submits.
    pub items: u8,
    /// Kills.
    pub deaths: u8,
    /// Nacks.
    pub nacks: u8,
    /// Deliveries of an item before it fails.
    pub limit: u8,
    /// Thread 1 submits once from within a lease.
    pub nested: bool,
    /// The rule that is dropped.
    pub broken: Option<Broken>,
}

impl Records {
    fn drops(&self, rule: Broken) -> bool {
        self.broken == Some(rule)
    }
}

impl State {
    fn is_idle(&self) -> bool {
        !self.records.iter().any(|word| word.is_busy())
    }

    fn return_to_set(&mut self, record: u8) {
        self.returned |= 1 << record;
    }

    /// Ends the item in `record`, and frees the record. A flaw if it ended before.
    fn end_item(&mut self, record: usize, acked: bool) {
        let bit = 1 << self.items[record];
        if acked {
            self.acked |= bit;
        } else {
            self.failed |= bit;
        }
        self.records[record] = free(self.records[record].epoch + 1);
    }

    fn has_ended(&self, record: usize) -> bool {
        (self.acked | self.failed) >> self.items[record] & 1 == 1
    }
}

impl Word {
    fn is_busy(self) -> bool {
        matches!(self.kind, Kind::Queued | Kind::Leased(_))
    }
}

fn free(epoch: u8) -> Word {
    Word { kind: Kind::Free, epoch, redeliveries: 0, joiner: false }
}

/// A thread with nothing in its variables.
fn thread(at: At) -> Thread {
    Thread {
        at,
        record: 0,
        leased: false,
        quota: 0,
        held: None,
        target: 0,
        then: At::Dead,
        collected: [None; R],
        busy: None,
        intent: None,
        second_intent: None,
        taking: None,
        recovery: Recovery::None,
    }
}

/// What a step of thread `t` changes, and with it the checker's note of an idle instant.
fn step(
    out: &mut Successors<'_, State>,
    t: usize,
    label: &'static str,
    change: impl FnOnce(&mut State),
) {
    out.step(t, label, |n| {
        change(n);
        n.was_idle |= n.is_idle();
    });
}

impl Model for Records {
    type State = State;

    fn initial(&self) -> State {
        let threads = std::array::from_fn(|t| match self.roles[t] {
            Role::Submitter => Thread { quota: self.items, ..thread(At::S1Pick) },
            Role::Worker => Thread { quota: u8::from(self.nested && t == 1), ..thread(At::Lease) },
            Role::Joiner => thread(At::JStart),
            Role::Absent => Thread { recovery: Recovery::Done, ..thread(At::Dead) },
        });
        State {
            records: [free(0); R],
            items: [0; R],
            submitted: 0,
            acked: 0,
            failed: 0,
            ring: [None; RING],
            returned: 0,
            threads,
            rung: false,
            was_idle: false,
            deaths: self.deaths,
            nacks: self.nacks,
        }
    }

    fn successors(&self, s: &State, out: &mut Successors<'_, State>) {
        for t in 0..T {
            let at = s.threads[t].at;
            if matches!(at, At::Dead | At::Returned) {
                continue;
            }
            if s.deaths > 0 && self.roles[t] != Role::Joiner {
                out.event(t, "KILLED", |n| recover::die(n, t));
            }
            if matches!(at, At::S1Pick | At::Lease | At::JWait) {
                self.v0_claim(s, t, out);
            }
            match at {
                At::S1Pick => self.s1_pick(s, t, out),
                At::S1Intent => self.s1_intent(s, t, out),
                At::S1Reserve => self.s1_reserve(s, t, out),
                At::S3Queue => self.s3_queue(s, t, out),
                At::S4Push => self.s4_push(s, t, out),
                At::Lease => self.look_for_work(s, t, out),
                At::A1Intent => self.a1_intent(s, t, out),
                At::A2Clear => self.a2_clear(s, t, out),
                At::A3Lease => self.a3_lease(s, t, out),
                At::B2Lease => self.b2_lease(s, t, out),
                At::B3FreeSlot => self.b3_free_slot(s, t, out),
                At::Work => self.work(s, t, out),
                At::K1Ack => self.k1_ack(s, t, out),
                At::K1RingJoiners => self.k1_ring_joiners(s, t, out),
                At::K2Intent => self.k2_intent(s, t, out),
                At::K2Nack => self.k2_nack(s, t, out),
                At::K2SetBit => self.k2_set_bit(s, t, out),
                At::V1SetBit => self.v1_set_bit(s, t, out),
                At::V1FreeSlot => self.v1_free_slot(s, t, out),
                At::V2Intent => self.v2_intent(s, t, out),
                At::V2SecondIntent => self.v2_second_intent(s, t, out),
                At::V3Scan => self.v3_scan(s, t, out),
                At::V3Requeue => self.v3_requeue(s, t, out),
                At::V3SetBit => self.v3_set_bit(s, t, out),
                At::V4RingAll => self.v4_ring_all(s, t, out),
                At::V5Done => self.v5_done(s, t, out),
                At::JStart => self.j_start(s, t, out),
                At::J1Bell => self.j1_bell(s, t, out),
                At::J2Collect => self.j2_collect(s, t, out),
                At::J3Compare => self.j3_compare(s, t, out),
                At::J4Mark => self.j4_mark(s, t, out),
                At::JWait => self.j_wait(s, t, out),
                At::Returned | At::Dead => {}
            }
        }
    }

    fn may_end(&self, s: &State) -> Result<(), String> {
        let worker_lives =
            (0..T).any(|t| self.roles[t] == Role::Worker && s.threads[t].at != At::Dead);
        if !worker_lives {
            return Ok(());
        }
        for (r, word) in s.records.iter().enumerate() {
            match word.kind {
                Kind::Free => {}
                Kind::Queued => return Err(format!("record {r} is QUEUED, and no hint says so")),
                Kind::Reserved(_) => return Err(format!("record {r} is RESERVED for ever")),
                Kind::Leased(_) => return Err(format!("record {r} is LEASED for ever")),
            }
        }
        if (1_u8 << s.submitted) - 1 != s.acked | s.failed {
            return Err("an item is lost".into());
        }
        for th in &s.threads {
            match th.at {
                At::JWait => return Err("the join hangs".into()),
                At::S1Pick if th.quota > 0 => return Err("a submitter is stuck".into()),
                _ => {}
            }
        }
        Ok(())
    }

    fn name_of(&self, who: usize) -> String {
        let letter = match self.roles[who] {
            Role::Submitter => "S",
            Role::Worker => "W",
            Role::Joiner | Role::Absent => "J",
        };
        format!("{letter}{who}")
    }
}
