use shm_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Handle {
    fd: i32,
}

impl Drop for Handle {
    fn drop(&mut self) {}
}

fn main() {}
