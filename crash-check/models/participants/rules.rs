//! Who takes part, which rules are dropped, and what must hold.

use super::{Actor, At, I, Life, Line, P, Participants, State, absent, keeper};
use crash_check::explore::{Exit, Process, WaitQueues};

/// A rule of the protocol that is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// A5 before A2.
    ArmBeforeLock,
    /// A5 before A3 and A4.
    ArmBeforeRoster,
    /// No A4.
    NoRosterWake,
    /// A4 only if A3 raised the mark.
    RosterWakeByRaiserOnly,
    /// D3 before D2.
    UnlockBeforeWord,
    /// No D0.
    NoRingBeforeDetach,
    /// No D1.
    NoGenerationAtDetach,
    /// A live owner leaves its stamped word as it is.
    NeverRearmed,
    /// Threads that do not hold the armed word wait on peers' words.
    AnyThreadWatchesPeers,
    /// The keeper's death wakes nobody of its process: the others sleep on their bell.
    NoPrivateWake,
    /// The own word is in the own waitv set.
    OwnWordWatched,
    /// W4 sleeps without a time-out although a stamp without proof was seen.
    NoTimeout,
    /// No W5.
    NoScanAfterWaking,
    /// R2: a stamp counts as proof (and so no R5).
    StampIsProof,
    /// R2: the owner of a stamped word is not rung.
    OwnerNotRung,
    /// R3: a claimant is judged by its life word.
    ClaimantJudgedByWord,
    /// R3: the claim does not say which incarnation claimed.
    ClaimWithoutGeneration,
    /// R3: the generation is read before the byte.
    GenerationBeforeByte,
    /// No R5.
    NoSecondProof,
    /// R5 fails and leaves the claim as it is.
    ClaimLeftStanding,
    /// No R6.
    NoSecondLook,
    /// R10 before R7.
    FreeBeforeSweep,
    /// R8 after R9.
    GenerationAfterRing,
    /// No R9.
    NobodyRung,
    /// R9 rings only those whose word is armed.
    OnlyArmedRung,
    /// R9 leaves out R.
    NotRingingItself,
    /// V2: the reserve's word is taken from whoever has claimed it.
    ReserveTakenFromTheLiving,
    /// V6: the holder of the reserve sleeps without a time-out.
    ReserveWithoutTimeout,
    /// No V3.
    ReserveWithoutGeneration,
}

impl Broken {
    /// What its loss leads to: a part of the counterexample's first line; nothing where none
    /// was found.
    pub fn leads_to(self) -> &'static str {
        match self {
            Broken::ArmBeforeLock
            | Broken::UnlockBeforeWord
            | Broken::StampIsProof
            | Broken::NoSecondProof
            | Broken::ReserveTakenFromTheLiving => "is not gone",
            Broken::ArmBeforeRoster
            | Broken::NoRosterWake
            | Broken::RosterWakeByRaiserOnly
            | Broken::NoRingBeforeDetach
            | Broken::NoScanAfterWaking
            | Broken::NoPrivateWake
            | Broken::NoTimeout
            | Broken::AnyThreadWatchesPeers
            | Broken::ClaimLeftStanding
            | Broken::ClaimWithoutGeneration
            | Broken::NobodyRung
            | Broken::NotRingingItself
            | Broken::OnlyArmedRung => "lost death",
            Broken::NoSecondLook
            | Broken::ClaimantJudgedByWord
            | Broken::FreeBeforeSweep
            | Broken::NoGenerationAtDetach
            | Broken::ReserveWithoutGeneration => "without the claim",
            Broken::NeverRearmed => "no end can be reached",
            Broken::ReserveWithoutTimeout => "sleeps on the reserve",
            Broken::OwnWordWatched
            | Broken::OwnerNotRung
            | Broken::GenerationAfterRing
            | Broken::GenerationBeforeByte => "",
        }
    }
}

