//! The ground that all rows stand on: a small heap in the kit's region, and peers whose proof of
//! death is the kit's word.

use std::alloc::Layout;
use std::error::Error;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

use crash_check::step::{Region, Scenario, is_permitted};
use rustix::mm::{MapFlags, ProtFlags, mmap};
use rustix::thread::gettid;
use shm_core::futex::{Futex, Waited};
use shm_core::heap::{Block, Cell, Heap, HeapOptions, Local};
use shm_core::{Owner, Peers, Segment, SegmentId, Ticket};

/// What a closure of a scenario says.
pub type Said = Result<(), Box<dyn Error>>;

/// The heap: four lines and five spans.
pub const HEAP: usize = 8192 + 5 * 65536;
/// Behind it: who has joined, one thread id a stay, and how many they are.
const STAYS: usize = HEAP;
const COUNT: usize = HEAP + 512;
/// Set by the victim when its operation has returned.
const RETURNED: usize = HEAP + 520;
/// Set when everybody but who asks is gone.
const ALL_GONE: usize = HEAP + 528;
pub const SIZE: usize = HEAP + 4096;
/// In place of a thread id: a process that had died before.
const GONE: u32 = u32::MAX;

/// Peers by the kit's word: each attachment is a stay of its own.
#[derive(Clone, Copy)]
pub struct Kit {
    region: &'static Region,
    me: Owner,
}

impl Kit {
    fn join(region: &Region, tid: u32) -> Kit {
        // SAFETY: the kit keeps the region for as long as the process lives.
        let region: &'static Region = unsafe { &*std::ptr::from_ref(region) };
        let stay = region.u32_at(COUNT).fetch_add(1, Relaxed);
        assert!(stay < 120, "too many attachments for one scenario");
        // Release: pairs with the Acquire in `is_gone`.
        region.u32_at(STAYS + stay as usize * 4).store(tid, Release);
        Kit { region, me: Owner::from_bits((stay + 1) << 6 | (1 + stay % 48)).unwrap() }
    }
}

impl Peers for Kit {
    fn me(&self) -> Option<Owner> {
        Some(self.me)
    }

    fn is_gone(&self, owner: Owner) -> bool {
        if owner == self.me {
            return false;
        }
        // Acquire: pairs with the Release in `all_gone`.
        if self.region.u64_at(ALL_GONE).load(Acquire) == 1 {
            return true;
        }
        let stay = owner.generation() as usize - 1;
        // Acquire: pairs with the Release in `join`.
        let tid = self.region.u32_at(STAYS + stay * 4).load(Acquire);
        tid == GONE || self.region.is_dead(tid)
    }

    fn ticket(&self) -> Ticket {
        Ticket(0)
    }

    fn park(&self, _: &Futex, _: u32, _: Ticket, _: Option<Duration>) -> Waited {
        Waited::Woken
    }
}

pub type KitHeap = Heap<Kit>;
pub type KitLocal = &'static Local<Kit>;
pub type KitBlock = Block<'static, Kit>;

fn id() -> SegmentId {
    SegmentId::from_bytes([7; 16])
}

fn segment(region: &Region) -> Segment {
    let segment = Segment::anonymous(SIZE).unwrap();
    let at = segment.data().as_ptr().cast();
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    let flags = MapFlags::SHARED | MapFlags::FIXED;
    // SAFETY: replaces exactly the segment's own mapping, which nobody has looked at yet; the
    // segment unmaps it when its last clone goes.
    unsafe { mmap(at, SIZE, protection, flags, region.fd(), 0) }.unwrap();
    segment
}

pub fn create(region: &Region, hardened: bool) {
    let options = HeapOptions::default().size(HEAP).threads(4).hardened(hardened);
    let kit = Kit::join(region, GONE);
    drop(KitHeap::create_for(&segment(region), kit, id(), options).unwrap());
}

/// Peers without a heap: a first stay that is over.
#[allow(dead_code, reason = "for the rows of what needs no heap")]
pub fn make_kit(region: &Region) {
    Kit::join(region, GONE);
}

/// Another stay, of this thread.
#[allow(dead_code, reason = "for the rows of what needs no heap")]
pub fn kit(region: &Region) -> Kit {
    Kit::join(region, gettid().as_raw_pid() as u32)
}

pub fn attach(region: &Region) -> KitHeap {
    let kit = Kit::join(region, gettid().as_raw_pid() as u32);
    KitHeap::attach_for(&segment(region), kit, id(), 0).unwrap()
}

/// A place in the heap that is never given up.
pub fn local(region: &Region) -> KitLocal {
    Box::leak(Box::new(attach(region).local().unwrap()))
}

/// The place of a process that is dead already.
pub fn dead(region: &Region) -> KitLocal {
    let heap = KitHeap::attach_for(&segment(region), Kit::join(region, GONE), id(), 0).unwrap();
    Box::leak(Box::new(heap.local().unwrap()))
}

