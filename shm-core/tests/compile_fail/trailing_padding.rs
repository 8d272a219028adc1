use shm_core::ShmSafe;

#[derive(Clone, Copy, ShmSafe)]
#[repr(C, align(16))]
struct Record {
    price: f64,
}

fn main() {}
