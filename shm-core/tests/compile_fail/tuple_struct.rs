use shm_core::ShmSafe;

#[derive(Clone, Copy, ShmSafe)]
#[repr(C)]
struct Price(f64);

fn main() {}
