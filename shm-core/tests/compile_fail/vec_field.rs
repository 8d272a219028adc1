use shm_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Names {
    all: Vec<u8>,
}

fn main() {}
