//! Large runs: K spans claimed, used and given back whole.
//!
//! | claim of K spans from h, ascending | | free, roll-back, recovery | |
//! |---|---|---|---|
//! | 1 | CAS `desc[h]` FREE → BUILD(p, K) | 1 | `desc[h]` → FREEING(p) |
//! | 2… | CAS `desc[h + j]` FREE → CONT(h, j); lost: give back tails downward, then the head | 2… | tails downward, each only if it reads CONT(h, j) |
//! | last | `desc[h]` → LIVE(p, K) | last | head → FREE |

mod cases;

pub use cases::cases;

use crash_check::explore::{Model, Successors};

/// Processes.
pub const P: usize = 3;
/// Spans at most.
pub const S: usize = 5;

/// A rule of the protocol that is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// Freeing gives the head back before the tails.
    HeadFirst,
    /// Recovery does not compare the tails.
    TailsNotCompared,
    /// Recovery leaves LIVE standing while it clears tails.
    LiveLeftStanding,
}

impl Broken {
    /// What its loss leads to: a part of the counterexample's first line.
    pub fn leads_to(self) -> &'static str {
        match self {
            Broken::HeadFirst => "a span is lost",
            Broken::TailsNotCompared | Broken::LiveLeftStanding => "is not whole",
        }
    }
}

/// A span's descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Desc {
    Free,
    /// Head of (process, spans).
    Build(u8, u8),
    Live(u8, u8),
    Freeing(u8, u8),
    /// Tail of (head, number).
    Cont(u8, u8),
}

impl Desc {
    /// The process and the length, if this is a head.
    fn head(self) -> Option<(u8, u8)> {
        match self {
            Desc::Build(p, k) | Desc::Live(p, k) | Desc::Freeing(p, k) => Some((p, k)),
            Desc::Free | Desc::Cont(..) => None,
        }
    }
}

/// The next step of a process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum At {
    Idle,
    ClaimTail,
    RollBack,
    InUse,
    FreeTails,
    FreeHeadEarly,
    FreeTailsLate,
    RecScan,
    RecTails,
    Dead,
}

/// One process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Actor {
    at: At,
    head: u8,
    length: u8,
    /// The tail that comes next.
    tail: u8,
    target: u8,
    ops: u8,
    recovery: Recovery,
}

/// How far the recovery of a process is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Recovery {
    None,
    By(u8),
    Done,
}

/// Everything.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    spans: [Desc; S],
    actors: [Actor; P],
    deaths: u8,
}

/// The protocol, in one configuration and perhaps with a rule dropped.
#[derive(Clone, Debug)]
pub struct Runs {
    /// Spans in use.
    pub spans: usize,
    /// Runs that each process may claim.
    pub ops: [u8; P],
    /// Kills.
    pub deaths: u8,
    /// The rule that is dropped.
    pub broken: Option<Broken>,
}

fn actor(at: At) -> Actor {
    let recovery = Recovery::None;
    Actor { at, head: 0, length: 0, tail: 0, target: 0, ops: 0, recovery }
}

/// Process `p` is back at the beginning of its loop.
fn rest(n: &mut State, p: usize) {
    let Actor { ops, recovery, .. } = n.actors[p];
    n.actors[p] = Actor { ops, recovery, ..actor(At::Idle) };
}

/// The whole run of a LIVE head is there.
fn is_whole(s: &State, head: usize, length: u8) -> bool {
    (1..length).all(|j| s.spans[head + j as usize] == Desc::Cont(head as u8, j))
}

impl Runs {
    fn drops(&self, rule: Broken) -> bool {
        self.broken == Some(rule)
    }

    fn claim_head(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        if s.actors[p].ops == 0 {
            return;
        }
        for length in 2..=3 {
            for head in 0..=self.spans - length {
                if s.spans[head] != Desc::Free {
                    continue;
                }
                out.step(p, "CAS head FREE → BUILD", |n| {
                    n.spans[head] = Desc::Build(p as u8, length as u8);
                    let a = &mut n.actors[p];
                    (a.head, a.length, a.tail) = (head as u8, length as u8, 1);
                    a.ops -= 1;
                    a.at = At::ClaimTail;
                });
            }
        }
    }

    fn claim_tail(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let Actor { head, length, tail, .. } = s.actors[p];
        let span = (head + tail) as usize;
        if tail == length {
            out.step(p, "head → LIVE", |n| {
                n.spans[head as usize] = Desc::Live(p as u8, length);
                n.actors[p].at = At::InUse;
            });
        } else if s.spans[span] == Desc::Free {
            out.step(p, "CAS tail FREE → CONT", |n| {
                n.spans[span] = Desc::Cont(head, tail);
                n.actors[p].tail += 1;
            });
        } else {
            out.step(p, "CAS tail lost: roll back", |n| {
                n.actors[p].tail -= 1;
                n.actors[p].at = At::RollBack;
            });
        }
    }

    /// Tails downward, and the head last.
    fn give_back(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let Actor { head, tail, .. } = s.actors[p];
        if tail == 0 {
            out.step(p, "head → FREE", |n| {
                n.spans[head as usize] = Desc::Free;
                rest(n, p);
            });
        } else {
            self.give_back_tail(s, p, out);
        }
    }

