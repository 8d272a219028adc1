//! The heart of every one-producer, one-consumer ring: two positions, each on its own cache line,
//! each written by one side.
//!
//! Lamport's ring, with the peer's position cached (as in rtrb and in Rigtorp's queue): a side
//! reads the other's line only when its cached copy says "full" or "empty". Positions count units
//! (elements or bytes) since the ring was created and never wrap (2⁶⁴); a unit lies at its position
//! modulo the capacity, a power of two, so that no position, however corrupted, leads outside.
//!
//! Two things keep the sides out of each other's lines while they stream. A producer asks for the slots ahead
//! of it before it writes them (`prefetch`), and a side that looks for more, and has found little the last
//! time, pauses before it looks (`wait::Gather`).
//!
//! A side keeps its own position privately and only ever *stores* the shared one, last, with
//! Release. What it reads from shared memory is the peer's position, and that is checked: the
//! distance can never exceed the capacity.

use std::sync::Arc;

use shm_core::Peers;
use shm_core::barrier::{self, Mode};
use shm_core::primitive::{AtomicU32, AtomicU64, Ordering, compiler_fence};

use crate::bell::{Bell, Doorbell};
use crate::role::{self, Side};
use crate::wait::{Counters, Deadline, Patience, Sleep};

/// Bits of [`Control::ended`]: why a side will not go on. Set by `fetch_or`. That a side is dead counts only
/// if its role's word says so, too (see `role`); a take-over clears the bit.
pub(crate) const PRODUCER_CLOSED: u32 = 1;
pub(crate) const CONSUMER_CLOSED: u32 = 1 << 1;
pub(crate) const PRODUCER_DEAD: u32 = 1 << 2;
pub(crate) const CONSUMER_DEAD: u32 = 1 << 3;
const CLOSED: u32 = PRODUCER_CLOSED | CONSUMER_CLOSED;

/// Something alone on its cache lines (two of them: processors prefetch pairs).
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(crate) struct Line<T>(pub(crate) T);

/// The words of a ring, in shared memory.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Shared {
    pub(crate) control: Line<Control>,
    /// Written by the producer: units published since the ring was created.
    pub(crate) producer: Line<SideWords>,
    /// Written by the consumer: units consumed since the ring was created.
    pub(crate) consumer: Line<SideWords>,
}

/// Read by both sides, written rarely.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Control {
    pub(crate) ended: AtomicU32,
    /// The consumer listens, the producer rings: there is something to consume.
    pub(crate) data: Bell,
    /// The producer listens, the consumer rings: there is room.
    pub(crate) space: Bell,
    /// Counts claims of roles, so that no two claims are equal.
    pub(crate) claims: AtomicU32,
    /// Who holds the sides: see `role`.
    pub(crate) producer: AtomicU64,
    pub(crate) consumer: AtomicU64,
}

/// One side's line: its position, and what its waits cost.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct SideWords {
    pub(crate) position: AtomicU64,
    pub(crate) counters: Counters,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Shared>() == 3 * 128 && align_of::<Shared>() == 128);

/// The group that a side waits in, if it is a member of one: its deaths end waits.
#[derive(Clone, Default)]
pub(crate) struct Company(pub(crate) Option<Arc<dyn Peers + Send + Sync>>);

impl std::fmt::Debug for Company {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Company(a group)" } else { "Company(none)" })
    }
}

impl Company {
    pub(crate) fn peers(&self) -> Option<&dyn Peers> {
        self.0.as_deref().map(|peers| peers as &dyn Peers)
    }

    /// Whether whoever holds `side` is known to be gone.
    fn has_lost(&self, shared: &Shared, side: Side) -> bool {
        self.peers().is_some_and(|peers| role::is_gone(shared, side, peers))
    }
}

/// Why an operation cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Full or empty.
    NotYet,
    Timeout,
    Closed,
    PeerDead,
    /// Everybody on the other side has left or died.
    Disconnected,
    /// The handle was inherited by `fork`.
    Forked,
    /// What is to be sent never fits.
    TooLarge {
        size: usize,
        most: usize,
    },
    Corrupted,
}

impl Shared {
    /// Sets bits of `ended` and wakes both sides.
    pub(crate) fn end(&self, bits: u32) {
        // Release: what the closing side published comes before; pairs with the Acquire in `ended`.
        self.control.0.ended.fetch_or(bits, Ordering::Release);
        self.control.0.data.ring();
        self.control.0.space.ring();
    }

    /// Clears bits of `ended`: a successor has taken the dead side's role.
    pub(crate) fn revive(&self, bits: u32) {
        // Relaxed: the peer may notice late; the role word made the successor the only one.
        self.control.0.ended.fetch_and(!bits, Ordering::Relaxed);
    }

