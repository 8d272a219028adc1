//! Rows of the area `shm`.

fn main() {}
