//! Participants: attach, park, recover the dead, detach.
//!
//! Each index has a *life word* (a robust futex: the kernel stamps it when the thread that armed it
//! dies), a *byte lock* (a record lock: freed last, when the process is wholly gone: the proof), a
//! *generation* and a *bell*. A *roster* word tells the parked of newcomers.
//!
//! | attach | | park | | recovery of x by R | |
//! |---|---|---|---|---|---|
//! | A1 | pick i with `life[i]` FREE | W1 | read own bell | R1 | `v = life[x]`; FREE or armed → gone |
//! | A2 | try byte lock i; held → A1 | W2 | read roster | R2 | v stamped: byte x held → no proof yet: ring x, look again later; free → R4 |
//! | A3 | raise roster | W3 | scan all words (own stamped → re-arm) | R3 | v claimed by (Q, g): byte Q free, or then `gen[Q]` ≠ g → R4; else Q is at it |
//! | A4 | wake roster, always | W4 | `waitv` on bell, roster, all other life words | R4 | CAS v → claim (R, gen R) |
//! | A5 | CAS FREE → tid; lost → unlock, A1 | W5 | on any return: scan again | R5 | byte x free *again*? else CAS back to stamped |
//! | **detach** | | | | R6 | `life[x]` still my claim? else R1 |
//! | D0 | if the last scan saw a stamp without proof: ring all | | | R7 | sweep every structure |
//! | D1 | `gen[i]` += 1 | | | R8 | `gen[x]` += 1 |
//! | D2 | CAS own word → FREE | | | R9 | ring everybody whose word is not FREE |
//! | D3 | unlock i | | | R10 | CAS claim → FREE |
//!
//! Death is three kernel events (see [`Process`]); a keeper may also die alone, its process living
//! on. The step counter stands for the thread that holds the armed word: when the keeper dies, its
//! wait ends with it, and another thread of the process is woken by private means and goes on.
//!
//! With *one bell* for all, a ring is one step, and a stamp without proof rings nobody: it is only
//! looked at again. That is the form that `shm_core::Group` has.
//!
//! Beyond the table: the *reserve*, for a newcomer that finds every index dead (module `reserve`).

mod attach;
mod cases;
mod park;
mod recover;
mod reserve;
mod rules;

pub use cases::cases;
pub use rules::{Broken, Config};

use crash_check::explore::{Exit, Model, Process, Successors, WaitQueues};

/// Processes.
pub const P: usize = 4;
/// Indices.
pub const I: usize = 3;

/// Number of the kernel in traces.
const KERNEL: usize = P;

/// A life word, as everybody sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Life {
    /// Nobody's.
    Free,
    /// A thread's: keeper of process p (2 p) or another thread of it (2 p + 1).
    Armed(u8),
    /// Stamped by the kernel.
    Died,
    /// Under recovery by (index, generation).
    Claimed(u8, u8),
}

/// What the control file and the kernel hold for one index.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Line {
    life: Life,
    /// For the checker only: the process that armed the word last.
    owner: Option<u8>,
    byte: Option<u8>,
    generation: u8,
    /// The bell was rung since its owner read it.
    rung: bool,
    /// The kernel stamped the word and is about to wake one waiter.
    wakes_one: bool,
}

/// Where a process stands: the next step it takes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum At {
    Outside,
    A2Lock,
    A3Raise,
    A4Wake,
    A5Arm,
    A5Unlock,
    V2Look,
    V2Byte,
    V2Generation,
    V3Generation,
    V4Raise,
    V4Wake,
    V5Arm,
    Running,
    W1Bell,
    W2Roster,
    W3Scan,
    W4Wait,
    Parked,
    Rearm,
    R2Prove,
    R2RingOwner,
    R3Byte,
    R3Generation,
    R4Claim,
    R5ProveAgain,
    R5Unclaim,
    R6StillMine,
    R7Sweep,
    R8Generation,
    R9RingAll,
    R10Free,
    D0RingAll,
    D1Generation,
    D2Free,
    D3Unlock,
    Ended,
}

