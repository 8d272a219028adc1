//! Rows of the area `queue`.

fn main() {}
