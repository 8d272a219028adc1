use proc_pool::Pool;

fn square(x: u64) -> u64 {
    x * x
}

#[proc_pool::main]
fn main() {
    let pool = Pool::new().unwrap();
    let _ = pool.map(square, 1..=4);
}
