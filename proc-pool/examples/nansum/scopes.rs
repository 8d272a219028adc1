//! One scope at a time, for side-by-side timing against other programs: see `cargo xtask peers`.

use std::time::Instant;

use proc_pool::{Copied, Pool, as_completed};
use shm_core::{Array, Frozen, Schema};

use crate::Error;
use crate::kernel::{Place, Sum};
use crate::options::{Options, Scope};
use crate::records::Record;
use crate::tasks::{generate, sum_copied, sum_shared};

/// Runs the scope and prints one JSON object.
pub fn run(scope: Scope, options: &Options) -> Result<(), Error> {
    let place = place()?;
    let (seconds, sum, bytes_moved) = match scope {
        Scope::Own => own(options, &place)?,
        Scope::Shared => shared(options, &place)?,
        Scope::Generated => generated(options)?,
        Scope::Copied => copied(options, &place)?,
    };
    let line = serde_json::json!({
        "scope": scope.name(),
        "seconds": seconds,
        "sum": sum.as_f64(),
        "rows": options.rows,
        "bytes": options.rows * size_of::<Record>(),
        "workers": options.workers,
        "bytes_moved": bytes_moved,
    });
    println!("{line}");
    Ok(())
}

type Timed = (f64, Sum, u64);

fn own(options: &Options, place: &Place) -> Result<Timed, Error> {
    let records: Vec<Record> = (0..options.rows).map(Record::generate).collect();
    let start = Instant::now();
    let pool = Pool::builder().workers(options.workers).build()?;
    let data = Frozen::copy_of(&records)?.to_bytes();
    let sum = sums(&pool, options, |pool| pool.submit(sum_shared, (data.clone(), place.clone())))?;
    // The memory is given back inside the time, as the other side does.
    drop(data);
    finish(start, pool, sum)
}

fn shared(options: &Options, place: &Place) -> Result<Timed, Error> {
    let mut array = Array::<Record>::zeroed(options.rows)?;
    Record::fill(&mut array, 0);
    let data = array.freeze()?.to_bytes();
    let start = Instant::now();
    let pool = Pool::builder().workers(options.workers).build()?;
    let sum = sums(&pool, options, |pool| pool.submit(sum_shared, (data.clone(), place.clone())))?;
    finish(start, pool, sum)
}

fn copied(options: &Options, place: &Place) -> Result<Timed, Error> {
    let records: Vec<Record> = (0..options.rows).map(Record::generate).collect();
    let bytes: Vec<u8> = Frozen::copy_of(&records)?.to_bytes().to_vec();
    drop(records);
    let data = Copied::from(bytes);
    let start = Instant::now();
    let pool = Pool::builder().workers(options.workers).build()?;
    let sum = sums(&pool, options, |pool| pool.submit(sum_copied, (data.clone(), place.clone())))?;
    finish(start, pool, sum)
}

/// Every worker sums all of it; all must agree.
fn sums<T>(
    pool: &Pool,
    options: &Options,
    submit: impl Fn(&Pool) -> proc_pool::TaskHandle<T>,
) -> Result<Sum, Error>
where
    T: proc_pool::Task<Output = crate::tasks::Answer>,
{
    let handles: Vec<_> = (0..options.workers).map(|_| submit(pool)).collect();
    let sums = as_completed(handles)
        .map(|(_, result)| Ok(result??))
        .collect::<Result<Vec<Sum>, Error>>()?;
    match sums.iter().all(|sum| *sum == sums[0]) {
        true => Ok(sums[0]),
        false => Err("the workers disagree".into()),
    }
}

/// Ends the workers, then the time.
fn finish(start: Instant, pool: Pool, sum: Sum) -> Result<Timed, Error> {
    let bytes_moved = pool.bytes_moved();
    pool.close()?;
    Ok((start.elapsed().as_secs_f64(), sum, bytes_moved))
}

fn generated(options: &Options) -> Result<Timed, Error> {
    let start = Instant::now();
    let pool = Pool::builder().workers(options.workers).build()?;
    let (parts, remains) = Array::<Record>::zeroed(options.rows)?.into_parts(options.workers);
    let mut filled = Vec::new();
    let mut total: Option<Sum> = None;
    for answer in pool.map(generate, parts)? {
        let (part, sum) = answer?;
        filled.push(part);
        total = Some(total.map_or(sum, |total| total.add(sum)));
    }
    let bytes_moved = pool.bytes_moved();
    pool.close()?;
    drop(remains.join(filled)?);
    let seconds = start.elapsed().as_secs_f64();
    Ok((seconds, total.ok_or("no sum came back")?, bytes_moved))
}

fn place() -> Result<Place, Error> {
    let schema = Schema::of::<Record>();
    let spec = schema.column("val")?;
    Ok(Place { offset: spec.offset, stride: schema.stride, column_type: spec.column_type.clone() })
}
