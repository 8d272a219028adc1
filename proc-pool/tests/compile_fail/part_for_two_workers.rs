// A part goes to one worker: it moves, and cannot be copied.
use proc_pool::{Pool, task};
use shm_core::{Array, Part};

#[task]
fn increment(mut part: Part<i32>) -> Part<i32> {
    part.as_mut_slice().unwrap().iter_mut().for_each(|value| *value += 1);
    part
}

#[proc_pool::main]
fn main() {
    let pool = Pool::new().unwrap();
    let (mut parts, _remains) = Array::<i32>::zeroed(4).unwrap().into_parts(1);
    let part = parts.pop().unwrap();
    let first = pool.submit(increment, part);
    let second = pool.submit(increment, part);
    let _ = (first.wait(), second.wait());
}
