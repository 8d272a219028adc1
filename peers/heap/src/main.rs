//! Rows of the area `heap`: our shared heap beside allocators of one process and shared ones.
//!
//! One JSON object a row on standard output; `--quick`, `--rounds N`, `--only NAME`.

mod boost;
mod iceoryx;
mod loads;
mod ours;
mod rts;
mod work;

use std::alloc::{GlobalAlloc, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use method::{Arguments, Calibration, Case, Outcome, Promise, Sample, Side, Target, Unit};
use mimalloc::MiMalloc;
use tikv_jemallocator::Jemalloc;

use boost::Boost;
use ours::Ours;
use work::{OfRust, layout};

/// Room in our heap for everything but the deaths.
const ROOM: usize = 256 << 20;

fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().collect();
    if let [_, word, name] = words.as_slice()
        && word == ours::VICTIM
    {
        return ours::victim(name);
    }
    let arguments = Arguments::read()?;
    let (heap, boost) = (Ours::new(ROOM)?, Boost::start());
    let pinned = method::cores::Pinned::to(0)?;
    sizes(&arguments, &heap, &boost)?;
    published(&arguments, &heap);
    remote(&arguments, &heap);
    drop(pinned);
    two_threads(&arguments, &heap)?;
    mixed(&arguments, &heap);
    growth(&arguments);
    deaths(&arguments);
    Ok(())
}

fn case<'a>(name: impl Into<String>, inside: &str) -> Case<'a> {
    Case::new("heap", name, inside, Unit::NANOSECONDS, Calibration::Compute)
}

/// A side of an allocator of one process.
fn of_one_process<'a, A: GlobalAlloc>(
    name: &str,
    allocator: &'a A,
    size: usize,
    run: impl Fn(&OfRust<'a, A>) -> Outcome<Sample> + 'a,
) -> Outcome<Side<'a>> {
    let allocator = OfRust(allocator, layout(size)?);
    Ok(Side::new(name, Promise::ONE_PROCESS, move || run(&allocator)))
}

fn sizes(arguments: &Arguments, heap: &Ours, boost: &Boost) -> Outcome<()> {
    for size in [16_usize, 64, 256, 1 << 10, 4 << 10, 64 << 10] {
        let count = arguments.pick(100_000, 400_000) / if size > 4096 { 20 } else { 1 };
        let alternating = |name: String| {
            let inside = "a block and its release, one after the other, a word written into each";
            case(name, inside).at("heap-alternating", "bytes a block", size as f64)
        };
        let mut one = alternating(format!("{size} B, alternating"))
            .side(Side::new(ours::NAME, ours::PROMISE, move || heap.alternating(size, count)))
            .side(Side::new("shm-core Heap, given back on death", ours::PROMISE, move || {
                heap.recoverable(size, count)
            }))
            .side(of_one_process("mimalloc 0.1.52", &MiMalloc, size, move |a| {
                work::alternating(a, count)
            })?)
            .side(of_one_process("jemalloc 0.6.1", &Jemalloc, size, move |a| {
                work::alternating(a, count)
            })?)
            .side(of_one_process("glibc malloc", &System, size, move |a| {
                work::alternating(a, count)
            })?)
            .maybe(shared_rival(size, count, false)?)
            .maybe(pool(size, count, false)?)
            .side(boost.side(format!("alternating {size} {}", count / 10)));
        if size == 64 {
            one = one.target(Target::Absolute(12.0));
        }
        one.run(arguments);
        let inside =
            "a thousand blocks, then their releases, per block; what was written is checked";
        let mut many = case(format!("{size} B, batched"), inside)
            .at("heap-batched", "bytes a block", size as f64)
            .side(Side::new(ours::NAME, ours::PROMISE, move || heap.batched(size, count)))
            .side(of_one_process("mimalloc 0.1.52", &MiMalloc, size, move |a| {
                work::batched(a, count)
            })?)
            .side(of_one_process("jemalloc 0.6.1", &Jemalloc, size, move |a| {
                work::batched(a, count)
            })?)
            .side(of_one_process("glibc malloc", &System, size, move |a| work::batched(a, count))?)
            .maybe(shared_rival(size, count, true)?)
            .maybe(pool(size, count, true)?)
            .side(boost.side(format!("batched {size} {}", count / 10)));
        if size == 64 {
            many = many.target(Target::Absolute(8.0));
        }
        many.run(arguments);
    }
    Ok(())
}