/// Who is there, and what may happen to whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Processes attached at the start, at indices 0, 1, …
    pub attached: usize,
    /// Of these, how many (the first ones) are dead, gone and stamped at the start.
    pub dead: usize,
    /// Start in the middle: the keeper of T0 has died alone, and T1 is about to claim index 0 on a
    /// proof that was T0's predecessor's there. Reachable when an index is re-used.
    pub stale_proof: bool,
    /// Processes that come later, and how often each may attach.
    pub newcomers: usize,
    /// See `newcomers`.
    pub attaches: u8,
    /// Indices in use.
    pub indices: usize,
    /// One more index is kept in reserve.
    pub reserve: bool,
    /// All are rung by one word, and nobody for a stamp without proof.
    pub one_bell: bool,
    /// Required: no newcomer waits for ever because every index is dead.
    pub all_get_in: bool,
    /// Kills still to come.
    pub deaths: u8,
    /// Deaths of a keeper alone.
    pub keeper_deaths: u8,
    /// Who may detach.
    pub may_detach: [bool; P],
    /// Who may be killed.
    pub may_die: [bool; P],
    /// Whose keeper may die alone.
    pub keeper_may_die: [bool; P],
    /// Who may claim the structure's cell, once.
    pub uses_cell: [bool; P],
}

impl Config {
    /// Everybody may die, nobody does.
    pub fn new(attached: usize, newcomers: usize, indices: usize) -> Self {
        Self {
            attached,
            dead: 0,
            stale_proof: false,
            newcomers,
            attaches: 1,
            indices,
            reserve: false,
            one_bell: false,
            all_get_in: false,
            deaths: 0,
            keeper_deaths: 0,
            may_detach: [false; P],
            may_die: [true; P],
            keeper_may_die: [true; P],
            uses_cell: [false, true, false, false],
        }
    }

    /// Kills, and deaths of keepers alone.
    pub fn deaths(mut self, kills: u8, keepers: u8) -> Self {
        self.deaths = kills;
        self.keeper_deaths = keepers;
        self
    }

    /// The first `dead` of those attached are dead, stamped and gone at the start.
    pub fn dead(mut self, dead: usize) -> Self {
        self.dead = dead;
        self
    }

    /// See `all_get_in`.
    pub fn all_get_in(mut self) -> Self {
        self.all_get_in = true;
        self
    }

    /// One more index is kept in reserve, so that all get in.
    pub fn reserve(mut self) -> Self {
        self.reserve = true;
        self.all_get_in()
    }

    /// See `one_bell`.
    pub fn one_bell(mut self) -> Self {
        self.one_bell = true;
        self
    }

    /// See `stale_proof`.
    pub fn stale_proof(mut self) -> Self {
        self.stale_proof = true;
        self
    }

    /// Only these may be killed, and only the keepers of those may die alone.
    pub fn only(mut self, kills: &[usize], keepers: &[usize]) -> Self {
        self.may_die = std::array::from_fn(|p| kills.contains(&p));
        self.keeper_may_die = std::array::from_fn(|p| keepers.contains(&p));
        self
    }

    /// Only these may detach.
    pub fn detach(mut self, who: &[usize]) -> Self {
        self.may_detach = std::array::from_fn(|p| who.contains(&p));
        self
    }

    /// Only these may claim the structure's cell.
    pub fn cell(mut self, who: &[usize]) -> Self {
        self.uses_cell = std::array::from_fn(|p| who.contains(&p));
        self
    }

    /// Everybody may detach.
    pub fn detaching(mut self) -> Self {
        self.may_detach = [true; P];
        self
    }

    pub(super) fn initial(&self) -> State {
        let free = Line {
            life: Life::Free,
            owner: None,
            byte: None,
            generation: 0,
            rung: false,
            wakes_one: false,
        };
        let mut state = State {
            lines: [free; I],
            actors: [absent(Process::absent()); P],
            queues: WaitQueues::new(),
            roster: self.attached as u8,
            cell: None,
            deaths: self.deaths,
            keeper_deaths: self.keeper_deaths,
        };
        for p in 0..P {
            if p < self.dead {
                state.lines[p].life = Life::Died;
                state.lines[p].owner = Some(p as u8);
                state.actors[p].at = At::Ended;
            } else if p < self.attached {
                state.lines[p].life = Life::Armed(keeper(p));
                state.lines[p].owner = Some(p as u8);
                state.lines[p].byte = Some(p as u8);
                state.actors[p] = self.actor(p, At::Running, 0);
                state.actors[p].attached = true;
                state.actors[p].index = p as u8;
            } else if p < self.attached + self.newcomers {
                state.actors[p] = self.actor(p, At::Outside, self.attaches);
            } else {
                state.actors[p].at = At::Ended;
            }
        }
        if self.stale_proof {
            state.actors[0].process.happen(Exit::KeeperEnds);
            state.lines[0].life = Life::Died;
            // The predecessor was recovered meanwhile: R8 and R9 are behind all of them.
            state.lines[0].generation = 1;
            state.lines[..self.attached].iter_mut().for_each(|line| line.rung = true);
            state.actors[1].at = At::R4Claim;
            state.actors[1].mark = self.attached as u8;
            state.actors[1].seen = Life::Died;
        }
        state
    }

