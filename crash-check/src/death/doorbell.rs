//! Waiting with doorbells: the protocol in small, to park on in models of other structures.
//!
//! Each participant has one futex word, its *bell*, which is only ever counted up. A structure has
//! a mask of *sleepers*. Whoever publishes looks at the mask and rings one sleeper; whoever parks
//! sleeps on its own bell **and** on the life words of its peers, so that a death wakes one of them,
//! who recovers and rings everybody: bits and wakes that the dead had in hand are made up for.
//!
//! | order | because |
//! |---|---|
//! | bell read before the bit is set | a ring in between would be taken for the old value |
//! | heavy barrier between the bit and the last look | else the look and the publish may miss each other |
//! | life words looked at again after every sleep | the kernel's one wake may have been spent on us |
//! | a claimant that is free counts as gone | it died, was recovered, and left a claim behind |
//! | mask swept, then all rung, then the index freed | a recoverer that dies in between is followed |
//!
//! Participants are threads of a model and are dead once stamped; indices are not used again, so a
//! claim needs no generation. Newcomers (and the roster that announces them) are left out.

use super::futex::{self, Wake};
use super::model::World;
use super::robust::{OWNER_DIED, TID_MASK, WAITERS};
use super::sync::Ordering::{Acquire, Relaxed, Release};
use super::sync::{AtomicU32, AtomicU64, heavy_barrier, light_barrier};
use super::{Life, run};

/// A participant without owner: nobody to recover. `WAITERS` stays set for good.
const FREE: u32 = WAITERS;

fn is_gone(life: u32) -> bool {
    life & OWNER_DIED != 0 || life == FREE
}

/// The bells and life words of all participants, and the sleepers of one structure.
#[derive(Debug)]
pub struct Doorbells {
    bells: Vec<AtomicU32>,
    lives: Vec<Life>,
    sleepers: AtomicU64,
}

impl Doorbells {
    /// Participant `i` is the thread called `threads[i]`, spawned afterwards. At most 64.
    #[track_caller]
    #[must_use]
    pub fn new(world: &World, threads: &[&str]) -> Self {
        Self {
            bells: threads.iter().map(|_| AtomicU32::new(0)).collect(),
            lives: threads.iter().map(|thread| world.life(thread)).collect(),
            sleepers: AtomicU64::new(0),
        }
    }

    /// Call after a publish: wakes one sleeper, if there is one.
    pub fn ring_one(&self) {
        // Orders the publish before the load of the mask: pairs with the heavy barrier in `park`.
        light_barrier();
        loop {
            // Relaxed here and below: the barriers order the mask against the publish, and what is
            // woken takes its edge from the bell.
            let mask = self.sleepers.load(Relaxed);
            if mask == 0 {
                return;
            }
            let bit = mask & mask.wrapping_neg();
            if self.sleepers.fetch_and(!bit, Relaxed) & bit != 0 {
                return self.ring(bit.trailing_zeros() as usize);
            }
        }
    }

    /// Wakes every participant, the caller included, whether it sleeps or is about to.
    pub fn ring_all(&self) {
        for who in 0..self.bells.len() {
            self.ring(who);
        }
    }

    fn ring(&self, who: usize) {
        // Release: pairs with the load of the bell and the heavy barrier after it in `park`.
        self.bells[who].fetch_add(1, Release);
        futex::wake(&self.bells[who], usize::MAX);
    }

    /// Sleeps unless `ready` says that there is something to do. May return for no reason.
    ///
    /// `recover` is called for each dead participant found, by the holder of the claim only, and
    /// again by the next one if that holder dies. Afterwards the caller tries its operation, and if
    /// the structure still has something for another sleeper, calls [`ring_one`](Self::ring_one).
    pub fn park(&self, me: usize, ready: impl Fn() -> bool, mut recover: impl FnMut(usize)) {
        let bit = 1 << me;
        // Relaxed: the heavy barrier below makes it an acquire, which pairs with the Release in
        // `ring`; whatever was rung for before is seen in the last look.
        let bell = self.bells[me].load(Relaxed);
        // Relaxed: ordered by the barrier that follows.
        self.sleepers.fetch_or(bit, Relaxed);
        // Orders the bit before the last look: pairs with the light barrier in `ring_one`.
        heavy_barrier();
        let lives = self.survey(me, &mut recover);
        if !ready() {
            self.sleep(me, bell, &lives);
        }
        // Relaxed: a ringer that takes the bit first rings a bell that nobody sleeps on.
        self.sleepers.fetch_and(!bit, Relaxed);
        self.survey(me, &mut recover);
    }

    fn sleep(&self, me: usize, bell: u32, lives: &[u32]) -> Wake {
        let mut words = vec![(&self.bells[me], bell)];
        let peers = self.lives.iter().zip(lives).enumerate().filter(|(who, _)| *who != me);
        words.extend(peers.map(|(_, (life, &seen))| (life.word(), seen)));
        futex::waitv(&words)
    }

    /// Looks at all peers, recovers those that need it, and returns what their words hold.
    pub fn survey(&self, me: usize, recover: &mut impl FnMut(usize)) -> Vec<u32> {
        (0..self.lives.len()).map(|who| self.look_at(me, who, recover)).collect()
    }

    /// Is the participant recovered and its index free? `true`: the recovery is seen whole.
    #[must_use]
    pub fn is_free(&self, who: usize) -> bool {
        // Acquire: pairs with the Release store in `bury`.
        self.lives[who].word().load(Acquire) == FREE
    }

    fn look_at(&self, me: usize, who: usize, recover: &mut impl FnMut(usize)) -> u32 {
        if who == me {
            return FREE;
        }
        let word = self.lives[who].word();
        loop {
            // Relaxed: whoever recovers acquires by its exchange below.
            let seen = word.load(Relaxed);
            // No second step for a thread that is dead itself: its exchange would always succeed.
            if seen & OWNER_DIED == 0 || run::is_muted() || self.is_claimed_by_the_living(seen) {
                return seen;
            }
            let claim = OWNER_DIED | WAITERS | (u32::try_from(me).unwrap_or(TID_MASK - 1) + 1);
            // Acquire: pairs with the kernel's stamp. No Release: whoever inherits the claim has seen
            // the claimant's own stamp.
            if word.compare_exchange(seen, claim, Acquire, Relaxed).is_ok() {
                self.bury(who, recover);
            }
        }
    }

    fn is_claimed_by_the_living(&self, seen: u32) -> bool {
        let claimant = seen & TID_MASK;
        // Acquire: an inheritor sees what the dead claimant did. `FREE` is dead *and* recovered: a
        // claim of its own that it left behind would else wait for it for ever.
        let lives = |who: usize| self.lives[who].word().load(Acquire);
        claimant != 0 && !is_gone(lives(claimant as usize - 1))
    }

    fn bury(&self, who: usize, recover: &mut impl FnMut(usize)) {
        // Relaxed: a stale bit costs a ring that wakes nobody.
        self.sleepers.fetch_and(!(1 << who), Relaxed);
        recover(who);
        self.ring_all();
        // Release: whoever sees the index free sees the recovery done.
        self.lives[who].word().store(FREE, Release);
    }
}
