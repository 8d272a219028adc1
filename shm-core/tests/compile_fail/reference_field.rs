use shm_core::ShmSafe;

#[derive(Clone, Copy, ShmSafe)]
#[repr(C)]
struct Record {
    name: &'static [u8; 8],
}

fn main() {}