    fn actor(&self, p: usize, at: At, attaches: u8) -> Actor {
        let uses = u8::from(self.uses_cell[p]);
        Actor { at, attaches, uses, ..absent(Process::running()) }
    }
}

impl Participants {
    pub(super) fn invariants_hold(&self, s: &State) -> Result<(), String> {
        for p in 0..P {
            recovery_is_exclusive(s, p)?;
            live_keeps_its_index(s, p)?;
        }
        if let Some((index, owner)) = s.cell {
            let line = &s.lines[index as usize];
            if line.life == Life::Free {
                return Err("a structure's cell is in the name of a FREE index".into());
            }
            if line.owner != Some(owner) {
                return Err("a structure's cell is in the name of an innocent newcomer".into());
            }
        }
        Ok(())
    }

    pub(super) fn is_good_end(&self, s: &State) -> Result<(), String> {
        let parked = s.actors.iter().any(|a| !a.process.is_killed() && a.at == At::Parked);
        let unrecovered =
            s.lines.iter().any(|line| line.life != Life::Free && owner_is_gone(s, line));
        if parked && unrecovered {
            return Err("lost death: a dead one is not recovered, and a live one sleeps".into());
        }
        self.newcomers_get_in(s)?;
        for (p, a) in s.actors.iter().enumerate() {
            if !a.process.is_killed() && !matches!(a.at, At::Parked | At::Outside) {
                return Err(format!("T{p} is stuck at {:?}", a.at));
            }
        }
        Ok(())
    }
}

impl Participants {
    /// A newcomer may be refused while all indices are alive, not because of the dead.
    fn newcomers_get_in(&self, s: &State) -> Result<(), String> {
        let lives = |a: &&Actor| !a.process.is_killed();
        let mut living = s.actors.iter().filter(lives);
        let ordinary = &s.lines[..self.config.indices];
        let dead = ordinary.iter().any(|line| line.life != Life::Free && owner_is_gone(s, line));
        let waits = dead && living.clone().any(|a| a.at == At::Outside && a.attaches > 0);
        if waits && self.config.all_get_in {
            return Err("a newcomer waits for ever: every index is dead".into());
        }
        if living.any(|a| a.at == At::Parked && Some(a.index) == self.reserve()) {
            return Err("a newcomer sleeps on the reserve".into());
        }
        Ok(())
    }
}

/// R7–R10 are for the one that holds the claim, and only once the process is wholly gone.
fn recovery_is_exclusive(s: &State, p: usize) -> Result<(), String> {
    let a = &s.actors[p];
    if !recovers(a) {
        return Ok(());
    }
    let line = &s.lines[a.target as usize];
    if line.owner.is_some() && !owner_is_gone(s, line) {
        return Err(format!("T{p} recovers a process that is not gone"));
    }
    let others = s.actors.iter().enumerate().filter(|&(q, _)| q != p);
    if others.into_iter().any(|(_, other)| recovers(other) && other.target == a.target) {
        return Err("two recover the same index at once".into());
    }
    match line.life {
        Life::Claimed(by, _) if by == a.index => Ok(()),
        _ => Err(format!("T{p} recovers without the claim")),
    }
}

fn recovers(a: &Actor) -> bool {
    let claimed = matches!(a.at, At::R7Sweep | At::R8Generation | At::R9RingAll | At::R10Free);
    claimed && a.process.threads_run()
}

fn live_keeps_its_index(s: &State, p: usize) -> Result<(), String> {
    let a = &s.actors[p];
    let detaches = matches!(a.at, At::D0RingAll | At::D1Generation | At::D2Free | At::D3Unlock);
    if a.process.is_killed() || !a.attached || detaches {
        return Ok(());
    }
    let line = &s.lines[a.index as usize];
    if line.life == Life::Free || line.owner != Some(p as u8) {
        return Err(format!("T{p} lives and has lost its index"));
    }
    Ok(())
}

fn owner_is_gone(s: &State, line: &Line) -> bool {
    line.owner.is_some_and(|owner| s.actors[owner as usize].process.is_gone())
}
