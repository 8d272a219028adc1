//! Models of the ring, the roles and the bell, in which a process may die at each of its shared
//! operations: the functions that run here are the ones the crate calls.
//!
//! Run by `RUSTFLAGS="--cfg loom" cargo test -p ipc-queue --release --lib loom`. A lost wake-up
//! shows as a deadlock, a torn slot as an unordered access, a wrong order as a failed assertion.
//! The models that nobody sleeps in run without any fence, as the crate does while nobody sleeps.

mod bell;
mod broadcast;
mod closing;
mod group;
mod mailbox;
mod matrix;
mod message;
mod mpmc;
mod range;
mod ring;
mod roles;
mod select;
mod waiting;
mod work;

use std::cell::Cell;
use std::rc::Rc;

use crash_check::death::{Error, Model, Report, World};
use shm_core::primitive::{System, on_a_system_where, spin_loop};

use crate::ring::{RecvSide, SendSide, Shared, Stop};
use crate::role::{self, Holder, Side};
use crate::spsc::slots::{self, Slot};
use crate::wait::Deadline;

/// A model and the sentence that it checks.
type Named = (&'static str, fn() -> Result<Report, Error>);

/// Makes a test of each model, and the list that the mutation matrix runs.
macro_rules! models {
    ($($name:ident),* $(,)?) => {
        pub(super) const MODELS: &[super::Named] = &[$((stringify!($name), $name)),*];
        super::tests!($($name),*);
    };
}
use models;

/// Makes a test of each model.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        mod loom {
            $(
                #[test]
                fn $name() -> Result<(), Box<crash_check::death::Error>> {
                    let report = super::$name()?;
                    println!("{report}");
                    Ok(())
                }
            )*
        }
    };
}
use tests;

/// A ring on the heap instead of in a segment.
struct Ring {
    shared: Shared,
    slots: Vec<Slot<u32>>,
}

impl Ring {
    fn new(capacity: u64) -> Rc<Self> {
        let slots = (0..capacity).map(|_| Slot::new(0)).collect();
        Rc::new(Ring { shared: Shared::default(), slots })
    }

    /// A ring and its two sides, whose roles nobody asks for.
    fn with_sides(capacity: u64) -> (Rc<Self>, SendSide, RecvSide) {
        let ring = Self::new(capacity);
        let (send, recv) = (ring.send_side(), ring.recv_side());
        (ring, send, recv)
    }

    fn send_side(&self) -> SendSide {
        SendSide::resume(&self.shared, self.slots.len() as u64).unwrap()
    }

    fn recv_side(&self) -> RecvSide {
        RecvSide::resume(&self.shared, self.slots.len() as u64).unwrap()
    }

    /// Claims a side's role, for whoever is to be reported dead.
    fn hold(&self, side: Side) -> Holder {
        role::claim(&self.shared, side, None).unwrap()
    }

    /// Reports its holder dead, as a supervisor does.
    fn report(&self, dead: Holder) {
        role::disconnect(&self.shared, dead).unwrap();
    }

    fn send(&self, side: &mut SendSide, value: u32, deadline: Deadline) -> Result<(), Stop> {
        slots::send(side, &self.shared, &self.slots, value, deadline)
    }

    fn recv(&self, side: &mut RecvSide, deadline: Deadline) -> Result<u32, Stop> {
        slots::recv(side, &self.shared, &self.slots, deadline)
    }

    /// Receives without sleeping until there is something, or the end.
    fn recv_spinning(&self, side: &mut RecvSide) -> Result<u32, Stop> {
        loop {
            match self.recv(side, Deadline::Now) {
                Err(Stop::NotYet) => spin_loop(),
                done => return done,
            }
        }
    }
}

thread_local! {
    /// Instead of the command's bound on forced switches.
    static BOUND: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The bound on forced switches: that of the command, or three.
fn preemptions() -> usize {
    if let Some(bound) = BOUND.get() {
        return bound;
    }
    let asked = std::env::var("LOOM_MAX_PREEMPTIONS").ok();
    asked.and_then(|bound| bound.parse().ok()).unwrap_or(3)
}

fn model(victims: usize) -> Model {
    Model::new().victims(victims).preemption_bound(Some(preemptions()))
}

/// Explores a model in which threads may sleep and every wake-up counts.
fn check(victims: usize, f: impl Fn(&World) + Send + Sync + 'static) -> Result<Report, Error> {
    model(victims).check(f)
}

/// Explores a model in which nobody sleeps, so that no barrier orders anything.
fn check_awake(
    victims: usize,
    f: impl Fn(&World) + Send + Sync + 'static,
) -> Result<Report, Error> {
    on_a_system_where(System::NobodySleeps, || model(victims).check(f))
}
