//! Models of the steps by which references are made, sent, received and given up, in which a process
//! may die at each of its shared operations: one slot, three processes. The functions that run here
//! are the ones the crate calls. The block's cell is one word here: its own protocol has models of
//! its own.
//!
//! Run by `RUSTFLAGS="--cfg loom" cargo test -p shm-core --release --lib loom`.

use std::rc::Rc;
use std::time::Duration;

use crash_check::death::{Error, Model, Proof, Report, World};
use crash_check::mutate::Mutations;

use super::steps::{self, Claimed, Slot};
use super::words::{FlightWord, Seat, Stage, flight_bit, seat_bit};
use crate::futex::{Futex, Waited};
use crate::primitive::{AtomicU64, Ordering, UnsafeCell};
use crate::{Owner, Peers, Ticket};

/// Makes a test of each model, and the list that the mutation matrix runs.
macro_rules! models {
    ($($name:ident),* $(,)?) => {
        const MODELS: &[(&str, fn() -> Result<Report, Error>)] = &[$((stringify!($name), $name)),*];

        mod loom {
            $(
                #[test]
                fn $name() -> Result<(), Box<crash_check::death::Error>> {
                    println!("{}", super::$name()?);
                    Ok(())
                }
            )*
        }
    };
}

models![
    the_last_of_two_holders_frees_after_both_have_used_the_value,
    a_receiver_sees_the_value_and_a_sender_may_leave_at_once,
    a_reference_is_received_by_one_of_two,
    a_reference_that_is_taken_back_is_not_received,
    a_reference_that_one_declined_is_received_by_another,
    a_dead_sender_has_sent_or_not_and_its_bits_are_taken_out,
    what_was_sent_to_a_member_outlives_its_sender,
    a_dead_receiver_has_received_or_not_and_its_bits_are_taken_out,
    a_dead_holder_frees_or_its_recoverer_does,
    a_recovery_is_taken_over_and_the_slot_is_used_again_meanwhile,
    a_flight_is_used_again_after_its_bit_is_gone,
    a_seat_is_taken_again_when_no_mask_has_its_bit,
];

/// In the cell's place.
const FULL: u64 = 1;
/// The payload of a value that is freed.
const FREED: u32 = 99;

/// One value, and who may hold it.
struct Tiny {
    mask: AtomicU64,
    flights: [AtomicU64; 2],
    /// All the other flights.
    busy: AtomicU64,
    cell: AtomicU64,
    payload: UnsafeCell<u32>,
    seats: [AtomicU64; 3],
    /// How flights travel; Relaxed, so that it brings no order with it. 0: not sent yet.
    sent: AtomicU64,
}

impl Slot for Tiny {
    fn mask(&self) -> &AtomicU64 {
        &self.mask
    }

    fn flight(&self, flight: usize) -> &AtomicU64 {
        self.flights.get(flight).unwrap_or(&self.busy)
    }

    fn free(&self) {
        // Relaxed: who frees has the value alone.
        if self.cell.load(Ordering::Relaxed) == FULL {
            self.write(FREED);
            self.cell.store(0, Ordering::Release);
        }
    }
}

fn owner(process: usize) -> Owner {
    Owner::new(process, 1)
}

impl Tiny {
    /// A value that these processes hold.
    fn held_by(holders: &[usize]) -> Rc<Tiny> {
        let word = || AtomicU64::new(0);
        let busy = FlightWord::new(Stage::Reserved(Owner::new(40, 1)), 0);
        let mask = holders.iter().map(|&seat| seat_bit(seat)).sum();
        let live = |process| AtomicU64::new(Seat::Live(owner(process).to_bits()).word());
        Rc::new(Tiny {
            mask: AtomicU64::new(mask),
            flights: [word(), word()],
            busy: AtomicU64::new(busy.0),
            cell: AtomicU64::new(FULL),
            payload: UnsafeCell::new(7),
            seats: [live(0), live(1), live(2)],
            sent: word(),
        })
    }

    fn write(&self, value: u32) {
        // SAFETY: the caller has the value alone; the model checks that.
        self.payload.with_mut(|place| unsafe { place.write(value) });
    }

    fn read(&self) -> u32 {
        // SAFETY: nobody writes while the caller holds the value; the model checks that.
        self.payload.with(|place| unsafe { place.read() })
    }

    /// A new value in a slot that may be nobody's.
    fn make(&self, process: usize, value: u32) -> bool {
        let claimed = steps::claim(self, seat_bit(process));
        if claimed {
            self.free();
            self.write(value);
            self.cell.store(FULL, Ordering::Release);
        }
        claimed
    }

