//! Who takes part, which rules are dropped, and what must hold.

use super::{Actor, At, Doorbells, I, K, Life, Line, Slot, State, T};
use crash_check::explore::WaitQueues;

/// A rule of the protocol that is dropped; C1 to C11 as in the protocol's list of counterexamples.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// W5 and W7 leave out the life words.
    PeersNotWatched,
    /// C1: W2 after W3.
    BellAfterMask,
    /// C2: W4 without the barrier.
    NoHeavyBarrier,
    /// C3: no W9.
    NoScanAfterWaking,
    /// C4: no N3.
    NoRosterWake,
    /// C4: N4 before N2 and N3.
    ArmBeforeRoster,
    /// C5: N3 only if N2 raised the mark.
    RosterWakeByRaiserOnly,
    /// C6: R4 leaves out R.
    NotRingingItself,
    /// C7: the claim stands in a word of its own.
    ClaimBesideLifeWord,
    /// C8: the claim does not say which incarnation claimed.
    ClaimWithoutGeneration,
    /// C9: no R4.
    NobodyRung,
    /// C9: R4 rings only those whose bit is set.
    OnlySleepersRung,
    /// C10: no W11.
    NoBaton,
    /// C11: R6 before R3.
    FreeBeforeSweep,
}

impl Broken {
    /// What its loss leads to: a part of the counterexample's first line.
    pub fn leads_to(self) -> &'static str {
        match self {
            Broken::BellAfterMask
            | Broken::NoHeavyBarrier
            | Broken::NoBaton
            | Broken::NobodyRung
            | Broken::OnlySleepersRung
            | Broken::NotRingingItself => "lost wake",
            Broken::PeersNotWatched
            | Broken::NoScanAfterWaking
            | Broken::NoRosterWake
            | Broken::ArmBeforeRoster
            | Broken::RosterWakeByRaiserOnly
            | Broken::ClaimWithoutGeneration => "lost death",
            Broken::FreeBeforeSweep => "claimed by a FREE index",
            Broken::ClaimBesideLifeWord => "a live participant is under recovery",
        }
    }
}

/// What a thread is there for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Receives items, parks when there is none.
    Consumer,
    /// Sends items.
    Producer,
    /// Attaches first, then sends.
    Newcomer,
    /// Attached, does nothing.
    Idle,
    /// Not there.
    Absent,
}

/// Who is there, and what may happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// The threads; those attached at the start have the index of their place.
    pub roles: [Role; T],
    /// Items to send or to receive.
    pub quota: [u8; T],
    /// Kills, and who may be killed.
    pub deaths: u8,
    /// See `deaths`.
    pub may_die: [bool; T],
    /// Time-outs of a parked one, which then leaves for good.
    pub timeouts: u8,
    /// Spurious returns from `waitv`.
    pub spurious: u8,
    /// The kernel queues the words of `waitv` one by one.
    pub word_by_word: bool,
    /// Nobody dies and nobody looks: no life words in scans and in `waitv`.
    pub no_scans: bool,
}

impl Config {
    /// Consumers, producers, idle ones and newcomers, in this order, one item each; no trouble.
    pub fn new(consumers: usize, producers: usize, idle: usize, newcomers: usize) -> Self {
        let kinds = [
            (Role::Consumer, consumers),
            (Role::Producer, producers),
            (Role::Idle, idle),
            (Role::Newcomer, newcomers),
        ];
        let mut roles = [Role::Absent; T];
        let list = kinds.iter().flat_map(|&(role, count)| std::iter::repeat_n(role, count));
        for (place, role) in roles.iter_mut().zip(list) {
            *place = role;
        }
        Self {
            roles,
            quota: [1; T],
            deaths: 0,
            may_die: [true; T],
            timeouts: 0,
            spurious: 0,
            word_by_word: false,
            no_scans: false,
        }
    }

    /// Items of each thread.
    pub fn quota(mut self, quota: [u8; T]) -> Self {
        self.quota = quota;
        self
    }

    /// Kills.
    pub fn deaths(mut self, deaths: u8) -> Self {
        self.deaths = deaths;
        self
    }

    /// Only these may be killed.
    pub fn only(mut self, may_die: [usize; 2]) -> Self {
        self.may_die = std::array::from_fn(|t| may_die.contains(&t));
        self
    }

    /// Time-outs and spurious wakes.
    pub fn wakes(mut self, timeouts: u8, spurious: u8) -> Self {
        self.timeouts = timeouts;
        self.spurious = spurious;
        self
    }

    /// See `no_scans`.
    pub fn no_scans(mut self) -> Self {
        self.no_scans = true;
        self
    }

