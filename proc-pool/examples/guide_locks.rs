//! From the book's chapter "From Python's multiprocessing": values that several processes change,
//! under a lock or by atomics; and one queue that all of them send to.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ipc_queue::mpmc;
use proc_pool::{Pool, task};
use shm_core::lock::{LockError, Mutex};
use shm_core::{Group, Segment, Shared};

// ANCHOR: value_task
#[task]
fn count(hits: Shared<AtomicU64>, times: u64) {
    for _ in 0..times {
        hits.fetch_add(1, Relaxed); // relaxed: a count that orders nothing else
    }
}
// ANCHOR_END: value_task

// ANCHOR: lock_task
type Accounts = Shared<Mutex<[i64; 2]>>;

#[task]
fn transfer(accounts: Accounts, group: Group, times: i64) -> Result<(), String> {
    for _ in 0..times {
        let mut both = accounts.lock(&group).map_err(|error| error.to_string())?;
        both[0] -= 1;
        both[1] += 1;
    } // the guard's drop unlocks
    Ok(())
}
// ANCHOR_END: lock_task

// ANCHOR: dies
#[task]
fn dies_in_the_middle(accounts: Accounts, group: Group) {
    let Ok(mut both) = accounts.lock(&group) else { return };
    both[0] -= 1_000;
    let this = rustix::process::getpid();
    let _ = rustix::process::kill_process(this, rustix::process::Signal::KILL);
    both[1] += 1_000; // never reached, with the lock held
}
// ANCHOR_END: dies

// ANCHOR: produce
#[task]
fn produce(queue: Segment, group: Group, first: u64) -> Result<(), String> {
    let producer = mpmc::attach_producer::<u64>(&queue, 0, &group);
    let mut producer = producer.map_err(|error| error.to_string())?;
    (first..first + 250).try_for_each(|number| producer.send(number)).map_err(|e| e.to_string())
}
// ANCHOR_END: produce

fn value(pool: &Pool) -> Result<(), Box<dyn std::error::Error>> {
    // ANCHOR: value
    let hits = Shared::new(AtomicU64::new(0))?;
    pool.map(count, (0..4).map(|_| (hits.clone(), 100_000)))?;
    println!("value: {}", hits.load(Relaxed));
    // ANCHOR_END: value
    Ok(())
}

fn lock(pool: &Pool) -> Result<(), Box<dyn std::error::Error>> {
    // ANCHOR: lock
    let accounts = Shared::new(Mutex::new([400_000, 0]))?;
    let group = Group::anonymous()?; // those who use the lock: so that a dead holder is known as dead
    let inputs = (0..4).map(|_| (accounts.clone(), group.clone(), 100_000));
    pool.map(transfer, inputs)?.into_iter().collect::<Result<(), _>>()?;
    println!("lock: {:?}", *accounts.lock(&group).map_err(|error| error.to_string())?);
    // ANCHOR_END: lock

    // ANCHOR: died
    let died = pool.submit(dies_in_the_middle, (accounts.clone(), group.clone())).wait();
    println!("died: {}", died.is_err());
    match accounts.lock(&group) {
        Err(LockError::Poisoned(poisoned)) => {
            let mut both = poisoned.into_inner(); // the lock is ours, the data as they were left
            both[0] = 400_000 - both[1];
            println!("repaired: {:?}", *both);
        }
        other => println!("not poisoned: {other:?}"),
    }
    accounts.clear_poison();
    // ANCHOR_END: died
    Ok(())
}

fn queue(pool: &Pool) -> Result<(), Box<dyn std::error::Error>> {
    // ANCHOR: queue
    let segment = Segment::anonymous(mpmc::required_size::<u64>(64)?)?;
    mpmc::create::<u64>(&segment, 0, 64)?; // holds 64, then `send` waits
    let group = Group::anonymous()?;
    let mut consumer = mpmc::attach_consumer::<u64>(&segment, 0, &group)?;
    let keep = mpmc::attach_producer::<u64>(&segment, 0, &group)?; // with no producer, it would end
    let inputs = (0..4).map(|i| (segment.clone(), group.clone(), i * 250));
    let tasks: Vec<_> = inputs.map(|input| pool.submit(produce, input)).collect();
    let sum: u64 = consumer.iter().take(1000).sum();
    println!("queue: {sum}");
    for task in tasks {
        task.wait()??;
    }
    drop(keep);
    // ANCHOR_END: queue
    Ok(())
}

#[proc_pool::main]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = Pool::builder().workers(4).build()?;
    value(&pool)?;
    lock(&pool)?;
    queue(&pool)?;
    Ok(pool.close()?)
}
