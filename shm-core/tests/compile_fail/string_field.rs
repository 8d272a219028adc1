use shm_core::ShmSafe;

#[derive(Clone, ShmSafe)]
#[repr(C)]
struct Record {
    id: u64,
    label: String,
}

fn main() {}
