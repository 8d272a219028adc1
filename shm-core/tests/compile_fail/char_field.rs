use shm_core::ShmSafe;

#[derive(Clone, Copy, ShmSafe)]
#[repr(C)]
struct Cell {
    letter: char,
}

fn main() {}