    fn give_back_tail(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let Actor { head, tail, .. } = s.actors[p];
        out.step(p, "tail → FREE", |n| {
            n.spans[(head + tail) as usize] = Desc::Free;
            n.actors[p].tail -= 1;
        });
    }

    fn begin_free(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let Actor { head, length, .. } = s.actors[p];
        if !is_whole(s, head as usize, length) {
            out.flaw(p, "head → FREEING", "a live run has lost a tail");
            return;
        }
        let head_first = self.drops(Broken::HeadFirst);
        out.step(p, "head → FREEING", |n| {
            n.spans[head as usize] = Desc::Freeing(p as u8, length);
            n.actors[p].tail = length - 1;
            n.actors[p].at = if head_first { At::FreeHeadEarly } else { At::FreeTails };
        });
    }

    fn free_head_early(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let head = s.actors[p].head as usize;
        out.step(p, "head → FREE, first", |n| {
            n.spans[head] = Desc::Free;
            n.actors[p].at = At::FreeTailsLate;
        });
    }

    fn free_tails_late(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        if s.actors[p].tail == 0 {
            out.step(p, "all is given back", |n| rest(n, p));
        } else {
            self.give_back_tail(s, p, out);
        }
    }

    fn begin_recovery(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        for dead in 0..P {
            let open = match s.actors[dead].recovery {
                Recovery::None => true,
                Recovery::By(other) => s.actors[other as usize].at == At::Dead,
                Recovery::Done => false,
            };
            if s.actors[dead].at == At::Dead && open {
                out.step(p, "claims the recovery", |n| {
                    n.actors[dead].recovery = Recovery::By(p as u8);
                    n.actors[p].target = dead as u8;
                    n.actors[p].at = At::RecScan;
                });
            }
        }
    }

    fn rec_scan(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let Actor { target, head, .. } = s.actors[p];
        let its = |&x: &usize| s.spans[x].head().is_some_and(|(owner, _)| owner == target);
        let Some(x) = (head as usize..self.spans).find(its) else {
            out.step(p, "recovered", |n| {
                n.actors[target as usize].recovery = Recovery::Done;
                rest(n, p);
            });
            return;
        };
        let length = s.spans[x].head().map_or(1, |(_, length)| length);
        out.step(p, "rec: head → FREEING", |n| {
            if !self.drops(Broken::LiveLeftStanding) {
                n.spans[x] = Desc::Freeing(target, length);
            }
            let a = &mut n.actors[p];
            (a.head, a.length, a.tail, a.at) = (x as u8, length, length - 1, At::RecTails);
        });
    }

    fn rec_tails(&self, s: &State, p: usize, out: &mut Successors<'_, State>) {
        let Actor { head, tail, .. } = s.actors[p];
        let span = (head + tail) as usize;
        if tail == 0 {
            out.step(p, "rec: head → FREE", |n| {
                n.spans[head as usize] = Desc::Free;
                n.actors[p].at = At::RecScan;
            });
        } else if s.spans[span] == Desc::Cont(head, tail) || self.drops(Broken::TailsNotCompared) {
            out.step(p, "rec: CAS its tail → FREE", |n| {
                n.spans[span] = Desc::Free;
                n.actors[p].tail -= 1;
            });
        } else {
            out.step(p, "rec: not its tail", |n| n.actors[p].tail -= 1);
        }
    }
}

impl Model for Runs {
    type State = State;

    fn initial(&self) -> State {
        State {
            spans: [Desc::Free; S],
            actors: std::array::from_fn(|p| Actor { ops: self.ops[p], ..actor(At::Idle) }),
            deaths: self.deaths,
        }
    }

    fn successors(&self, s: &State, out: &mut Successors<'_, State>) {
        for p in 0..P {
            let at = s.actors[p].at;
            if s.deaths > 0 && !matches!(at, At::Idle | At::Dead) {
                out.event(p, "KILLED", |n| {
                    n.deaths -= 1;
                    let recovery = n.actors[p].recovery;
                    n.actors[p] = Actor { recovery, ..actor(At::Dead) };
                });
            }
            match at {
                At::Idle => {
                    self.claim_head(s, p, out);
                    self.begin_recovery(s, p, out);
                }
                At::ClaimTail => self.claim_tail(s, p, out),
                At::RollBack | At::FreeTails => self.give_back(s, p, out),
                At::InUse => self.begin_free(s, p, out),
                At::FreeHeadEarly => self.free_head_early(s, p, out),
                At::FreeTailsLate => self.free_tails_late(s, p, out),
                At::RecScan => self.rec_scan(s, p, out),
                At::RecTails => self.rec_tails(s, p, out),
                At::Dead => {}
            }
        }
    }

    fn invariants(&self, s: &State) -> Result<(), String> {
        for (x, desc) in s.spans.iter().enumerate() {
            if let Desc::Live(_, length) = desc
                && !is_whole(s, x, *length)
            {
                return Err(format!("the live run at {x} is not whole"));
            }
        }
        Ok(())
    }

    fn may_end(&self, s: &State) -> Result<(), String> {
        let someone_lives = s.actors.iter().any(|a| a.at != At::Dead);
        if someone_lives && s.spans.iter().any(|&desc| desc != Desc::Free) {
            return Err("a span is lost".into());
        }
        Ok(())
    }
}
