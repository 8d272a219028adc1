//! From the book's chapter "From Python's multiprocessing": one array for all workers, beside a
//! copy for each, and what both cost.

use proc_pool::{Copied, Pool, task};
use profiling::{Sampler, Timeline};
use shm_core::{Array, Frozen};

// ANCHOR: record
use shm_core::{Column, ShmSafe};

#[derive(Clone, Copy, ShmSafe)]
#[repr(C)]
struct Record {
    date: i64, // ns
    val: f64,
    label: [u8; 8],
}
// ANCHOR_END: record

// ANCHOR: tasks
#[task(pure)]
fn nansum_shared(val: Column<f64>) -> f64 {
    val.iter().filter(|val| !val.is_nan()).sum()
}

#[task(pure)]
fn nansum_copied(records: Copied<Record>) -> f64 {
    records.iter().map(|record| record.val).filter(|val| !val.is_nan()).sum()
}
// ANCHOR_END: tasks

const ROWS: usize = 500_000; // 12 MB; 10_000_000 are the 240 MB of the main job
const WORKERS: usize = 4;

// ANCHOR: make
fn make_records() -> Result<Frozen<Record>, shm_core::Error> {
    let mut records = Array::<Record>::zeroed(ROWS)?; // made in shared memory: never copied
    for (i, record) in records.iter_mut().enumerate() {
        let val = if i % 2 == 0 { 1.0 } else { f64::NAN };
        *record = Record { date: i as i64, val, label: *b"string\0\0" };
    }
    records.freeze() // from here on nobody can write it, in any process
}
// ANCHOR_END: make

fn shared() -> Result<Timeline, Box<dyn std::error::Error>> {
    // ANCHOR: sampler
    let sampler = Sampler::builder(std::process::id()).start()?; // this process and its children
    // ANCHOR_END: sampler
    // ANCHOR: shared
    let records = make_records()?;
    let pool = Pool::builder().workers(WORKERS).build()?;
    let val = records.column::<f64>("val")?; // a view
    let sums = pool.map(nansum_shared, vec![val; WORKERS])?; // four handles, no data
    println!("shared: {sums:?}");
    println!("shared bytes moved: {}", pool.bytes_moved());
    pool.close()?;
    // ANCHOR_END: shared
    // ANCHOR: stop
    let timeline = sampler.stop();
    // ANCHOR_END: stop
    Ok(timeline)
}

fn copied() -> Result<Timeline, Box<dyn std::error::Error>> {
    let sampler = Sampler::builder(std::process::id()).start()?;
    // ANCHOR: copied
    let records = Copied::from(make_records()?.to_vec());
    let pool = Pool::builder().workers(WORKERS).build()?;
    let sums = pool.map(nansum_copied, vec![records; WORKERS])?; // the data, four times
    println!("copied: {sums:?}");
    println!("copied bytes moved: {}", pool.bytes_moved());
    pool.close()?;
    // ANCHOR_END: copied
    Ok(sampler.stop())
}

// ANCHOR: split
fn divided() -> Result<(), Box<dyn std::error::Error>> {
    let pool = Pool::builder().workers(WORKERS).build()?;
    let val = make_records()?.column::<f64>("val")?;
    let sum: f64 = pool.map(nansum_shared, val.split(WORKERS))?.iter().sum();
    println!("divided: {sum}");
    pool.close()?;
    Ok(())
}
// ANCHOR_END: split

#[proc_pool::main]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let shared = shared()?;
    let copied = copied()?;
    // ANCHOR: peak
    println!("shared peak of the tree: {} bytes", shared.peak_bytes());
    println!("copied peak of the tree: {} bytes", copied.peak_bytes());
    // ANCHOR_END: peak
    divided()
}
