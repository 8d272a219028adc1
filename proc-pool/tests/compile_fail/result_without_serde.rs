// What a task returns must cross too.
struct Report {
    lines: Vec<String>,
}

#[proc_pool::task]
fn report(name: String) -> Report {
    Report { lines: vec![name] }
}

fn main() {}
