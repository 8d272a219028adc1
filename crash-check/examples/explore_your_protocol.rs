//! A protocol of your own, checked in twenty lines: a lock whose word names its owner, so that a
//! survivor can take it over from a dead one. `cargo run -p crash-check --example
//! explore_your_protocol`

use crash_check::explore::{Explorer, Model, Successors};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum At {
    Wants,
    Holds,
    Done,
    Dead,
}

/// Everything that can matter for what happens next: the shared word, and where each one stands.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct State {
    lock: Option<usize>,
    at: [At; 3],
    deaths: u8,
}

/// The protocol. A wrong one is at hand, too: it takes a held lock without asking who is dead.
struct OwnedLock {
    asks_for_proof: bool,
}

impl Model for OwnedLock {
    type State = State;

    fn initial(&self) -> State {
        State { lock: None, at: [At::Wants; 3], deaths: 2 }
    }

    // One step is one access to shared memory. A kill is an event: it may happen, or not.
    fn successors(&self, s: &State, out: &mut Successors<'_, State>) {
        for p in 0..3 {
            let may_take = match s.lock {
                None => true,
                Some(owner) => s.at[owner] == At::Dead || !self.asks_for_proof,
            };
            match s.at[p] {
                At::Wants if may_take => out.step(p, "CAS lock → me", |n| {
                    n.lock = Some(p);
                    n.at[p] = At::Holds;
                }),
                At::Holds => out.step(p, "store lock ← none", |n| {
                    n.lock = None;
                    n.at[p] = At::Done;
                }),
                _ => {}
            }
            if s.deaths > 0 && matches!(s.at[p], At::Wants | At::Holds) {
                out.event(p, "killed", |n| {
                    n.deaths -= 1;
                    n.at[p] = At::Dead;
                });
            }
        }
    }

    fn invariants(&self, s: &State) -> Result<(), String> {
        let inside = s.at.iter().filter(|&&at| at == At::Holds).count();
        if inside > 1 { Err(format!("{inside} hold the lock")) } else { Ok(()) }
    }

    fn may_end(&self, s: &State) -> Result<(), String> {
        if s.at.contains(&At::Wants) { Err("one waits for ever".into()) } else { Ok(()) }
    }
}

fn main() {
    let good = Explorer::new().run(&OwnedLock { asks_for_proof: true });
    println!("{good}");
    assert!(good.holds());

    let bad = Explorer::new().run(&OwnedLock { asks_for_proof: false });
    println!("{bad}");
    assert_eq!(bad.counterexample().map(|found| found.trace.len()), Some(2));
}
