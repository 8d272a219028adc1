#[proc_pool::task]
fn first<T>(values: Vec<T>) -> Option<T> {
    values.into_iter().next()
}

fn main() {}
