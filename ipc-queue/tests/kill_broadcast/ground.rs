//! The states that operations start from, and what must be true after a death.

use std::error::Error;
use std::sync::atomic::Ordering::{Acquire, Release};

use crash_check::step::Region;
use ipc_queue::bell::Doorbell;
use ipc_queue::broadcast::{self, Mode, Start as Begin};
use ipc_queue::{RecvError, Side};

use crate::member::{MAKER, Member, SURVIVOR, Said, VICTIM, ghost, member, segment};

/// Four words that belong together: a torn one shows.
pub type Item = [u64; 4];
pub type Producer = broadcast::Producer<Item, Member>;
pub type Reader = broadcast::Reader<Item, Member>;

pub const CAPACITY: u64 = 4;
/// Where a ring keeps its bells and its readers: for states that nobody can be stopped in.
const DATA_BELL: usize = 128 + 4;
const SPACE_BELL: usize = 128 + 8;
const AWAITED: usize = 128 + 16;
const ROWS: usize = 3 * 128;
const ROW: usize = 128;
const BLOCKING: u64 = 2 << 32;

pub fn item(number: u64) -> Item {
    [number, !number, number.wrapping_mul(3), number ^ 0xabcd]
}

/// The number of an item that is whole.
pub fn number(found: Item) -> Result<u64, String> {
    if found == item(found[0]) { Ok(found[0]) } else { Err(format!("torn: {found:x?}")) }
}

pub fn producer(region: &Region, index: u32) -> Result<Producer, Box<dyn Error>> {
    Ok(broadcast::attach_producer_among(&segment(region)?, 0, member(region, index))?)
}

pub fn reader(
    region: &Region,
    index: u32,
    mode: Mode,
    begin: Begin,
) -> Result<Reader, Box<dyn Error>> {
    let member = member(region, index);
    Ok(broadcast::attach_reader_among(&segment(region)?, 0, member, mode, begin)?)
}

pub fn victim(region: &Region, mode: Mode) -> Reader {
    reader(region, VICTIM, mode, Begin::Oldest).unwrap()
}

/// Where the ring stands before the operation. A reader of the maker's, who lives and blocks, has
/// row 0.
#[derive(Clone, Copy)]
pub struct Start {
    pub state: &'static str,
    /// Items sent, and received by the maker's reader.
    pub moved: u64,
    /// Items that it has not received.
    pub kept: u64,
    listens: Option<Side>,
    ghost: bool,
}

pub const fn start(state: &'static str, moved: u64, kept: u64) -> Start {
    Start { state, moved, kept, listens: None, ghost: false }
}

impl Start {
    pub const fn with_listener(mut self, side: Side) -> Start {
        self.listens = Some(side);
        self
    }

    /// A reader that died long ago stands in the way of the next item.
    pub const fn with_ghost(mut self) -> Start {
        self.ghost = true;
        self
    }

    /// The number of the next item.
    pub fn next(&self) -> u64 {
        self.moved + self.kept
    }

    /// Makes the ring and brings it there. Its producer leaves in order.
    pub fn build(&self, region: &Region) -> Said {
        broadcast::create::<Item>(&segment(region)?, 0, CAPACITY as usize)?;
        let mut producer = producer(region, MAKER)?;
        let mut reader = reader(region, MAKER, Mode::Block, Begin::Now)?;
        for next in 0..self.next() {
            producer.try_send(item(next))?;
            if next < self.moved {
                reader.try_recv()?;
            }
        }
        if self.ghost {
            std::mem::forget(reader.another(Mode::Block, Begin::Now)?);
            let owner = BLOCKING | u64::from(ghost().to_bits());
            region.u64_at(ROWS + ROW).store(owner, Release);
            region.u64_at(ROWS + ROW + 8).store(self.next() - CAPACITY, Release);
        }
        std::mem::forget(reader);
        drop(producer);
        let bell = match self.listens {
            Some(Side::Consumer) => DATA_BELL,
            Some(Side::Producer) => {
                // For whichever cursor comes next.
                region.u64_at(AWAITED).store(self.moved + 1, Release);
                SPACE_BELL
            }
            None => return Ok(()),
        };
        let _ticket = Doorbell::at(&segment(region)?, bell)?.listen();
        Ok(())
    }

    /// The maker's reader is still owed what it had not received: it is there, whole, and behind it
    /// `own` says what of the victim's is. Then the ring ends so.
    pub fn check(&self, region: &Region, end: RecvError, own: impl Fn(&[u64]) -> bool) -> Said {
        let mut reader = reader(region, SURVIVOR, Mode::Overwrite, Begin::Oldest)?;
        reader.validate()?;
        if region.u64_at(ROWS + 8).load(Acquire) != self.moved {
            return Err("the maker's cursor is not where it was".into());
        }
        let mut found = Vec::new();
        let last = loop {
            match reader.try_recv() {
                Ok(item) => found.push(number(item)?),
                Err(last) => break last,
            }
        };
        let first = found.first().copied().unwrap_or(self.next());
        if first > self.moved || !(first..).zip(&found).all(|(number, &found)| number == found) {
            return Err(format!("not in a row, or lost: {found:?}").into());
        }
        let left = found.get((self.next() - first) as usize..).ok_or("some are lost")?;
        if last != end || !own(left) {
            return Err(format!("found {found:?}, then {last:?}").into());
        }
        Ok(())
    }
}

/// The maker's reader leaves.
pub fn maker_leaves(region: &Region) {
    region.u64_at(ROWS).store(0, Release);
}

/// A new producer, and new readers beside it, go on for laps; nobody is waited for who is dead.
pub fn goes_on(region: &Region) -> Said {
    maker_leaves(region);
    let mut producer = producer(region, SURVIVOR)?;
    for next in 1000..1010 {
        producer.try_send(item(next))?;
    }
    let mut reader = reader(region, SURVIVOR, Mode::Block, Begin::Now)?;
    for lap in 0..3 {
        for next in 0..CAPACITY {
            producer.try_send(item(2000 + CAPACITY * lap + next))?;
        }
        for next in 0..CAPACITY {
            if number(reader.try_recv()?)? != 2000 + CAPACITY * lap + next {
                return Err("a successor's items are not what was sent".into());
            }
        }
    }
    Ok(producer.validate()?)
}
