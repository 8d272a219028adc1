//! Rows of the area `profiler`.

fn main() {}
