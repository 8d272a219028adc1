use proc_pool::Pool;

#[proc_pool::main]
fn main() {
    let pool = Pool::new().unwrap();
    let factor = 3;
    let _ = pool.map(|x: u64| factor * x, 1..=4);
}