    /// The kernel queues word by word.
    pub fn word_by_word(mut self) -> Self {
        self.word_by_word = true;
        self
    }

    pub(super) fn initial(&self) -> State {
        let free = Line {
            life: Life::Free,
            generation: 0,
            rung: false,
            wakes_one: false,
            claim_beside: None,
        };
        let mut state = State {
            lines: [free; I],
            actors: [Actor { at: At::Ended, ..actor() }; T],
            queues: WaitQueues::new(),
            sleepers: 0,
            roster: 0,
            roster_news: [false; T],
            slots: [Slot::Empty; K],
            deaths: self.deaths,
            timeouts: self.timeouts,
            spurious: self.spurious,
        };
        for t in 0..T {
            let (at, attached) = match self.roles[t] {
                Role::Consumer => (At::W1Try, true),
                Role::Producer => (At::Produce, true),
                Role::Idle => (At::Done, true),
                Role::Newcomer => (At::N1Pick, false),
                Role::Absent => continue,
            };
            let quota = if self.roles[t] == Role::Idle { 0 } else { self.quota[t] };
            state.actors[t] = Actor { at, quota, ..actor() };
            if attached {
                state.actors[t].index = Some(t as u8);
                state.lines[t].life = Life::Armed(t as u8);
                state.roster = t as u8 + 1;
            }
        }
        state
    }
}

/// A thread with nothing in its variables.
pub(super) fn actor() -> Actor {
    Actor {
        at: At::Done,
        index: None,
        quota: 0,
        buffered: None,
        cursor: 0,
        mark: 0,
        expected: [Life::Free; I],
        leaves: false,
        target: 0,
        seen: Life::Free,
        seen_beside: (0, None),
        ringing: 0,
        then: At::Done,
        raised: false,
        slot: 0,
    }
}

impl Doorbells {
    pub(super) fn invariants_hold(&self, s: &State) -> Result<(), String> {
        for (k, slot) in s.slots.iter().enumerate() {
            if let Slot::Claimed(index) = *slot {
                claim_has_its_owner(s, k, index)?;
            }
        }
        for line in &s.lines {
            if line.claim_beside.is_some() && matches!(line.life, Life::Armed(_)) {
                return Err("a live participant is under recovery".into());
            }
        }
        if self.drops(Broken::FreeBeforeSweep) || self.drops(Broken::ClaimBesideLifeWord) {
            return Ok(());
        }
        for (t, a) in s.actors.iter().enumerate() {
            let claimed = Life::Claimed(a.index.unwrap_or_default(), 0);
            let word = s.lines[a.target as usize].life;
            if recovers(a) && !same_claimant(word, claimed) {
                return Err(format!("T{t} recovers without the claim"));
            }
        }
        Ok(())
    }

    pub(super) fn is_good_end(&self, s: &State) -> Result<(), String> {
        let parked: Vec<usize> = (0..T).filter(|&t| s.actors[t].at == At::Parked).collect();
        let stamped = |line: &Line| matches!(line.life, Life::Died | Life::Claimed(..));
        if !parked.is_empty() && s.lines.iter().any(stamped) {
            return Err("lost death: a dead one is not recovered, and a live one sleeps".into());
        }
        if !parked.is_empty() && s.takable().is_some() {
            return Err("lost wake: an item is there, and a consumer sleeps".into());
        }
        for (t, a) in s.actors.iter().enumerate() {
            if !matches!(a.at, At::Parked | At::Done | At::Ended | At::N1Pick) {
                return Err(format!("T{t} is stuck at {:?}", a.at));
            }
        }
        Ok(())
    }
}

/// A claimed slot belongs to a dead one who is not swept yet, or to a live one that is in it.
fn claim_has_its_owner(s: &State, k: usize, index: u8) -> Result<(), String> {
    match s.lines[index as usize].life {
        Life::Free => Err("a slot is claimed by a FREE index".into()),
        Life::Armed(t) => {
            let a = &s.actors[t as usize];
            let publishing = a.at == At::Publish && a.slot as usize == k;
            if publishing || a.buffered == Some(k as u8) {
                Ok(())
            } else {
                Err("a slot's claim is attributed to an innocent newcomer".into())
            }
        }
        Life::Died | Life::Claimed(..) => Ok(()),
    }
}

fn recovers(a: &Actor) -> bool {
    matches!(
        a.at,
        At::R3SweepMask
            | At::R3SweepSlots
            | At::R4Ring
            | At::R4Wake
            | At::R5Generation
            | At::R6Free
    )
}

fn same_claimant(one: Life, other: Life) -> bool {
    matches!((one, other), (Life::Claimed(a, _), Life::Claimed(b, _)) if a == b)
}
