use shm_core::Shared;
use shm_core::data::ReadOnly;

fn main() {
    let limits = Shared::new(ReadOnly::new([3u32, 5])).unwrap();
    limits[1] = 6;
}
