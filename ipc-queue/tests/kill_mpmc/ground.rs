//! The ground that all rows stand on: a queue inside the region of the kit, its members, and the
//! states that operations start from.

use std::error::Error;
use std::sync::atomic::Ordering::Release;

use crash_check::step::Region;
use ipc_queue::bell::Doorbell;
use ipc_queue::{RecvError, Side, mpmc};

pub use crate::member::{
    MAKER, Member, PEER, SURVIVOR, Said, VICTIM, ghost, has_returned, member, returned, run,
    segment,
};

/// Four words that belong together: a torn one shows.
pub type Item = [u64; 4];
pub type Producer = mpmc::Producer<Item, Member>;
pub type Consumer = mpmc::Consumer<Item, Member>;

pub const CAPACITY: u64 = 4;
/// Where a queue keeps its bells and its slots: for states that nobody can be stopped in.
const DATA_BELL: usize = 128 + 4;
const SPACE_BELL: usize = 128 + 8;
pub const SLOTS: usize = 1024;
pub const SLOT: usize = 64;

pub fn item(number: u64) -> Item {
    [number, !number, number.wrapping_mul(3), number ^ 0xabcd]
}

/// The number of an item that is whole.
pub fn number(found: Item) -> Result<u64, String> {
    if found == item(found[0]) { Ok(found[0]) } else { Err(format!("torn: {found:x?}")) }
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
        let ghost = u64::from(ghost().to_bits());
        let slot = SLOTS + (position % CAPACITY) as usize * SLOT;
        region.u64_at(slot).store(state << 62 | ghost << 32 | position, Release);
    }
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
