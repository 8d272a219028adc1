fn main() {
    let _ = shm_core::Array::<String>::zeroed(1);
}
