use shm_core::ShmSafe;

#[derive(Clone, Copy, ShmSafe)]
#[repr(u8)]
enum Side {
    Buy,
    Sell,
}

fn main() {}