/// One process: its step counter and its private variables.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Actor {
    at: At,
    process: Process,
    attached: bool,
    index: u8,
    /// How often it may still attach.
    attaches: u8,
    /// The roster was raised since it was read.
    roster_news: bool,
    /// Whether A3 raised anything (only a broken form asks).
    raised: bool,
    /// Scan: next index, and the mark it goes up to.
    cursor: u8,
    mark: u8,
    /// Scan after waking (W5): ends in running, not in parking.
    leaving: bool,
    /// The scan met a stamp without proof.
    look_again: bool,
    /// What `waitv` is to compare.
    expected: [Life; I],
    /// Recovery: of whom, and the value its word was seen with.
    target: u8,
    seen: Life,
    /// Ringing everybody: next index.
    ringing: u8,
    /// Claims of the structure's cell still allowed.
    uses: u8,
}

/// Everything.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    lines: [Line; I],
    actors: [Actor; P],
    queues: WaitQueues<P>,
    /// The roster: high-water mark of indices in use.
    roster: u8,
    /// One structure cell: (index, and for the checker the process) that claimed it.
    cell: Option<(u8, u8)>,
    deaths: u8,
    keeper_deaths: u8,
}

/// The protocol, in one configuration and with some rules dropped.
#[derive(Clone, Debug)]
pub struct Participants {
    /// Who is there and what may happen.
    pub config: Config,
    /// The rules that are dropped.
    pub broken: Vec<Broken>,
}

impl Participants {
    fn drops(&self, rule: Broken) -> bool {
        self.broken.contains(&rule)
    }

    /// What the kernel may do: wakes that are due, and the ends of those who were killed.
    fn kernel(&self, s: &State, out: &mut Successors<'_, State>) {
        for i in 0..I {
            if s.lines[i].wakes_one {
                wake_one(s, i, out);
            }
        }
        for p in 0..P {
            for exit in s.actors[p].process.possible_exits() {
                let label = match exit {
                    Exit::KeeperEnds => "exit: keeper gone, stamp",
                    Exit::ThreadsEnd => "exit: other threads gone",
                    Exit::LocksFree => "exit: byte lock freed",
                };
                out.step(p, label, |n| self.exit(n, p, exit));
            }
        }
    }

    fn exit(&self, n: &mut State, p: usize, exit: Exit) {
        n.actors[p].process.happen(exit);
        match exit {
            Exit::KeeperEnds => self.stamp(n, p, keeper(p)),
            Exit::ThreadsEnd => {
                n.queues.leave(p);
                let process = n.actors[p].process;
                n.actors[p] = Actor { at: At::Ended, ..absent(process) };
                self.stamp(n, p, other_thread(p));
            }
            Exit::LocksFree => {
                for line in &mut n.lines {
                    line.byte = line.byte.filter(|&holder| holder != p as u8);
                }
            }
        }
    }

    /// The kernel's walk of the robust list of a thread that ended, and with it the end of that
    /// thread's wait: another thread of the process is woken by private means.
    fn stamp(&self, n: &mut State, p: usize, thread: u8) {
        for i in 0..I {
            if n.lines[i].life != Life::Armed(thread) {
                continue;
            }
            n.lines[i].life = Life::Died;
            n.lines[i].wakes_one = true;
            if n.queues.is_waiting(p) && !self.drops(Broken::AnyThreadWatchesPeers) {
                if self.drops(Broken::NoPrivateWake) {
                    let bell = bell(n.actors[p].index);
                    n.queues.leave(p);
                    n.queues.wait(p, 1 << bell);
                } else {
                    n.queues.interrupt(p);
                }
            }
        }
    }

    fn deaths(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let a = s.actors[p];
        if s.deaths > 0 && self.config.may_die[p] && a.at != At::Outside {
            out.event(p, "KILLED", |n| {
                n.deaths -= 1;
                n.actors[p].process.kill();
            });
        }
        let keeper_lives = a.process.has_keeper() && a.attached;
        if s.keeper_deaths > 0 && self.config.keeper_may_die[p] && keeper_lives {
            out.event(p, "KEEPER THREAD DIES", |n| {
                n.keeper_deaths -= 1;
                self.exit(n, p, Exit::KeeperEnds);
            });
        }
    }
}

