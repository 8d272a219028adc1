#[proc_pool::task]
async fn fetch(page: u32) -> u32 {
    page
}

fn main() {}
