//! The ground that all rows stand on: a queue inside the region of the kit, its members, and the
//! states that operations start from.

use std::error::Error;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::Duration;

use crash_check::step::{Region, Scenario, is_permitted};
use ipc_queue::bell::Doorbell;
use ipc_queue::{RecvError, Side, mpmc};
use rustix::mm::{MapFlags, ProtFlags, mmap};
use shm_core::futex::{self, Futex, Waited};
use shm_core::{Owner, Peers, Segment, Ticket};

/// What a closure of a scenario says.
pub type Said = Result<(), Box<dyn Error>>;
/// Four words that belong together: a torn one shows.
pub type Item = [u64; 4];
pub type Producer = mpmc::Producer<Item, Member>;
pub type Consumer = mpmc::Consumer<Item, Member>;

/// The queue takes less than a page; behind it lies what the processes say of themselves.
const SIZE: usize = 4096;
pub const CAPACITY: u64 = 4;
/// Set by the victim when its operation has returned: from then on the effect must be there.
const RETURNED: usize = 4088;
/// Counts the deaths that everybody was told of.
const EVENTS: usize = 4080;
/// Where a queue keeps its bells and its slots: for states that nobody can be stopped in.
const DATA_BELL: usize = 128 + 4;
const SPACE_BELL: usize = 128 + 8;
const SLOTS: usize = 1024;
const SLOT: usize = 64;

/// One who died long ago.
const GHOST: u32 = 0xdead;

pub fn item(number: u64) -> Item {
    [number, !number, number.wrapping_mul(3), number ^ 0xabcd]
}

/// The number of an item that is whole.
pub fn number(found: Item) -> Result<u64, String> {
    if found == item(found[0]) { Ok(found[0]) } else { Err(format!("torn: {found:x?}")) }
}

/// A member of a group whose deaths are the kit's. A stay is known by its thread's id.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    region: &'static Region,
    me: Owner,
}

/// Places in the group.
pub const MAKER: u32 = 0;
pub const VICTIM: u32 = 1;
pub const SURVIVOR: u32 = 2;
pub const PEER: u32 = 3;

fn owner(index: u32, stay: u32) -> Owner {
    Owner::from_bits(stay << 6 | (index + 1)).unwrap()
}

pub fn member(region: &Region, index: u32) -> Member {
    // SAFETY: every closure of a scenario runs in a process of its own, in which the region is
    // there to the end.
    let region: &'static Region = unsafe { &*std::ptr::from_ref(region) };
    let stay = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
    Member { region, me: owner(index, stay) }
}

impl Member {
    fn events(&self) -> &Futex {
        // SAFETY: in the region, aligned, used as a futex only; any bytes are one.
        unsafe { &*self.region.as_ptr().wrapping_add(EVENTS).cast() }
    }

    /// The keeper's part: everybody who sleeps is told of the death.
    pub fn tell_everybody(&self) {
        self.events().word().fetch_add(1, Release);
        self.events().wake_all();
    }
}

impl Peers for Member {
    fn me(&self) -> Option<Owner> {
        Some(self.me)
    }

    fn is_gone(&self, owner: Owner) -> bool {
        let stay = owner.generation();
        owner != self.me && (stay == GHOST || self.region.is_dead(stay))
    }

    fn ticket(&self) -> Ticket {
        Ticket(self.events().word().load(Acquire))
    }

    fn park(&self, word: &Futex, expected: u32, ticket: Ticket, limit: Option<Duration>) -> Waited {
        let words = [(word, expected), (self.events(), ticket.0)];
        futex::wait_any(&words, limit).unwrap_or(Waited::Woken)
    }

    fn deaths(&self) -> Option<&Futex> {
        Some(self.events())
    }
}

/// A segment whose memory is the region's.
pub fn segment(region: &Region) -> Result<Segment, Box<dyn Error>> {
    let segment = Segment::anonymous(SIZE)?;
    let at = segment.data().as_ptr().cast();
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    let flags = MapFlags::SHARED | MapFlags::FIXED;
    // SAFETY: replaces exactly the segment's own mapping, which nobody has looked at yet; the
    // segment unmaps it when its last clone goes.
    unsafe { mmap(at, SIZE, protection, flags, region.fd(), 0) }?;
    Ok(segment)
}

pub fn producer(region: &Region, index: u32) -> Result<Producer, Box<dyn Error>> {
    let member = member(region, index);
    Ok(mpmc::attach_producer_among(&segment(region)?, 0, member)?)
}

pub fn consumer(region: &Region, index: u32) -> Result<Consumer, Box<dyn Error>> {
    let member = member(region, index);
    Ok(mpmc::attach_consumer_among(&segment(region)?, 0, member)?)
}

