use shm_core::ShmSafe;

#[derive(Clone, Copy, ShmSafe)]
#[repr(C)]
struct Record {
    side: u8,
    price: f64,
}

fn main() {}
