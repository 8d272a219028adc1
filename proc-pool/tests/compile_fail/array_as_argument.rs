// An `Array` is one process's: it cannot be sent to several, nor to one.
use proc_pool::task;
use shm_core::Array;

#[task]
fn increment(mut arr: Array<i32>) {
    for i in 0..arr.len() {
        arr[i] += 1;
    }
}

fn main() {}