    /// The bits of `ended` that count.
    fn ended(&self) -> u32 {
        // Acquire: pairs with the Release in `end`: if the end is seen, so is everything that was
        // published before it, the word of a dead one's role included.
        let mut ended = self.control.0.ended.load(Ordering::Acquire);
        for (bit, side) in [(PRODUCER_DEAD, Side::Producer), (CONSUMER_DEAD, Side::Consumer)] {
            if ended & bit != 0 && !role::is_called_dead(self, side) {
                // Set late: whoever was meant has a successor.
                ended &= !bit;
            }
        }
        ended
    }

    /// Units published and not yet consumed, as far as this instant can say.
    pub(crate) fn len(&self, capacity: u64) -> u64 {
        // Acquire, consumer first: the producer's position read later is never behind it.
        let head = self.consumer.0.position.load(Ordering::Acquire);
        // Relaxed: only a count is made of it.
        let tail = self.producer.0.position.load(Ordering::Relaxed);
        tail.wrapping_sub(head).min(capacity)
    }

    /// Units published since the ring was created.
    pub(crate) fn sent(&self) -> u64 {
        // Relaxed: only a count.
        self.producer.0.position.load(Ordering::Relaxed)
    }

    /// Whether a producer at `tail` would not wait: there is room, or there never will be.
    pub(crate) fn is_sendable(&self, tail: u64, capacity: u64, company: &Company) -> bool {
        // Relaxed: a look; whoever acts on it looks again by the operation itself. That a sleeper's
        // look comes after its announcement is the heavy barrier's doing.
        self.ended() != 0
            || tail.wrapping_sub(self.consumer.0.position.load(Ordering::Relaxed)) != capacity
            || company.has_lost(self, Side::Consumer)
    }

    /// Whether a consumer at `head` would not wait: there is a unit, or there never will be.
    pub(crate) fn is_receivable(&self, head: u64, company: &Company) -> bool {
        // Relaxed: a look; whoever acts on it looks again by the operation itself. That a sleeper's
        // look comes after its announcement is the heavy barrier's doing.
        self.ended() & (CLOSED | PRODUCER_DEAD) != 0
            || self.producer.0.position.load(Ordering::Relaxed) != head
            || company.has_lost(self, Side::Producer)
    }

    /// Whether a side was closed in an orderly way.
    pub(crate) fn is_closed(&self) -> bool {
        // Acquire: pairs with the Release in `end`.
        self.control.0.ended.load(Ordering::Acquire) & CLOSED != 0
    }
}

/// Whom a side tells that its position has changed: whoever sleeps on the ring's bell, and a bell besides.
#[derive(Debug)]
pub(crate) struct Tells {
    also: Option<Doorbell>,
    /// There is no other bell, and a compiler barrier is what `light_barrier` is in this process.
    quickly: bool,
}

impl Tells {
    fn new(also: Option<Doorbell>) -> Self {
        let quickly = also.is_none() && barrier::mode() == Mode::Asymmetric;
        Tells { also, quickly }
    }

    pub(crate) fn also(&mut self, bell: Doorbell) {
        *self = Tells::new(Some(bell));
    }

    /// Nobody is to be told: the look of [`Bell::ring`] without a call, for the fast path.
    #[inline(always)]
    fn is_done_by(&self, bell: &Bell) -> bool {
        if !self.quickly {
            return false;
        }
        // SeqCst, for the compiler alone: the light barrier of a process whose mode allows it.
        compiler_fence(Ordering::SeqCst);
        !bell.has_listener()
    }

    #[cold]
    #[inline(never)]
    fn ring(&self, bell: &Bell, counters: &Counters) {
        if bell.ring() {
            counters.count_wake();
        }
        self.ring_also();
    }

    pub(crate) fn ring_also(&self) {
        if let Some(bell) = &self.also {
            bell.ring();
        }
    }
}

/// The producer's private half of the protocol.
#[derive(Debug)]
pub(crate) struct SendSide {
    tail: u64,
    /// The consumer's position when last looked at.
    head: u64,
    capacity: u64,
    pub(crate) tells: Tells,
    pub(crate) patience: Patience,
    pub(crate) company: Company,
}

impl SendSide {
    /// Goes on where the shared positions stand. The caller holds the producer's role.
    pub(crate) fn resume(shared: &Shared, capacity: u64) -> Result<Self, Stop> {
        // Relaxed: the role brings what the producer before us did: by the Acquire in `role::claim`
        // when it was given back, by the proof of its holder's death when it was taken over.
        let tail = shared.producer.0.position.load(Ordering::Relaxed);
        let (patience, company) = (Patience::for_ring(capacity), Company::default());
        let tells = Tells::new(None);
        let mut side = SendSide { tail, head: tail, capacity, tells, patience, company };
        match side.refresh(shared) {
            Err(Stop::Corrupted) => Err(Stop::Corrupted),
            _ => Ok(side),
        }
    }

