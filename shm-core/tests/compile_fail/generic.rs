use shm_core::ShmSafe;

#[derive(Clone, Copy, ShmSafe)]
#[repr(C)]
struct Pair<T> {
    first: T,
    second: T,
}

fn main() {}
