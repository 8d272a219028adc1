//! From the book's chapter "From Python's multiprocessing": several processes write one array,
//! and none of them twice.

use proc_pool::{Pool, task};
use shm_core::{Array, Error, Frozen, Part};

// ANCHOR: task
#[task]
fn add(mut part: Part<i32>, amount: i32) -> Result<Part<i32>, String> {
    let values = part.as_mut_slice().map_err(|error| error.to_string())?;
    for value in values {
        *value += amount; // this process's alone until it gives the part back
    }
    Ok(part)
}
// ANCHOR_END: task

// ANCHOR: count_task
#[task(pure)]
fn digit_counts(digits: Frozen<u8>) -> [u64; 10] {
    let mut counts = [0; 10];
    for &digit in digits.iter() {
        counts[usize::from(digit)] += 1; // a private array: nobody else's increments get lost
    }
    counts
}
// ANCHOR_END: count_task

// ANCHOR: dies
#[task]
fn dies_with(part: Part<i32>) -> Part<i32> {
    let this = rustix::process::getpid();
    let _ = rustix::process::kill_process(this, rustix::process::Signal::KILL);
    part
}
// ANCHOR_END: dies

fn counting_array(len: usize) -> Result<Array<i32>, Error> {
    let mut array = Array::<i32>::zeroed(len)?;
    array.iter_mut().zip(0..).for_each(|(slot, value)| *slot = value);
    Ok(array)
}

fn parts(pool: &Pool) -> Result<(), Box<dyn std::error::Error>> {
    // ANCHOR: parts
    let array = counting_array(10)?; // 0, 1, … 9: this process's, as `&mut [i32]`
    let (parts, remains) = array.into_parts(4);
    let parts = pool.map(add, parts.into_iter().map(|part| (part, 4)))?;
    let parts = parts.into_iter().collect::<Result<Vec<_>, _>>()?;
    let array = remains.join(parts)?; // all four are back: it is this process's again
    println!("parts: {:?}", &array[..]);
    // ANCHOR_END: parts
    Ok(())
}

fn counts(pool: &Pool) -> Result<(), Box<dyn std::error::Error>> {
    // ANCHOR: count
    let digits: Vec<u8> = (0..100_000_u32).map(|i| (i % 10) as u8).collect();
    let digits = Frozen::copy_of(&digits)?;
    let mut total = [0; 10];
    for counts in pool.map(digit_counts, digits.split(4))? {
        total.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    println!("counts: {total:?}");
    // ANCHOR_END: count
    Ok(())
}

fn lost(pool: &Pool) -> Result<(), Box<dyn std::error::Error>> {
    // ANCHOR: lost
    let (mut parts, remains) = counting_array(10)?.into_parts(4);
    if let Some(last) = parts.pop() {
        let error = pool.submit(dies_with, last).wait().err().ok_or("it lives")?;
        println!("lost: {error}");
    }
    match remains.join(parts) {
        Err(Error::PartsMissing { what }) => println!("lost: {what}"),
        other => println!("unexpected: {other:?}"),
    }
    // ANCHOR_END: lost
    Ok(())
}

#[proc_pool::main]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = Pool::builder().workers(4).build()?;
    parts(&pool)?;
    counts(&pool)?;
    lost(&pool)?;
    pool.close()?;
    Ok(())
}