    /// The position of the next unit.
    #[inline(always)]
    pub(crate) fn position(&self) -> u64 {
        self.tail
    }

    /// Whether there is room for more than `ahead` units, as far as is known without looking.
    #[inline(always)]
    pub(crate) fn knows_room_for(&self, ahead: u64) -> bool {
        self.tail - self.head + ahead < self.capacity
    }

    /// Room for at least one unit; looks at the consumer's line only if the cached copy shows
    /// room for fewer than `want`.
    #[inline(always)]
    pub(crate) fn room(&mut self, shared: &Shared, want: u64) -> Result<u64, Stop> {
        // Relaxed: noticing the end one send later is as good; `ended` looks again with Acquire.
        if shared.control.0.ended.load(Ordering::Relaxed) != 0 {
            self.stop(shared)?;
        }
        let room = self.capacity - (self.tail - self.head);
        if room >= want { Ok(room) } else { self.refresh(shared) }
    }

    #[inline]
    fn refresh(&mut self, shared: &Shared) -> Result<u64, Stop> {
        // Acquire: pairs with the Release in `RecvSide::consume`: the consumer has finished with
        // the units that we are about to overwrite.
        let head = shared.consumer.0.position.load(Ordering::Acquire);
        let used = self.tail.wrapping_sub(head);
        if used > self.capacity {
            return Err(Stop::Corrupted);
        }
        self.head = head;
        if used == self.capacity { Err(Stop::NotYet) } else { Ok(self.capacity - used) }
    }

    /// Like [`room`](Self::room), but waits for it.
    #[inline(always)]
    pub(crate) fn wait_room(
        &mut self,
        shared: &Shared,
        want: u64,
        deadline: Deadline,
    ) -> Result<u64, Stop> {
        // Relaxed: as in `room`.
        if shared.control.0.ended.load(Ordering::Relaxed) == 0 {
            let room = self.capacity - (self.tail - self.head);
            if room >= want {
                return Ok(room);
            }
        }
        self.room_anew(shared, want, deadline)
    }

    /// The room that was known of is used up.
    #[inline(never)]
    fn room_anew(&mut self, shared: &Shared, want: u64, deadline: Deadline) -> Result<u64, Stop> {
        self.patience.before_looking(deadline);
        match self.room(shared, want) {
            Err(Stop::NotYet) => self.wait_room_slow(shared, want, deadline),
            done => {
                self.patience.has_found(&done);
                done
            }
        }
    }

    #[cold]
    fn wait_room_slow(
        &mut self,
        shared: &Shared,
        want: u64,
        deadline: Deadline,
    ) -> Result<u64, Stop> {
        shared.producer.0.counters.count_full();
        if let Deadline::Now = deadline {
            return self.room_or_loss(shared, want);
        }
        let mut patience = self.patience;
        let company = self.company.clone();
        let counters = &shared.producer.0.counters;
        let sleep = Sleep { bell: &shared.control.0.space, peers: company.peers() };
        let found =
            patience.wait(sleep, counters, deadline, || match self.room_or_loss(shared, want) {
                Err(Stop::NotYet) => None,
                done => Some(done),
            });
        self.patience = patience;
        found.unwrap_or(Err(Stop::Timeout))
    }

    /// The ring was full: is there room by now, or a consumer to make some?
    fn room_or_loss(&mut self, shared: &Shared, want: u64) -> Result<u64, Stop> {
        match self.room(shared, want) {
            Err(Stop::NotYet) if self.company.has_lost(shared, Side::Consumer) => {
                // Once more: what it gave back before it died is room.
                match self.refresh(shared) {
                    Err(Stop::NotYet) => Err(Stop::PeerDead),
                    done => done,
                }
            }
            done => done,
        }
    }

    /// Hands `count` written units to the consumer. The linearization point of every send.
    #[inline(always)]
    pub(crate) fn publish(&mut self, shared: &Shared, count: u64) {
        self.tail += count;
        // Release: the units are written before; pairs with the Acquire in `RecvSide::refresh`.
        shared.producer.0.position.store(self.tail, Ordering::Release);
        if !self.tells.is_done_by(&shared.control.0.data) {
            self.tells.ring(&shared.control.0.data, &shared.producer.0.counters);
        }
    }

    #[cold]
    fn stop(&self, shared: &Shared) -> Result<(), Stop> {
        let ended = shared.ended();
        if ended & (CLOSED | PRODUCER_DEAD) != 0 {
            Err(Stop::Closed)
        } else if ended & CONSUMER_DEAD != 0 {
            Err(Stop::PeerDead)
        } else {
            Ok(())
        }
    }
}

