#[proc_pool::task]
fn name(number: u32) -> &'static str {
    if number == 1 { "one" } else { "many" }
}

fn main() {}
