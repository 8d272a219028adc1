use shm_core::ShmSafe;

#[derive(Clone, Copy, ShmSafe)]
struct Record {
    time: i64,
    price: f64,
}

fn main() {}