    fn send(&self, process: usize, to: Option<usize>) {
        let (flight, number) = steps::send(self, owner(process), to.map(owner)).unwrap();
        self.sent.store(1 << 40 | (flight as u64) << 32 | u64::from(number), Ordering::Relaxed);
    }

    /// Receives what has been sent, if it has; what it reads in the value.
    fn receive(&self, process: usize) -> Option<u32> {
        let sent = self.sent.load(Ordering::Relaxed);
        if sent == 0 {
            return None;
        }
        let flight = (sent >> 32 & 0xff) as usize;
        let begun =
            steps::begin(self, flight, sent as u32, (owner(process), Some(owner(process))))?;
        let value = self.read();
        steps::accept(self, begun, seat_bit(process));
        assert_eq!(self.read(), value);
        Some(value)
    }

    fn release(&self, process: usize) {
        steps::release(self, seat_bit(process));
    }

    /// Clears up after everybody whose death this process has a proof of.
    fn recover(&self, peers: &Dead) {
        for flight in 0..self.flights.len() {
            steps::settle(self, flight, (peers, peers.me), |_| true);
        }
        for (seat, word) in self.seats.iter().enumerate() {
            if steps::claim_seat(word, (peers, peers.me), |_| true) == Claimed::Yes {
                steps::release(self, seat_bit(seat));
                steps::leave_seat(word);
            }
        }
    }

    /// Nobody holds the value, nothing is on its way: it is freed, and everything as at first.
    fn is_gone(&self) {
        assert_eq!(self.mask.load(Ordering::Relaxed), 0);
        assert_eq!((self.cell.load(Ordering::Relaxed), self.read()), (0, FREED));
        for flight in &self.flights {
            let word = FlightWord(flight.load(Ordering::Relaxed));
            assert_eq!(word.stage(), Some(Stage::Free));
        }
    }

    fn mask(&self) -> u64 {
        self.mask.load(Ordering::Relaxed)
    }
}

/// Peers in a model: a process is gone when its proof says so, or from the start.
struct Dead {
    of: Vec<(Owner, Option<Proof>)>,
    me: Owner,
}

