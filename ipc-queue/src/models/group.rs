//! A modelled group: deaths are proven by the kit, and the main thread of a model is the keeper
//! that tells everybody.

use std::rc::Rc;
use std::time::Duration;

use crash_check::death::thread::JoinHandle;
use crash_check::death::{Proof, World};
use shm_core::futex::{self, Futex, Waited};
use shm_core::primitive::Ordering;
use shm_core::{Owner, Peers, Ticket};

/// Who takes part; index 0 is the main thread, which never dies.
struct Group {
    /// Counts the deaths that everybody was told of.
    events: Futex,
    proofs: Vec<Proof>,
}

/// One member's view.
#[derive(Clone)]
pub(super) struct Member {
    group: Rc<Group>,
    me: Owner,
    /// Whether it asks for proofs: else whatever it knows of the dead it has from others.
    asks: bool,
}

/// The main thread, and a member for each thread of that name, to be spawned afterwards.
pub(super) fn members<const N: usize>(world: &World, names: [&str; N]) -> (Member, [Member; N]) {
    let proofs = names.iter().map(|name| world.proof(name)).collect();
    let group = Rc::new(Group { events: Futex::new(0), proofs });
    let member = |index: usize| Member {
        group: Rc::clone(&group),
        me: Owner::from_bits(index as u32 + 1).unwrap(),
        asks: true,
    };
    (member(0), std::array::from_fn(|index| member(index + 1)))
}

impl Member {
    /// The same member, who asks for no proof.
    pub(super) fn ignorant(&self) -> Member {
        Member { asks: false, ..self.clone() }
    }

    /// The keeper's part: waits for the end of a thread, and if it was killed, wakes everybody.
    pub(super) fn keep<T>(&self, thread: JoinHandle<T>) -> Option<T> {
        let ended = thread.join().ok();
        if ended.is_none() {
            // Release: pairs with the Acquire in `ticket`.
            self.group.events.word().fetch_add(1, Ordering::Release);
            self.group.events.wake_all();
        }
        ended
    }
}

impl Peers for Member {
    fn me(&self) -> Option<Owner> {
        Some(self.me)
    }

    #[track_caller]
    fn is_gone(&self, owner: Owner) -> bool {
        let others = owner.index().checked_sub(1).filter(|_| self.asks);
        owner != self.me && others.is_some_and(|index| self.group.proofs[index].is_gone())
    }

    // Not of the caller's place: the ordering is this model's own.
    fn ticket(&self) -> Ticket {
        // Acquire: whoever is counted is seen as gone.
        Ticket(self.group.events.word().load(Ordering::Acquire))
    }

    #[track_caller]
    fn park(
        &self,
        word: &Futex,
        expected: u32,
        ticket: Ticket,
        timeout: Option<Duration>,
    ) -> Waited {
        let words = [(word, expected), (&self.group.events, ticket.0)];
        futex::wait_any(&words, timeout).unwrap()
    }

    fn deaths(&self) -> Option<&Futex> {
        Some(&self.group.events)
    }
}
