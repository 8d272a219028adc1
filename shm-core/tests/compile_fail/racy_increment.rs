// What loses counts in Python: four processes that do `array[i] += 1` in shared memory.
use shm_core::Shared;

fn main() {
    let array = Shared::new([0u64; 4]).unwrap();
    array[0] += 1;
}