/// What somebody who died long ago had in hand.
#[derive(Clone, Copy, PartialEq)]
pub enum Ghost {
    Nothing,
    /// The oldest element's slot: it was never sent.
    Claim,
    /// The slot that the next send needs: it was received.
    Taking,
}

/// Where the queue stands before the operation.
#[derive(Clone, Copy)]
pub struct Start {
    pub state: &'static str,
    /// Items sent and received before.
    pub moved: u64,
    /// Items in the queue.
    pub kept: u64,
    listens: Option<Side>,
    ghost: Ghost,
}

pub const fn start(state: &'static str, moved: u64, kept: u64) -> Start {
    Start { state, moved, kept, listens: None, ghost: Ghost::Nothing }
}

impl Start {
    pub const fn with_listener(mut self, side: Side) -> Start {
        self.listens = Some(side);
        self
    }

    /// The oldest of the items that are kept (or the one before them) is a ghost's.
    pub const fn with_ghost(mut self, ghost: Ghost) -> Start {
        self.ghost = ghost;
        self
    }

    /// The numbers of the items that are to be received.
    pub fn items(&self) -> std::ops::Range<u64> {
        let first = self.moved + u64::from(self.ghost == Ghost::Claim);
        first..self.moved + self.kept
    }

    /// The number of the next item.
    pub fn next(&self) -> u64 {
        self.moved + self.kept
    }

    /// Makes the queue and brings it there. The maker leaves in order.
    pub fn build(&self, region: &Region) -> Said {
        mpmc::create::<Item>(&segment(region)?, 0, CAPACITY as usize)?;
        let (mut producer, mut consumer) = (producer(region, MAKER)?, consumer(region, MAKER)?);
        for next in 0..self.next() {
            producer.try_send(item(next))?;
            if next < self.moved {
                consumer.try_recv()?;
            }
        }
        drop((producer, consumer));
        self.haunt(region);
        let bell = match self.listens {
            Some(Side::Consumer) => DATA_BELL,
            Some(Side::Producer) => SPACE_BELL,
            None => return Ok(()),
        };
        let _ticket = Doorbell::at(&segment(region)?, bell)?.listen();
        Ok(())
    }

    fn haunt(&self, region: &Region) {
        let (state, position) = match self.ghost {
            Ghost::Nothing => return,
            Ghost::Claim => (2_u64, self.moved),
            Ghost::Taking => (3, self.moved - 1),
        };
        let ghost = u64::from(owner(MAKER, GHOST).to_bits());
        let slot = SLOTS + (position % CAPACITY) as usize * SLOT;
        region.u64_at(slot).store(state << 62 | ghost << 32 | position, Release);
    }
}

/// The victim's word that its operation has returned.
pub fn returned(region: &Region) {
    // Release: the operation comes before.
    region.u64_at(RETURNED).store(1, Release);
}

pub fn has_returned(region: &Region) -> bool {
    // Acquire: pairs with the Release in `returned`.
    region.u64_at(RETURNED).load(Acquire) == 1
}

/// Everything that is there, and why there is no more.
pub fn drain(consumer: &mut Consumer) -> Result<(Vec<u64>, RecvError), String> {
    let mut found = Vec::new();
    loop {
        match consumer.try_recv() {
            Ok(item) => found.push(number(item)?),
            Err(end) => return Ok((found, end)),
        }
    }
}

/// A new producer and a new consumer move items, laps of them: nobody is stuck.
pub fn goes_on(region: &Region) -> Said {
    let mut producer = producer(region, SURVIVOR)?;
    let mut consumer = consumer(region, SURVIVOR)?;
    consumer.drain().for_each(drop);
    for lap in 0..3 {
        for next in 0..CAPACITY {
            producer.try_send(item(1000 + CAPACITY * lap + next))?;
        }
        let (found, _) = drain(&mut consumer)?;
        let expected = 1000 + CAPACITY * lap..1000 + CAPACITY * (lap + 1);
        if !found.iter().copied().eq(expected) {
            return Err(format!("a successor's items are not what was sent: {found:?}").into());
        }
    }
    Ok(consumer.validate()?)
}

/// Runs a scenario in the depth that is asked for; the row goes to the test's output.
pub fn run(scenario: Scenario) {
    if is_permitted().is_err() {
        eprintln!("ptrace is not permitted here: not checked");
        return;
    }
    let is_long = std::env::var_os("KILL_LONG").is_some();
    let scenario =
        if is_long { scenario.depth(2).real_kills(16) } else { scenario.depth(1).real_kills(2) };
    scenario.region(SIZE).run().unwrap().assert_clean();
}
