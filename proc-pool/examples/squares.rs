//! The smallest program with a pool: squares of ten numbers, computed by other processes.

use proc_pool::{Pool, task};

#[task(pure)]
fn square(x: u64) -> u64 {
    x * x
}

#[proc_pool::main]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = Pool::new()?;
    println!("{:?}", pool.map(square, 1..=10)?);
    pool.close()?;
    Ok(())
}
