// Python: four processes run `arr[i] += 1` on one shared array, and lose increments.
use proc_pool::{Pool, task};
use shm_core::Frozen;

#[task]
fn increment(arr: Frozen<i32>) {
    for i in 0..arr.len() {
        arr[i] += 1;
    }
}

#[proc_pool::main]
fn main() {
    let pool = Pool::new().unwrap();
    let arr = Frozen::copy_of(&[0, 1, 2, 3]).unwrap();
    let _ = pool.map(increment, vec![arr; 4]);
}
