struct Counter(u64);

#[proc_pool::actor]
impl Counter {
    fn new() -> Self {
        Counter(0)
    }

    pub fn into_total(self) -> u64 {
        self.0
    }
}

fn main() {}
