//! `core::hint` for models.

/// Tells loom that the caller waits for another thread. Every spin loop needs it, else the model
/// exceeds its branches.
pub fn spin_loop() {
    super::thread::yield_now();
}