impl Dead {
    fn of(world: &World, names: &[(&'static str, usize)], me: usize) -> Dead {
        let proof = |&(name, process)| (owner(process), Some(world.proof(name)));
        Dead { of: names.iter().map(proof).collect(), me: owner(me) }
    }
}

impl Peers for Dead {
    fn me(&self) -> Option<Owner> {
        Some(self.me)
    }

    fn is_gone(&self, owner: Owner) -> bool {
        let gone = |proof: &Option<Proof>| proof.as_ref().is_none_or(Proof::is_gone);
        self.of.iter().any(|(known, proof)| *known == owner && gone(proof))
    }

    fn ticket(&self) -> Ticket {
        Ticket(0)
    }

    fn park(&self, _: &Futex, _: u32, _: Ticket, _: Option<Duration>) -> Waited {
        Waited::Woken
    }
}

fn check(victims: usize, f: impl Fn(&World) + Send + Sync + 'static) -> Result<Report, Error> {
    let asked = std::env::var("LOOM_MAX_PREEMPTIONS").ok();
    let bound = asked.and_then(|bound| bound.parse().ok()).unwrap_or(3);
    Model::new().victims(victims).preemption_bound(Some(bound)).check(f)
}

fn the_last_of_two_holders_frees_after_both_have_used_the_value() -> Result<Report, Error> {
    check(0, |world| {
        let tiny = Tiny::held_by(&[0, 1]);
        let theirs = Rc::clone(&tiny);
        let other = world.spawn("other", move || {
            assert_eq!(theirs.read(), 7);
            theirs.release(1);
        });
        assert_eq!(tiny.read(), 7);
        tiny.release(0);
        // Whoever claims the slot then has it alone.
        let again = tiny.make(0, 8);
        other.join().unwrap();
        if again {
            tiny.release(0);
        }
        tiny.is_gone();
    })
}

fn a_receiver_sees_the_value_and_a_sender_may_leave_at_once() -> Result<Report, Error> {
    check(0, |world| {
        let tiny = Tiny::held_by(&[]);
        tiny.cell.store(0, Ordering::Relaxed);
        let theirs = Rc::clone(&tiny);
        let sender = world.spawn("sender", move || {
            assert!(theirs.make(0, 5));
            theirs.send(0, None);
            theirs.release(0);
        });
        let early = tiny.receive(1);
        assert!(matches!(early, None | Some(5)));
        if early.is_some() {
            tiny.release(1);
        }
        sender.join().unwrap();
        if early.is_none() {
            assert_eq!(tiny.receive(1), Some(5));
            tiny.release(1);
        }
        tiny.is_gone();
    })
}

fn a_reference_is_received_by_one_of_two() -> Result<Report, Error> {
    check(1, |world| {
        let tiny = Tiny::held_by(&[0]);
        tiny.send(0, None);
        let dead = Dead::of(world, &[("one", 1)], 2);
        let theirs = Rc::clone(&tiny);
        let one = world.victim("one", move || theirs.receive(1));
        let two = tiny.receive(2);
        let one = one.join();
        if let Ok(one) = one {
            assert!(one.is_some() != two.is_some());
        } else {
            tiny.recover(&dead);
            let left = tiny.mask() & !seat_bit(0);
            assert!(left == 0 || left == seat_bit(2) || left == flight_bit(0));
        }
    })
}

fn a_reference_that_is_taken_back_is_not_received() -> Result<Report, Error> {
    check(0, |world| {
        let tiny = Tiny::held_by(&[0]);
        tiny.send(0, Some(1));
        let theirs = Rc::clone(&tiny);
        let receiver = world.spawn("receiver", move || {
            let received = theirs.receive(1).is_some();
            if received {
                theirs.release(1);
            }
            received
        });
        let sent = tiny.sent.load(Ordering::Relaxed);
        tiny.release(0);
        let begun = steps::begin(&*tiny, 0, sent as u32, (owner(0), None));
        if let Some(begun) = begun {
            steps::discard(&*tiny, begun);
        }
        assert!(receiver.join().unwrap() != begun.is_some());
        tiny.is_gone();
    })
}

fn a_reference_that_one_declined_is_received_by_another() -> Result<Report, Error> {
    check(0, |world| {
        let tiny = Tiny::held_by(&[]);
        tiny.cell.store(0, Ordering::Relaxed);
        let (first, second) = (Rc::clone(&tiny), Rc::clone(&tiny));
        let declines = world.spawn("declines", move || {
            let sent = first.sent.load(Ordering::Relaxed) as u32;
            let begun = steps::begin(&*first, 0, sent, (owner(1), Some(owner(1))));
            if let Some(begun) = begun {
                steps::decline(&*first, begun);
            }
        });
        let receives = world.spawn("receives", move || second.receive(2));
        assert!(tiny.make(0, 5));
        tiny.send(0, None);
        declines.join().unwrap();
        let received = receives.join().unwrap().or_else(|| tiny.receive(2));
        assert_eq!(received, Some(5));
    })
}

fn a_dead_sender_has_sent_or_not_and_its_bits_are_taken_out() -> Result<Report, Error> {
    check(1, |world| {
        let tiny = Tiny::held_by(&[0]);
        let dead = Dead::of(world, &[("sender", 0)], 1);
        let theirs = Rc::clone(&tiny);
        let sender = world.victim("sender", move || {
            theirs.send(0, None);
            theirs.release(0);
        });
        let mut received = tiny.receive(1);
        tiny.recover(&dead);
        if sender.join().is_err() {
            tiny.recover(&dead);
        } else {
            received = received.or_else(|| tiny.receive(1));
            assert_eq!(received, Some(7), "what was sent is there");
        }
        if received.is_some() {
            assert_eq!((tiny.mask(), tiny.read()), (seat_bit(1), 7));
            tiny.release(1);
        }
        tiny.is_gone();
    })
}

fn what_was_sent_to_a_member_outlives_its_sender() -> Result<Report, Error> {
    check(1, |world| {
        let tiny = Tiny::held_by(&[0]);
        let dead = Dead::of(world, &[("sender", 0)], 1);
        let theirs = Rc::clone(&tiny);
        let sender = world.victim("sender", move || theirs.send(0, Some(1)));
        let died = sender.join().is_err();
        if died {
            tiny.recover(&dead);
        }
        let sent = tiny.sent.load(Ordering::Relaxed) != 0;
        if sent {
            assert_eq!(tiny.receive(1), Some(7));
            tiny.release(1);
        } else {
            // Killed before it could tell: the receiver's death or a recall ends it.
            let nobody = Dead { of: vec![(owner(1), None)], me: owner(2) };
            steps::settle(&*tiny, 0, (&nobody, owner(2)), |_| true);
        }
        if !died {
            tiny.release(0);
        }
        tiny.is_gone();
    })
}

fn a_dead_receiver_has_received_or_not_and_its_bits_are_taken_out() -> Result<Report, Error> {
    check(1, |world| {
        let tiny = Tiny::held_by(&[0]);
        tiny.send(0, Some(1));
        let dead = Dead::of(world, &[("receiver", 1)], 0);
        let theirs = Rc::clone(&tiny);
        let receiver = world.victim("receiver", move || {
            assert_eq!(theirs.receive(1), Some(7));
            theirs.release(1);
        });
        tiny.release(0);
        tiny.recover(&dead);
        if receiver.join().is_err() {
            tiny.recover(&dead);
        }
        tiny.is_gone();
    })
}

fn a_dead_holder_frees_or_its_recoverer_does() -> Result<Report, Error> {
    check(1, |world| {
        let tiny = Tiny::held_by(&[0, 1]);
        let dead = Dead::of(world, &[("holder", 1)], 0);
        let theirs = Rc::clone(&tiny);
        let holder = world.victim("holder", move || {
            assert_eq!(theirs.read(), 7);
            theirs.release(1);
        });
        assert_eq!(tiny.read(), 7);
        tiny.release(0);
        if holder.join().is_err() {
            tiny.recover(&dead);
        }
        tiny.is_gone();
    })
}

fn a_recovery_is_taken_over_and_the_slot_is_used_again_meanwhile() -> Result<Report, Error> {
    check(1, |world| {
        // Process 0 was killed with the value in its hands and on its way; 1 clears up after it.
        let tiny = Tiny::held_by(&[0]);
        tiny.send(0, None);
        let (theirs, proof) = (Rc::clone(&tiny), world.proof("recoverer"));
        let recoverer = world.victim("recoverer", move || {
            theirs.recover(&Dead { of: vec![(owner(0), None)], me: owner(1) });
        });
        let of = vec![(owner(0), None), (owner(1), Some(proof))];
        let second = Dead { of, me: owner(2) };
        tiny.recover(&second);
        // Whoever finds the slot free has it alone.
        let again = tiny.make(2, 3);
        let sent = again.then(|| steps::send(&*tiny, owner(2), None).unwrap());
        let _ = recoverer.join();
        tiny.recover(&second);
        if let Some((flight, number)) = sent {
            assert_eq!((tiny.mask(), tiny.read()), (seat_bit(2) | flight_bit(flight), 3));
            let begun = steps::begin(&*tiny, flight, number, (owner(2), None)).unwrap();
            steps::discard(&*tiny, begun);
            tiny.release(2);
        }
        tiny.is_gone();
        assert_eq!(Seat::of(tiny.seats[0].load(Ordering::Relaxed)), Seat::Free);
    })
}

fn a_flight_is_used_again_after_its_bit_is_gone() -> Result<Report, Error> {
    check(0, |world| {
        let tiny = Tiny::held_by(&[0]);
        tiny.flights[1].store(tiny.busy.load(Ordering::Relaxed), Ordering::Relaxed);
        tiny.send(0, None);
        let theirs = Rc::clone(&tiny);
        let receiver = world.spawn("receiver", move || {
            assert_eq!(theirs.receive(1), Some(7));
            theirs.release(1);
        });
        let again = steps::send(&*tiny, owner(0), None);
        receiver.join().unwrap();
        let on_its_way = if again.is_some() { flight_bit(0) } else { 0 };
        assert_eq!(tiny.mask(), seat_bit(0) | on_its_way);
    })
}

fn a_seat_is_taken_again_when_no_mask_has_its_bit() -> Result<Report, Error> {
    check(0, |world| {
        let tiny = Tiny::held_by(&[0, 1]);
        let theirs = Rc::clone(&tiny);
        world.spawn("recoverer", move || {
            theirs.recover(&Dead { of: vec![(owner(0), None)], me: owner(1) });
        });
        let next = Owner::new(0, 2);
        let seat = |seat: usize| tiny.seats.get(seat).unwrap_or(&tiny.busy);
        if let Some(seat) = steps::take_seat(seat, next) {
            assert_eq!((seat, tiny.mask() & seat_bit(0)), (0, 0));
        }
    })
}

#[test]
fn loom_matrix_of_the_shared_references() -> Result<(), Box<dyn std::error::Error>> {
    let mut mutations =
        Mutations::new().source("shm-core/src/data/arc/steps.rs", include_str!("steps.rs"));
    for function in
        ["release", "send", "accept", "finish", "discard", "settle", "claim_seat", "leave_seat"]
    {
        mutations = mutations.statements_of(function);
    }
    for &(name, model) in MODELS {
        mutations = mutations.model(name, model);
    }
    let latest = "beyond the tool: its read-modify-writes act on the latest mask, so that a bit is \
        never set before the last use's was taken out; and it keeps the program's order";
    mutations = mutations.reason("send", "reserved.0, ok, lost", "Acquire → Relaxed", latest);
    let matrix = mutations.run()?;
    println!("{}", matrix.text());
    if let Some(folder) = std::env::var_os("MUTATION_PAGES") {
        let page = std::path::Path::new(&folder).join("shm-core-arcs");
        std::fs::write(page.with_extension("txt"), matrix.text())?;
        std::fs::write(
            page.with_extension("html"),
            matrix.html("Mutation matrix of shm-core: shared references"),
        )?;
    }
    matrix.check(0.1)?;
    Ok(())
}
