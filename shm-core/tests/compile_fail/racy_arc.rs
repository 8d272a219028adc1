use shm_core::data::{Arc, Arcs};

fn shared(arcs: &Arcs) {
    let _ = Arc::new(arcs, [0u64; 4]);
}

fn main() {
    let _ = shared;
}
