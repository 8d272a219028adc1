#[proc_pool::task(pur)]
fn square(x: u64) -> u64 {
    x * x
}

fn main() {}
