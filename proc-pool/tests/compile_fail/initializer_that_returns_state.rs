// An initializer keeps what it makes; it does not return it.
use proc_pool::{Pool, task};

#[task]
fn load(path: String) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[proc_pool::main]
fn main() {
    let _ = Pool::builder().initializer(load, "model".to_owned()).build();
}