pub fn cell(local: KitLocal, name: &str) -> Cell<'static, Kit> {
    local.heap().root(name).unwrap()
}

pub fn bytes(size: usize) -> Layout {
    Layout::from_size_align(size, 8).unwrap()
}

/// A block that says of itself that it is whole.
pub fn block(local: KitLocal, size: usize) -> KitBlock {
    let mut block = local.allocate(bytes(size)).unwrap();
    block.bytes_mut()[..8].copy_from_slice(&WHOLE.to_ne_bytes());
    block
}

pub const WHOLE: u64 = 0x5ca1_ab1e_0ddb_a115;

/// The victim's word that its operation has returned.
pub fn returned(region: &Region) {
    // Release: the operation comes before.
    region.u64_at(RETURNED).store(1, Release);
}

pub fn has_returned(region: &Region) -> bool {
    // Acquire: pairs with the Release in `returned`.
    region.u64_at(RETURNED).load(Acquire) == 1
}

/// From here on, everybody but who asks is gone.
pub fn all_gone(region: &Region) {
    // Release: pairs with the Acquire in `is_gone`; whoever has ended did so before.
    region.u64_at(ALL_GONE).store(1, Release);
}

/// A row: an operation from a state, and what must be found after it. `raw` are the blocks that are
/// nobody's by the user's own word: before the operation, and after it.
pub struct Row {
    pub name: &'static str,
    pub state: &'static str,
    /// How many blocks wait in the cells named "cell" and "other": the least and the most.
    pub published: [usize; 2],
    /// How many when the operation has returned.
    pub returned: usize,
    pub raw: [u64; 2],
    pub hardened: bool,
}

pub const fn row(name: &'static str, state: &'static str) -> Row {
    Row { name, state, published: [0, 0], returned: 0, raw: [0, 0], hardened: false }
}

impl Row {
    pub const fn published(mut self, least: usize, most: usize, returned: usize) -> Row {
        self.published = [least, most];
        self.returned = returned;
        self
    }

    pub const fn raw(mut self, least: u64, most: u64) -> Row {
        self.raw = [least, most];
        self
    }

    pub const fn hardened(mut self) -> Row {
        self.hardened = true;
        self
    }

    /// Runs the operation on what `prepare` made, killed at every instruction.
    pub fn run<S: 'static>(
        self,
        init: impl Fn(&Region) + 'static,
        prepare: impl Fn(&Region) -> S + 'static,
        act: impl Fn(&mut S) + 'static,
    ) {
        let Row { name, state, published, returned: after, raw, hardened } = self;
        let scenario = Scenario::new(name)
            .state(state)
            .init(move |r| {
                create(r, hardened);
                init(r);
            })
            .operation_with(prepare, move |r, state| {
                act(state);
                returned(r);
            })
            .recovery_with(attach, |_, heap| {
                heap.recover();
            })
            .validate(move |r| {
                let heap = attach(r);
                (raw[0]..=raw[1])
                    .map(|raw| heap.validate_settled(raw))
                    .find(Result::is_ok)
                    .unwrap_or_else(|| heap.validate_settled(raw[0]))
            })
            .continuation(move |r| {
                let want = if has_returned(r) { [after; 2] } else { published };
                goes_on(r, want, raw)
            });
        run(scenario);
    }
}

/// What was published is there, whole; and everything else can be allocated.
pub fn goes_on(region: &Region, published: [usize; 2], raw: [u64; 2]) -> Said {
    let heap = attach(region);
    let local = heap.local()?;
    let mut found = 0;
    for name in ["cell", "other"] {
        if let Some(block) = heap.root(name)?.take(&local)? {
            if block.bytes()[..8] != WHOLE.to_ne_bytes() {
                return Err(format!("the block in {name:?} is not whole").into());
            }
            found += 1;
        }
        if !heap.root(name)?.is_empty() {
            return Err(format!("{name:?} is neither full nor empty").into());
        }
    }
    if !(published[0]..=published[1]).contains(&found) {
        return Err(format!("{found} blocks were published, not {published:?}").into());
    }
    // Whatever is orphaned is collected before this fails.
    let mut all = Vec::new();
    while let Ok(block) = local.allocate(bytes(20_000)) {
        all.push(block);
    }
    let left = heap.stats().blocks - all.len() as u64;
    if !(raw[0]..=raw[1]).contains(&left) {
        return Err(format!("{left} blocks are lost, not {raw:?}").into());
    }
    drop(all);
    drop(local);
    let stats = heap.stats();
    if left == 0 && (stats.free_spans, stats.threads) != (stats.spans, 0) {
        return Err(format!("a span or a line is lost: {stats:?}").into());
    }
    heap.validate()?;
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
        if is_long { scenario.depth(2).real_kills(16) } else { scenario.depth(1).real_kills(1) };
    scenario
        .region(SIZE)
        .max_instructions(3_000_000)
        .watchdog(Duration::from_secs(60))
        .run()
        .unwrap()
        .assert_clean();
}