/// The work in batches or one block after the other.
fn either<A: work::Allocator>(
    allocator: A,
    count: usize,
    batch: bool,
) -> impl Fn() -> Outcome<Sample> {
    move || match batch {
        true => work::batched(&allocator, count),
        false => work::alternating(&allocator, count),
    }
}

/// iceoryx2's pool, for the sizes at which its memory stays small.
fn pool<'a>(size: usize, count: usize, batch: bool) -> Outcome<Option<Side<'a>>> {
    if size > 4096 {
        return Ok(None);
    }
    let run = either(iceoryx::Pool::new(size)?, count, batch);
    Ok(Some(Side::new(iceoryx::NAME, iceoryx::PROMISE, run)))
}

/// rts-alloc, where it has the size; said where it has not, for the sizes that matter.
fn shared_rival<'a>(size: usize, count: usize, batch: bool) -> Outcome<Option<Side<'a>>> {
    if size == 64 {
        let why = "its smallest block is 256 bytes: see there";
        return Ok(Some(Side::missing(rts::NAME, rts::PROMISE, why)));
    }
    if !(256..=4096).contains(&size) {
        return Ok(None);
    }
    let run = either(rts::Worker::new(size)?, count, batch);
    Ok(Some(Side::new(rts::NAME, rts::PROMISE, run)))
}

fn published(arguments: &Arguments, heap: &Ours) {
    let count = arguments.pick(100_000, 400_000);
    let inside = "a block of 64 B reserved, written, published in a cell, taken from it, and freed";
    case("64 B, reserve and publish", inside)
        .side(Side::new(ours::NAME, ours::PROMISE, move || heap.published(64, count)))
        .side(Side::missing(
            "Boost 1.74 managed_shared_memory",
            boost::PROMISE,
            "has no such step: a block between allocation and use is lost with its process",
        ))
        .target(Target::Absolute(15.0))
        .run(arguments);
}

fn remote(arguments: &Arguments, heap: &Ours) {
    let count = arguments.pick(100_000, 400_000);
    let inside = "the release of a block of 64 B by another thread's front; beside it a `fetch_or` on \
                  words of as many lines, which nobody else has touched meanwhile";
    case("64 B, freed by another thread", inside)
        .side(Side::new(ours::NAME, ours::PROMISE, move || heap.remote(64, count)))
        .side(Side::limit("uncontended fetch_or", move || fetch_or(count)))
        .target(Target::Times("uncontended fetch_or", 1.2))
        .run(arguments);
}

/// Nanoseconds for a `fetch_or` that sets one bit of a bitmap after the other.
fn fetch_or(count: usize) -> Outcome<Sample> {
    let words: Vec<AtomicU64> = (0..1024).map(|_| AtomicU64::new(0)).collect();
    let start = Instant::now();
    for number in 0..count {
        let word = &words[number / 64 % words.len()];
        // Relaxed: a bit is set, nothing is guarded.
        std::hint::black_box(word.fetch_or(1 << (number % 64), Relaxed));
    }
    Ok(Sample::from(start.elapsed().as_nanos() as f64 / count as f64))
}

fn two_threads(arguments: &Arguments, heap: &Ours) -> Outcome<()> {
    let count = arguments.pick(100_000, 400_000);
    let inside = "two threads at once, each on a processor of its own, each a block of 64 B and its \
                  release, in turn; the slower one's, of its processor time";
    fn both<'a, A: GlobalAlloc + Sync>(
        name: &str,
        allocator: &'a A,
        count: usize,
    ) -> Outcome<Side<'a>> {
        of_one_process(name, allocator, 64, move |a| {
            work::at_once(2, || work::alternating_used(a, count))
        })
    }
    case("64 B, alternating, two threads", inside)
        .side(Side::new(ours::NAME, ours::PROMISE, move || {
            work::at_once(2, || heap.alternating_used(64, count))
        }))
        .side(Side::new("shm-core Heap, one thread", ours::PROMISE, move || {
            work::at_once(1, || heap.alternating_used(64, count))
        }))
        .side(both("mimalloc 0.1.52", &MiMalloc, count)?)
        .side(both("jemalloc 0.6.1", &Jemalloc, count)?)
        .side(both("glibc malloc", &System, count)?)
        .target(Target::Times("shm-core Heap, one thread", 1.15))
        .run(arguments);
    Ok(())
}

