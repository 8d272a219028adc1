//! The kit's region as a segment, and members of a group whose deaths are the kit's.

use std::error::Error;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::Duration;

use crash_check::step::{Region, Scenario, is_permitted};
use rustix::mm::{MapFlags, ProtFlags, mmap};
use shm_core::futex::{self, Futex, Waited};
use shm_core::{Owner, Peers, Segment, Ticket};

/// What a closure of a scenario says.
pub type Said = Result<(), Box<dyn Error>>;

/// The ring takes less; behind it lies what the processes say of themselves.
pub const SIZE: usize = 8192;
/// Set by the victim when its operation has returned: from then on the effect must be there.
const RETURNED: usize = SIZE - 8;
/// Counts the deaths that everybody was told of.
const EVENTS: usize = SIZE - 16;

/// One who died long ago.
const GHOST: u32 = 0xdead;
/// One who lives, and does nothing.
const STOPPED: u32 = 0xbeef;

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

pub fn ghost() -> Owner {
    owner(MAKER, GHOST)
}

/// One who lives, and was stopped in the middle of something.
#[allow(dead_code, reason = "not every kind can be stopped in somebody's way")]
pub fn stopped(region: &Region) -> Member {
    Member { me: owner(PEER, STOPPED), ..member(region, PEER) }
}

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

/// The victim's word that its operation has returned.
pub fn returned(region: &Region) {
    // Release: the operation comes before.
    region.u64_at(RETURNED).store(1, Release);
}

pub fn has_returned(region: &Region) -> bool {
    // Acquire: pairs with the Release in `returned`.
    region.u64_at(RETURNED).load(Acquire) == 1
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