impl Model for Participants {
    type State = State;

    fn initial(&self) -> State {
        self.config.initial()
    }

    fn successors(&self, s: &State, out: &mut Successors<'_, State>) {
        self.kernel(s, out);
        for p in 0..P {
            let a = &s.actors[p];
            if !a.process.is_killed() {
                self.deaths(s, p, out);
            }
            if !a.process.threads_run() {
                continue;
            }
            match a.at {
                At::Outside => self.a1_pick(s, p, out),
                At::A2Lock => self.a2_lock(s, p, out),
                At::A3Raise => self.a3_raise(s, p, out),
                At::A4Wake => self.a4_wake(s, p, out),
                At::A5Arm => self.a5_arm(s, p, out),
                At::A5Unlock => self.a5_unlock(s, p, out),
                At::V2Look => self.v2_look(s, p, out),
                At::V2Byte => self.v2_byte(s, p, out),
                At::V2Generation => self.v2_generation(s, p, out),
                At::V3Generation => self.v3_generation(s, p, out),
                At::V4Raise => self.v4_raise(s, p, out),
                At::V4Wake => self.v4_wake(s, p, out),
                At::V5Arm => self.v5_arm(s, p, out),
                At::Running => self.run(s, p, out),
                At::W1Bell => self.w1_read_bell(s, p, out),
                At::W2Roster => self.w2_read_roster(s, p, out),
                At::W3Scan => self.w3_scan(s, p, out),
                At::W4Wait => self.w4_wait(s, p, out),
                At::Parked => self.w5_return(s, p, out),
                At::Rearm => self.rearm(s, p, out),
                At::R2Prove => self.r2_prove(s, p, out),
                At::R2RingOwner => self.r2_ring_owner(s, p, out),
                At::R3Byte => self.r3_byte(s, p, out),
                At::R3Generation => self.r3_generation(s, p, out),
                At::R4Claim => self.r4_claim(s, p, out),
                At::R5ProveAgain => self.r5_prove_again(s, p, out),
                At::R5Unclaim => self.r5_unclaim(s, p, out),
                At::R6StillMine => self.r6_still_mine(s, p, out),
                At::R7Sweep => self.r7_sweep(s, p, out),
                At::R8Generation => self.r8_generation(s, p, out),
                At::R9RingAll => self.r9_ring_all(s, p, out),
                At::R10Free => self.r10_free(s, p, out),
                At::D0RingAll => self.d0_ring_all(s, p, out),
                At::D1Generation => self.d1_generation(s, p, out),
                At::D2Free => self.d2_free(s, p, out),
                At::D3Unlock => self.d3_unlock(s, p, out),
                At::Ended => {}
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
        if who == KERNEL { "kern".to_owned() } else { format!("T{who}") }
    }
}

/// The thread id of process `p`'s keeper.
fn keeper(p: usize) -> u8 {
    2 * p as u8
}

/// The thread id of another thread of process `p`.
fn other_thread(p: usize) -> u8 {
    2 * p as u8 + 1
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

/// Rings the bell of index `i`: the counter goes up, and all who wait on it are woken.
fn ring(n: &mut State, i: u8) {
    n.lines[i as usize].rung = true;
    n.queues.wake_all(bell(i));
}

/// Rings the one bell that stands for all: see [`Config::one_bell`].
fn ring_the_one(n: &mut State) {
    for i in 0..I as u8 {
        ring(n, i);
    }
}

fn absent(process: Process) -> Actor {
    Actor {
        at: At::Outside,
        process,
        attached: false,
        index: 0,
        attaches: 0,
        roster_news: false,
        raised: false,
        cursor: 0,
        mark: 0,
        leaving: false,
        look_again: false,
        expected: [Life::Free; I],
        target: 0,
        seen: Life::Free,
        ringing: 0,
        uses: 0,
    }
}
