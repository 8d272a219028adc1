// The same count, locked and atomic.
use shm_core::data::Value;
use shm_core::lock::Mutex;
use shm_core::{Group, Shared};

fn main() {
    let group = Group::anonymous().unwrap();
    let locked = Shared::new(Mutex::new([0u64; 4])).unwrap();
    locked.lock(&group).unwrap()[0] += 1;
    let atomic = Shared::new([const { std::sync::atomic::AtomicU64::new(0) }; 4]).unwrap();
    atomic[0].fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let sum = Shared::new(Value::new(0.0f64)).unwrap();
    sum.fetch_add(0.5);
    assert_eq!((locked.lock(&group).unwrap()[0], sum.load()), (1, 0.5));
}
