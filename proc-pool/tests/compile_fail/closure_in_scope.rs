// A closure cannot cross in a scope either, whatever it borrows.
use proc_pool::Pool;

#[proc_pool::main]
fn main() {
    let pool = Pool::new().unwrap();
    let numbers = [1, 2, 3];
    pool.scope(|scope| drop(scope.submit(|| numbers.len(), ())));
}
