//! A pool that was closed is gone.

use proc_pool::{Pool, task};

#[task]
fn square(x: u64) -> u64 {
    x * x
}

#[proc_pool::main]
fn main() {
    let pool = Pool::new().unwrap();
    pool.close().unwrap();
    pool.submit(square, 3);
}
