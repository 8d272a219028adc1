use shm_core::ShmSafe;

#[derive(Clone, Copy, ShmSafe)]
#[repr(C)]
struct Record {
    count: usize,
}

fn main() {}
