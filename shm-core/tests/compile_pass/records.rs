//! Records that may lie in shared memory: nested, named, packed, with a field called `type`.

use shm_core::{Schema, ShmSafe};

#[derive(Clone, Copy, ShmSafe)]
#[repr(C)]
struct Inner {
    id: u32,
    flags: [u8; 4],
}

#[derive(Clone, Copy, ShmSafe)]
#[repr(C)]
#[shm(name = "trade", version = 2)]
struct Outer {
    r#type: i64,
    inner: [Inner; 2],
}

#[derive(Clone, Copy, ShmSafe)]
#[repr(C, packed)]
struct Packed {
    side: u8,
    price: f64,
}

fn main() {
    let schema = Schema::of::<Outer>();
    assert_eq!(schema.columns[0].name, "type");
    assert_eq!(schema.stride, 24);
    assert_eq!(Schema::of::<Packed>().columns[1].offset, 1);
    assert_eq!(Outer::LAYOUT.name, "trade");
}
