//! Rows of the area `heap`.

fn main() {}
