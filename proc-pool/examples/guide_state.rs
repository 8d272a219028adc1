//! From the book's chapter "From Python's multiprocessing": state in workers, one process, actors.

// ANCHOR: initializer
use std::collections::HashMap;

use proc_pool::{Pool, task, worker_state};

struct Prices(HashMap<String, u32>);

#[task]
fn load(lines: Vec<(String, u32)>) {
    worker_state::set(Prices(lines.into_iter().collect()));
}

#[task(pure)]
fn price_of(name: String) -> Option<u32> {
    worker_state::with(|prices: &mut Prices| prices.0.get(&name).copied())
}

fn initializer() -> Result<(), Box<dyn std::error::Error>> {
    let lines = vec![("tea".to_owned(), 3), ("rice".to_owned(), 2)];
    let pool = Pool::builder().workers(2).initializer(load, lines).build()?;
    println!("initializer: {:?}", pool.map(price_of, ["rice", "tea"].map(str::to_owned))?);
    Ok(())
}
// ANCHOR_END: initializer

// ANCHOR: process
#[task]
fn length(text: String) -> usize {
    text.len()
}

fn process() -> Result<(), Box<dyn std::error::Error>> {
    let mut process = proc_pool::Process::spawn(length, "in a process of its own".to_owned())?;
    println!("process: {}, {:?}", process.join()?, process.exit_status());
    Ok(())
}
// ANCHOR_END: process

// ANCHOR: actor
struct Tally(u64);

#[proc_pool::actor]
impl Tally {
    fn new(start: u64) -> Self {
        Tally(start)
    }

    pub fn add(&mut self, n: u64) -> u64 {
        self.0 += n;
        self.0
    }
}
// ANCHOR_END: actor

fn actors() -> Result<(), Box<dyn std::error::Error>> {
    // ANCHOR: use_actor
    let tally = Tally::spawn(10)?; // in a process of its own, until the last handle is dropped
    let (first, second) = (tally.add(1), tally.add(2)); // futures; made in this order
    println!("actor: {} {}", first.wait()?, second.wait()?);

    let group = Tally::spawn_group(proc_pool::ActorOptions::new(), 3, 100)?;
    println!("group: {:?}", group.add(1).reduce(|a, b| a + b)?);
    // ANCHOR_END: use_actor
    Ok(())
}

#[proc_pool::main]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    initializer()?;
    process()?;
    actors()
}
