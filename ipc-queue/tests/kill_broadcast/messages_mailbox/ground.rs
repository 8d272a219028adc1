//! A mailbox inside the region of the kit, its members, and the states that operations start from.

use std::error::Error;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::Duration;

use crash_check::step::{Region, Scenario, is_permitted};
use ipc_queue::bell::Doorbell;
use ipc_queue::mailbox::{self, Options};
use ipc_queue::{RecvError, Side};
use rustix::mm::{MapFlags, ProtFlags, mmap};
use shm_core::futex::{Futex, Waited};
use shm_core::{Owner, Peers, Segment, SegmentId, Ticket};

use crate::member::{MAKER, Member, PEER, SIZE as NOTES, SURVIVOR, Said, ghost, member};

pub type Producer = mailbox::Producer<Kit>;
pub type Consumer = mailbox::Consumer<Kit>;

pub const LONG: Duration = Duration::from_secs(60);
pub const CAPACITY: u64 = 4;
const SPANS: usize = 5;
/// The slots, and nothing else.
const SLOTS_IN_USE: usize = 256;
/// Behind what the processes say of themselves.
const AT: usize = NOTES;
const SIZE: usize = AT + 3 * 4096 + SPANS * 65536;
const DATA_BELL: usize = AT + 128 + 4;
const SPACE_BELL: usize = AT + 128 + 8;
const SLOTS_AT: usize = AT + 1024;
const SLOT: usize = 64;
const HEAP: usize = AT + 4096;
/// Set when the stopped peer is dead.
const PEER_DIED: usize = NOTES - 24;

/// A member, or one who speaks for another: who died long ago, or is stopped.
#[derive(Clone, Copy, Debug)]
pub struct Kit {
    member: Member,
    me: Owner,
    region: &'static Region,
}

fn stopped() -> Owner {
    Owner::from_bits(0xbeef << 6 | (PEER + 1)).unwrap()
}

pub fn kit(region: &Region, index: u32) -> Kit {
    // SAFETY: every closure of a scenario runs in a process of its own, in which the region is
    // there to the end.
    let region: &'static Region = unsafe { &*std::ptr::from_ref(region) };
    let member = member(region, index);
    Kit { member, me: member.me().unwrap(), region }
}

impl Kit {
    fn speaking_for(self, me: Owner) -> Kit {
        Kit { me, ..self }
    }

    pub fn tell_everybody(&self) {
        self.member.tell_everybody();
    }
}

impl Peers for Kit {
    fn me(&self) -> Option<Owner> {
        Some(self.me)
    }

    fn is_gone(&self, owner: Owner) -> bool {
        // Acquire: pairs with the Release in `the_peer_dies`.
        let peer_died = || self.region.u64_at(PEER_DIED).load(Acquire) == 1;
        owner != self.me && (self.member.is_gone(owner) || owner == stopped() && peer_died())
    }

    fn ticket(&self) -> Ticket {
        self.member.ticket()
    }

    fn park(&self, word: &Futex, expected: u32, ticket: Ticket, limit: Option<Duration>) -> Waited {
        self.member.park(word, expected, ticket, limit)
    }

    fn deaths(&self) -> Option<&Futex> {
        self.member.deaths()
    }
}

fn id() -> SegmentId {
    SegmentId::from_bytes([7; 16])
}

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

/// Runs a scenario in the depth that is asked for; the row goes to the test's output.
pub fn run(scenario: Scenario) {
    if is_permitted().is_err() {
        eprintln!("ptrace is not permitted here: not checked");
        return;
    }
    let is_long = std::env::var_os("KILL_LONG").is_some();
    let scenario =
        if is_long { scenario.depth(2).real_kills(16) } else { scenario.depth(1).real_kills(1) };
    let scenario = scenario.region(SIZE).max_instructions(3_000_000);
    scenario.watchdog(Duration::from_secs(60)).run().unwrap().assert_clean();
}

/// Of various lengths, and of one size in memory.
pub fn message(number: u64) -> Vec<u8> {
    let tail = (0..number * 3 % 7).map(|at| (number + at) as u8);
    number.to_ne_bytes().into_iter().chain(tail).collect()
}

