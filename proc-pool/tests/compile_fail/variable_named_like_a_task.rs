// A task's name stands for a value: a variable cannot be called like it.
#[proc_pool::task]
fn square(x: u64) -> u64 {
    x * x
}

fn main() {
    let square = square(3);
}
