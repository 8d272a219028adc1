//! Rows of the area `pool`.

fn main() {}
