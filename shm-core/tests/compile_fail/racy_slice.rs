// The same with an array whose length is known when it is made, and with a type that has a pointer.
use shm_core::Shared;
use shm_core::data::LockedArray;

fn main() {
    let _ = Shared::<[u64]>::zeroed(4);
    let _ = Shared::<LockedArray<String>>::zeroed(4);
}