pub fn number(found: &[u8]) -> Result<u64, String> {
    let first = found.first_chunk().ok_or(format!("no message: {found:x?}"))?;
    let number = u64::from_ne_bytes(*first);
    if found == message(number) { Ok(number) } else { Err(format!("torn: {found:x?}")) }
}

pub fn create(region: &Region, index: u32) -> Said {
    let bytes = (SPANS - 1) * 65536 - 4096;
    let options = Options::new(CAPACITY as usize, bytes).producers(0).handles(6);
    Ok(mailbox::create_among(&segment(region)?, AT, (kit(region, index), id()), &options)?)
}

pub fn try_consumer(region: &Region, kit: Kit) -> Result<Consumer, ipc_queue::Error> {
    mailbox::attach_consumer_among(&segment(region).unwrap(), AT, (kit, id()))
}

pub fn producer(region: &Region, index: u32) -> Result<Producer, Box<dyn Error>> {
    Ok(mailbox::attach_producer_among(&segment(region)?, AT, (kit(region, index), id()))?)
}

pub fn consumer(region: &Region, index: u32) -> Result<Consumer, Box<dyn Error>> {
    Ok(try_consumer(region, kit(region, index))?)
}

/// What somebody else has in hand.
#[derive(Clone, Copy, PartialEq)]
enum Other {
    Nothing,
    /// Died long ago, with the oldest message claimed, written, and not handed over.
    DeadClaim,
    /// Died long ago, with the oldest message in hand.
    DeadMessage,
    /// Died long ago, having received, with the slot that the next send needs.
    DeadReceived,
    /// Stopped between claim and hand-over of the oldest message.
    StoppedClaim,
    /// Stopped, with the oldest message in hand.
    StoppedMessage,
}

/// Messages received, and kept, before the operation.
#[derive(Clone, Copy)]
pub struct Start {
    pub state: &'static str,
    pub moved: u64,
    pub kept: u64,
    other: Other,
    listens: Option<Side>,
}

const fn start(state: &'static str, moved: u64, kept: u64) -> Start {
    Start { state, moved, kept, other: Other::Nothing, listens: None }
}

pub const EMPTY: Start = start("empty", 0, 0);
pub const ONE_LEFT: Start = start("one slot left", 0, 3);
pub const WRAPPING: Start = start("wrapping", 7, 2);
pub const FULL: Start = start("full", 2, 4);
pub const DEAD_CLAIM: Start = start("behind a dead claim", 5, 3).other(Other::DeadClaim);
pub const DEAD_MESSAGE: Start =
    start("a message in a dead one's hand", 5, 2).other(Other::DeadMessage);
pub const DEAD_RECEIVED: Start =
    start("a slot of the dead, received", 5, 3).other(Other::DeadReceived);
pub const STOPPED_CLAIM: Start =
    start("behind a stopped peer's claim", 5, 3).other(Other::StoppedClaim);
pub const STOPPED_MESSAGE: Start =
    start("beside a stopped peer's message", 5, 3).other(Other::StoppedMessage);
pub const LISTENED: Start = start("consumer listens", 3, 2).listened(Side::Consumer);
pub const LISTENED_FULL: Start = start("producer listens, full", 3, 4).listened(Side::Producer);

impl Start {
    const fn other(self, other: Other) -> Start {
        Start { other, ..self }
    }

    const fn listened(self, side: Side) -> Start {
        Start { listens: Some(side), ..self }
    }

    pub fn next(self) -> u64 {
        self.moved + self.kept
    }

    /// The numbers of the messages that the operation can receive.
    pub fn numbers(self) -> std::ops::Range<u64> {
        match self.other {
            Other::StoppedClaim => self.moved..self.moved,
            Other::DeadClaim | Other::StoppedMessage => self.moved + 1..self.next(),
            _ => self.moved..self.next(),
        }
    }

