use shm_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Tree {
    left: shm_core::data::Box<'static, u64>,
}

fn main() {}
