//! The ground that all rows stand on: a ring inside the region of the kit, and its states.

use std::error::Error;
use std::sync::atomic::Ordering::{Acquire, Release};

use crash_check::step::{Region, Scenario, is_permitted};
use ipc_queue::bell::Doorbell;
use ipc_queue::spsc::{self, Consumer, Producer};
use ipc_queue::{Monitor, Side};
use rustix::mm::{MapFlags, ProtFlags, mmap};
use shm_core::Segment;

/// What a closure of a scenario says.
pub type Said = Result<(), Box<dyn Error>>;
/// Four words that belong together: a torn one shows.
pub type Item = [u64; 4];

/// The ring takes less than a page; behind it lies what the victim says of itself.
pub const SIZE: usize = 4096;
pub const CAPACITY: usize = 4;
/// Set by the victim when its operation has returned: from then on the effect must be there.
const RETURNED: usize = 4088;
/// Where the bells of a ring lie: for states in which the peer is about to sleep.
const DATA_BELL: usize = 128 + 4;
const SPACE_BELL: usize = 128 + 8;

pub fn item(number: u64) -> Item {
    [number, !number, number.wrapping_mul(3), number ^ 0xabcd]
}

/// The number of an item that is whole.
pub fn number(found: Item) -> Result<u64, String> {
    if found == item(found[0]) { Ok(found[0]) } else { Err(format!("torn: {found:x?}")) }
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

/// Where the ring stands before the operation.
#[derive(Clone, Copy)]
pub struct Start {
    pub state: &'static str,
    /// Items sent and received before.
    pub moved: u64,
    /// Items in the ring.
    pub kept: u64,
    /// The consumer, or the producer, is about to sleep.
    pub listens: Option<Side>,
}

pub const fn start(state: &'static str, moved: u64, kept: u64) -> Start {
    Start { state, moved, kept, listens: None }
}

impl Start {
    pub const fn with_listener(mut self, side: Side) -> Start {
        self.listens = Some(side);
        self
    }

    /// Makes the ring and brings it there.
    pub fn build(&self, region: &Region) -> Said {
        let segment = segment(region)?;
        spsc::create::<Item>(&segment, 0, CAPACITY)?;
        let mut producer = spsc::attach_producer::<Item>(&segment, 0)?;
        let mut consumer = spsc::attach_consumer::<Item>(&segment, 0)?;
        for next in 0..self.moved {
            producer.try_send(item(next))?;
            consumer.try_recv()?;
        }
        for next in self.moved..self.moved + self.kept {
            producer.try_send(item(next))?;
        }
        producer.detach();
        consumer.detach();
        self.listen(&segment)
    }

    pub fn listen(&self, segment: &Segment) -> Said {
        let bell = match self.listens {
            Some(Side::Consumer) => DATA_BELL,
            Some(Side::Producer) => SPACE_BELL,
            None => return Ok(()),
        };
        let _ticket = Doorbell::at(segment, bell)?.listen();
        Ok(())
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

/// What a supervisor does once it has the proof: nothing where the dead one held no role (any more).
pub fn disconnect(monitor: &Monitor, side: Side) -> Result<(), ipc_queue::Error> {
    monitor.holder(side).map_or(Ok(()), |dead| monitor.disconnect(dead))
}

/// The supervisor's view, attached before anybody dies.
pub fn monitor(region: &Region) -> Monitor {
    Monitor::attach(&segment(region).unwrap(), 0).unwrap()
}

/// The dead one's successor; whoever died before it had claimed the role may have left it free.
pub fn next_producer(segment: &Segment) -> Result<Producer<Item>, ipc_queue::Error> {
    match Monitor::attach(segment, 0)?.holder(Side::Producer) {
        None => spsc::attach_producer(segment, 0),
        // SAFETY: whoever held it was killed: survivors of these scenarios detach.
        Some(dead) => unsafe { spsc::take_over_producer(segment, 0, dead) },
    }
}

/// The same for the other side.
pub fn next_consumer(segment: &Segment) -> Result<Consumer<Item>, ipc_queue::Error> {
    match Monitor::attach(segment, 0)?.holder(Side::Consumer) {
        None => spsc::attach_consumer(segment, 0),
        // SAFETY: whoever held it was killed: survivors of these scenarios detach.
        Some(dead) => unsafe { spsc::take_over_consumer(segment, 0, dead) },
    }
}

/// Both sides, taken or attached, move an item: nobody is stuck.
pub fn goes_on(segment: &Segment) -> Said {
    let mut producer = next_producer(segment)?;
    let mut consumer = next_consumer(segment)?;
    consumer.drain().for_each(drop);
    for round in 0..2 * CAPACITY as u64 {
        producer.try_send(item(1000 + round))?;
        if number(consumer.try_recv()?)? != 1000 + round {
            return Err("a successor's item is lost".into());
        }
    }
    producer.detach();
    consumer.detach();
    Ok(())
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