/// The consumer's private half of the protocol.
#[derive(Debug)]
pub(crate) struct RecvSide {
    head: u64,
    /// The producer's position when last looked at.
    tail: u64,
    capacity: u64,
    pub(crate) tells: Tells,
    pub(crate) patience: Patience,
    pub(crate) company: Company,
}

impl RecvSide {
    /// Goes on where the shared positions stand. The caller holds the consumer's role.
    pub(crate) fn resume(shared: &Shared, capacity: u64) -> Result<Self, Stop> {
        // Relaxed: the role brings what the consumer before us did, as in `SendSide::resume`.
        let head = shared.consumer.0.position.load(Ordering::Relaxed);
        let (patience, company) = (Patience::for_ring(capacity), Company::default());
        let tells = Tells::new(None);
        let mut side = RecvSide { head, tail: head, capacity, tells, patience, company };
        side.refresh(shared)?;
        Ok(side)
    }

    /// The position of the next unit.
    #[inline(always)]
    pub(crate) fn position(&self) -> u64 {
        self.head
    }

    /// At least one unit to consume; looks at the producer's line only if the cached copy shows
    /// fewer than `want`.
    #[inline(always)]
    pub(crate) fn ready(&mut self, shared: &Shared, want: u64) -> Result<u64, Stop> {
        let ready = self.tail - self.head;
        if ready >= want {
            return Ok(ready);
        }
        match self.refresh(shared)? {
            0 => self.stop(shared),
            ready => Ok(ready),
        }
    }

    #[inline]
    fn refresh(&mut self, shared: &Shared) -> Result<u64, Stop> {
        // Acquire: pairs with the Release in `SendSide::publish`: the units are written.
        let tail = shared.producer.0.position.load(Ordering::Acquire);
        let ready = tail.wrapping_sub(self.head);
        if ready > self.capacity {
            return Err(Stop::Corrupted);
        }
        self.tail = tail;
        Ok(ready)
    }

    /// Like [`ready`](Self::ready), but waits.
    #[inline(always)]
    pub(crate) fn wait_ready(
        &mut self,
        shared: &Shared,
        want: u64,
        deadline: Deadline,
    ) -> Result<u64, Stop> {
        let ready = self.tail - self.head;
        if ready >= want { Ok(ready) } else { self.ready_anew(shared, want, deadline) }
    }

    /// The units that were known of are used up.
    #[inline(never)]
    fn ready_anew(&mut self, shared: &Shared, want: u64, deadline: Deadline) -> Result<u64, Stop> {
        self.patience.before_looking(deadline);
        match self.ready(shared, want) {
            Err(Stop::NotYet) => self.wait_ready_slow(shared, want, deadline),
            done => {
                self.patience.has_found(&done);
                done
            }
        }
    }

    #[cold]
    fn wait_ready_slow(
        &mut self,
        shared: &Shared,
        want: u64,
        deadline: Deadline,
    ) -> Result<u64, Stop> {
        shared.consumer.0.counters.count_empty();
        if let Deadline::Now = deadline {
            return Err(Stop::NotYet);
        }
        let mut patience = self.patience;
        let company = self.company.clone();
        let counters = &shared.consumer.0.counters;
        let sleep = Sleep { bell: &shared.control.0.data, peers: company.peers() };
        let found = patience.wait(sleep, counters, deadline, || match self.ready(shared, want) {
            Err(Stop::NotYet) => None,
            done => Some(done),
        });
        self.patience = patience;
        found.unwrap_or(Err(Stop::Timeout))
    }

    /// Gives the room of `count` units back. The linearization point of every receive.
    #[inline(always)]
    pub(crate) fn consume(&mut self, shared: &Shared, count: u64) {
        self.head += count;
        // Release: we have finished reading the units; pairs with the Acquire in
        // `SendSide::refresh`.
        shared.consumer.0.position.store(self.head, Ordering::Release);
        if !self.tells.is_done_by(&shared.control.0.space) {
            self.tells.ring(&shared.control.0.space, &shared.consumer.0.counters);
        }
    }

    /// The ring is empty: for now, or for good?
    #[cold]
    fn stop(&mut self, shared: &Shared) -> Result<u64, Stop> {
        // If the end is seen, so is everything that was published before it, by the second look below.
        let ended = shared.ended();
        if ended & (CLOSED | PRODUCER_DEAD) == 0 && !self.company.has_lost(shared, Side::Producer) {
            return Err(Stop::NotYet);
        }
        match self.refresh(shared)? {
            0 if ended & CLOSED != 0 => Err(Stop::Closed),
            0 => Err(Stop::PeerDead),
            ready => Ok(ready),
        }
    }
}
