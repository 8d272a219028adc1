use proc_pool::{Pool, task};

#[task]
fn shout(word: String) -> String {
    word.to_uppercase()
}

#[proc_pool::main]
fn main() {
    let pool = Pool::new().unwrap();
    let _ = pool.map(shout, [1, 2, 3]);
}