/// Loads of the literature, two threads at once.
fn mixed(arguments: &Arguments, heap: &Ours) {
    let count = arguments.pick(50_000, 200_000);
    type Load<F> = fn(&(dyn Fn() -> Outcome<F> + Sync), usize) -> Outcome<Sample>;
    fn of_rust<'a, A: GlobalAlloc + Sync>(
        name: &str,
        allocator: &'a A,
        load: Load<loads::OfRust<'a, A>>,
        count: usize,
    ) -> Side<'a> {
        Side::new(name, Promise::ONE_PROCESS, move || load(&|| Ok(loads::OfRust(allocator)), count))
    }
    macro_rules! load {
        ($name:literal, $inside:literal, $load:path) => {
            case($name, $inside)
                .side(Side::new(ours::NAME, ours::PROMISE, move || $load(&|| heap.front(), count)))
                .side(of_rust("mimalloc 0.1.52", &MiMalloc, |f, n| $load(&f, n), count))
                .side(of_rust("jemalloc 0.6.1", &Jemalloc, |f, n| $load(&f, n), count))
                .side(of_rust("glibc malloc", &System, |f, n| $load(&f, n), count))
                .side(Side::new(rts::NAME, rts::PROMISE, move || {
                    let file = rts::SharedFile::new()?;
                    $load(&|| file.join(), count)
                }))
                .side(Side::missing(
                    "Boost 1.74 managed_shared_memory",
                    boost::PROMISE,
                    "one lock around all: two threads are one after the other, see alternating",
                ))
                .at_most(arguments.pick(5, 11))
                .run(arguments);
        };
    }
    load!(
        "larson: 256 B to 4 KiB, two threads",
        "a block and the release of another at places drawn at random, of two threads at once; every \
         tenth part they exchange their blocks; the slower one's",
        loads::larson
    );
    load!(
        "threadtest: 256 B, two threads",
        "a block and its release, of two threads at once, each of which fills 5,000 and empties them; \
         the slower one's",
        loads::fill_and_empty
    );
}

/// What growing costs, up to sizes that do not fit any cache or any reserve.
fn growth(arguments: &Arguments) {
    for gib in arguments.pick(&[1_usize][..], &[1, 4, 10][..]) {
        let bytes = *gib << 30;
        let inside = "a block of 4 KiB and a byte written into it, until all of this is live; the kernel's \
                      share, giving and clearing pages, is in everybody's time";
        let system = move || work::growth(&OfRust(&System, layout(work::PAGE)?), bytes);
        case(format!("growth to {gib} GiB"), inside)
            .side(Side::new(ours::NAME, ours::PROMISE, move || ours::growth(bytes)))
            .side(Side::new("glibc malloc", Promise::ONE_PROCESS, system))
            .side(Side::limit("bare mapping", move || work::bare_growth(bytes)))
            .at("heap-growth", "GiB live", *gib as f64)
            .at_most(3)
            .run(arguments);
    }
}

fn deaths(arguments: &Arguments) {
    let inside = "from the proof of the death of a process that had filled 1 GiB with blocks of 1 KiB that \
                  were everybody's to free, until the living own its spans";
    Case::new(
        "heap",
        "a dead heap of 1 GiB owned again",
        inside,
        Unit::MILLISECONDS,
        Calibration::Compute,
    )
    .side(Side::new(ours::NAME, ours::PROMISE, || ours::owned_again(1 << 30)))
    .target(Target::Absolute(0.3))
    .at_most(5)
    .run(arguments);
    for mib in arguments.pick(&[64, 256, 1024][..], &[64, 256, 1024, 4096][..]) {
        let inside = "from the proof of the death of a process that held this much in blocks of 1 KiB, \
                      none published, until all of them are free again, by a process that had looked \
                      at the memory before";
        let mut one = Case::new(
            "heap",
            format!("a dead heap of {mib} MiB given back"),
            inside,
            Unit::MILLISECONDS,
            Calibration::Compute,
        )
        .side(Side::new(ours::NAME, ours::PROMISE, move || ours::after_a_death(*mib << 20)))
        .side(Side::missing(rts::NAME, rts::PROMISE, rts::PROMISE.delivery))
        .side(Side::missing(
            "Boost 1.74 managed_shared_memory",
            boost::PROMISE,
            boost::PROMISE.delivery,
        ))
        .at("heap-death", "MiB held by the dead", *mib as f64)
        .at_most(5);
        if *mib == 1024 {
            one = one.target(Target::Absolute(5.0));
        }
        one.run(arguments);
    }
}
