//! What shared references and columns of shared records cost, beside std's `Arc` and slices in the same
//! run.
//!
//! ```console
//! cargo run --release -p shm-core --example bench_data
//! ```
//!
//! Each row is the median over alternating rounds; the ratio is the median of the rounds' ratios,
//! and its spread the middle half of them.

use std::hint::black_box;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::channel;
use std::time::Instant;

use shm_core::data::{Arc, Arcs, AtomicRecords, Flight, ReadOnly, Value, View};
use shm_core::heap::{Heap, HeapOptions};
use shm_core::{Frozen, Group, Segment, Shared, ShmSafe};

const ROUNDS: usize = 301;
const CALLS: u32 = 2_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (segment, group) = (Segment::anonymous(16 << 20)?, Group::anonymous()?);
    let heap = Heap::create(&segment, &group, HeapOptions::default())?;
    // Two places of one process: what two processes do, without the queue between them.
    let (here, there) = (Arcs::open_for(&heap)?, Arcs::open_for(&heap)?);
    let ours = Arc::new(&here, AtomicU64::new(0))?;
    let theirs = std::sync::Arc::new(AtomicU64::new(0));
    println!("ns, median of {ROUNDS} alternating rounds of {CALLS}");
    println!("{:<44} {:>7} {:>7}   ratio (middle half)", "", "ours", "std's");
    compare("clone and drop", || drop(black_box(ours.clone())), || drop(black_box(theirs.clone())));
    compare(
        "new and drop",
        || drop(black_box(Arc::new(&here, AtomicU64::new(1)))),
        || drop(black_box(std::sync::Arc::new(AtomicU64::new(1)))),
    );
    let local = heap.local()?;
    let cell = std::alloc::Layout::new::<[u64; 3]>();
    compare(
        "new and drop; a bare block of the heap",
        || drop(black_box(Arc::new(&here, AtomicU64::new(1)))),
        || drop(black_box(local.allocate(cell))),
    );
    many(&here);
    let kept = Arc::<AtomicU64>::receive(&there, ours.send(None)?)?;
    let (to, from) = channel::<std::sync::Arc<AtomicU64>>();
    let passed = || {
        if let Ok(flight) = ours.send(None) {
            let _ = black_box(Arc::<AtomicU64>::receive(&there, black_box::<Flight>(flight)));
        }
    };
    let through = || {
        let _ = to.send(theirs.clone());
        let _ = black_box(from.recv());
    };
    compare("send, receive, drop; receiver holds it; channel", passed, through);
    drop(kept);
    compare("the same; receiver does not hold it", passed, through);
    let (value, plain) = (Value::new(0u64), AtomicU64::new(0));
    compare(
        "Value::fetch_add; AtomicU64",
        || {
            black_box(value.fetch_add(1));
        },
        || {
            black_box(plain.fetch_add(1, std::sync::atomic::Ordering::AcqRel));
        },
    );
    columns()
}

/// A record of 24 bytes, as in the articles' example.
#[derive(Clone, Copy, ShmSafe)]
#[repr(C)]
struct Tick {
    time: i64,
    price: f64,
    kind: [u8; 8],
}

/// Sums of one column of records that lie in the last cache, in ns a record.
fn columns() -> Result<(), Box<dyn std::error::Error>> {
    const LEN: usize = 40_000;
    let tick = |n: usize| Tick { time: n as i64, price: n as f64 / 8.0, kind: *b"ordinary" };
    let plain: Vec<Tick> = (0..LEN).map(tick).collect();
    let segment = Segment::anonymous(16 << 20)?;
    let heap = Heap::create(&segment, &Group::anonymous()?, HeapOptions::default())?;
    let arcs = Arcs::open_for(&heap)?;
    let slice = View::of(Arc::copy_of(&arcs, ReadOnly::from_slice(&plain))?);
    let in_heap = slice.column::<f64>("price")?;
    let frozen = Frozen::copy_of(&plain)?.column::<f64>("price")?;
    let atomic = Shared::<AtomicRecords<Tick>>::copy_of(&plain)?;
    let prices = atomic.column::<f64>("price")?;
    let by_hand = || black_box(black_box(&plain).iter().map(|tick| tick.price).sum::<f64>());
    println!("sum of a column of {LEN} records, ns a record, beside a strided slice's");
    let row = |name, sum: &dyn Fn() -> f64| {
        let each = |f: &dyn Fn() -> f64| {
            let start = Instant::now();
            black_box(f());
            start.elapsed().as_nanos() as f64 / LEN as f64
        };
        let rounds = (0..ROUNDS).map(|_| (each(sum), each(&by_hand))).collect();
        show(name, rounds, 2);
    };
    row("in a heap", &|| black_box(&in_heap).iter().sum());
    row("frozen", &|| black_box(&frozen).iter().sum());
    row("atomic", &|| black_box(&prices).iter().map(Value::load).sum());
    Ok(())
}

/// Making and dropping apart: so many live at a time.
fn many(arcs: &Arcs) {
    const MANY: usize = 1000;
    let mut times = [const { Vec::new() }; 4];
    let each = |start: Instant| start.elapsed().as_nanos() as f64 / MANY as f64;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let ours: Vec<_> =
            (0..MANY).filter_map(|_| Arc::new(arcs, AtomicU64::new(1)).ok()).collect();
        times[0].push(each(start));
        let start = Instant::now();
        drop(black_box(ours));
        times[1].push(each(start));
        let start = Instant::now();
        let theirs: Vec<_> = (0..MANY).map(|_| std::sync::Arc::new(AtomicU64::new(1))).collect();
        times[2].push(each(start));
        let start = Instant::now();
        drop(black_box(theirs));
        times[3].push(each(start));
    }
    let [new, gone, their_new, their_gone] = times.map(|mut times| middle(&mut times)[1]);
    println!("{:<44} {new:>7.1} {their_new:>7.1}", "new, with 1,000 living");
    println!("{:<44} {gone:>7.1} {their_gone:>7.1}", "drop, with 1,000 living");
}

fn time(f: &impl Fn()) -> f64 {
    let start = Instant::now();
    (0..CALLS).for_each(|_| f());
    start.elapsed().as_nanos() as f64 / f64::from(CALLS)
}

fn middle(values: &mut [f64]) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[values.len() * quarter / 4])
}

fn compare(name: &str, ours: impl Fn(), rival: impl Fn()) {
    show(name, (0..ROUNDS).map(|_| (time(&ours), time(&rival))).collect(), 1);
}

fn show(name: &str, rounds: Vec<(f64, f64)>, digits: usize) {
    let [_, our, _] = middle(&mut rounds.iter().map(|round| round.0).collect::<Vec<_>>());
    let [_, their, _] = middle(&mut rounds.iter().map(|round| round.1).collect::<Vec<_>>());
    let mut ratios: Vec<f64> = rounds.iter().map(|(ours, rival)| ours / rival).collect();
    let [low, ratio, high] = middle(&mut ratios);
    println!("{name:<44} {our:>7.digits$} {their:>7.digits$}   {ratio:.2} ({low:.2} to {high:.2})");
}