    pub fn build(self, region: &Region) -> Said {
        create(region, MAKER)?;
        let (mut producer, mut consumer) = (producer(region, MAKER)?, consumer(region, MAKER)?);
        for next in 0..self.next() {
            producer.try_send(&message(next))?;
            if next < self.moved {
                consumer.try_recv()?;
            }
        }
        drop((producer, consumer));
        match self.other {
            Other::Nothing => {}
            Other::DeadClaim => self.claims(region, ghost()),
            Other::StoppedClaim => {
                let kit = kit(region, PEER).speaking_for(stopped());
                let segment = segment(region)?;
                std::mem::forget(mailbox::attach_producer_among(&segment, AT, (kit, id()))?);
                self.claims(region, stopped());
            }
            Other::DeadReceived => self.mark(region, 3, ghost(), self.moved - 1),
            Other::DeadMessage => has_in_hand(region, ghost())?,
            Other::StoppedMessage => has_in_hand(region, stopped())?,
        }
        // The deaths of long ago were told of.
        kit(region, MAKER).tell_everybody();
        let bell = match self.listens {
            Some(Side::Consumer) => DATA_BELL,
            Some(Side::Producer) => SPACE_BELL,
            None => return Ok(()),
        };
        let _ticket = Doorbell::at(&segment(region)?, bell)?.listen();
        Ok(())
    }

    fn claims(self, region: &Region, owner: Owner) {
        self.mark(region, 2, owner, self.moved);
    }

    fn mark(self, region: &Region, state: u64, owner: Owner, position: u64) {
        let slots = region.u64_at(SLOTS_AT).load(Acquire) as usize;
        let at = HEAP + slots + (position % CAPACITY) as usize * SLOT;
        let word = state << 62 | u64::from(owner.to_bits()) << 32 | position;
        region.u64_at(at).store(word, Release);
    }

    /// The stopped peer hands its message over, or dies; and what can be received then.
    pub fn the_peer_ends(
        self,
        region: &Region,
        mut found: Vec<u64>,
        consumer: &mut Consumer,
    ) -> Result<Vec<u64>, Box<dyn Error>> {
        match self.other {
            Other::StoppedClaim => {
                let slots = region.u64_at(SLOTS_AT).load(Acquire) as usize;
                let at = HEAP + slots + (self.moved % CAPACITY) as usize * SLOT;
                region.u64_at(at).store(1 << 62 | self.moved, Release);
                found.extend(drain(consumer)?.0);
            }
            Other::StoppedMessage => {
                // Release: pairs with the Acquire in `is_gone`.
                region.u64_at(PEER_DIED).store(1, Release);
                kit(region, SURVIVOR).tell_everybody();
                let (again, _) = drain(consumer)?;
                if again != [self.moved] {
                    return Err(format!("the peer's message comes as {again:?}").into());
                }
            }
            _ => {}
        }
        Ok(found)
    }

    /// How a drain ends while the peer is stopped.
    pub fn end(self) -> RecvError {
        match self.other {
            Other::StoppedClaim => RecvError::Empty,
            _ => RecvError::Disconnected,
        }
    }

    pub fn is_behind_a_stopped_claim(self) -> bool {
        self.other == Other::StoppedClaim
    }
}

/// A receive that ends in the middle of its message.
fn has_in_hand(region: &Region, owner: Owner) -> Said {
    let mut consumer = try_consumer(region, kit(region, PEER).speaking_for(owner))?;
    std::mem::forget(consumer.try_recv()?);
    std::mem::forget(consumer);
    Ok(())
}

/// Everything that is there, and why there is no more.
pub fn drain(consumer: &mut Consumer) -> Result<(Vec<u64>, RecvError), String> {
    let mut found = Vec::new();
    loop {
        match consumer.try_recv() {
            Ok(message) => found.push(number(&message)?),
            Err(end) => return Ok((found, end)),
        }
    }
}

/// A new producer and a new consumer move messages, laps of them; then nothing is left, and nothing
/// lost.
pub fn goes_on(region: &Region) -> Said {
    let (mut producer, mut consumer) = (producer(region, SURVIVOR)?, consumer(region, SURVIVOR)?);
    drain(&mut consumer)?;
    for lap in 0..2 {
        let numbers = 1000 + CAPACITY * lap..1000 + CAPACITY * (lap + 1);
        for next in numbers.clone() {
            producer.try_send(&message(next))?;
        }
        let (found, _) = drain(&mut consumer)?;
        if !found.iter().copied().eq(numbers) {
            return Err(format!("a successor's messages are not what was sent: {found:?}").into());
        }
    }
    consumer.validate()?;
    match consumer.used() {
        SLOTS_IN_USE => Ok(()),
        used => Err(format!("{used} bytes are in use").into()),
    }
}
