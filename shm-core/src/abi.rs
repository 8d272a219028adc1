//! What two programs must have in common besides types: the machine's page size, and where the C
//! library's robust list looks for a futex.

use std::sync::OnceLock;

/// Bytes from a robust-list node to its futex word, as the kernel adds them at a thread's death.
///
/// It is the C library's: all robust words of a thread share one list, and the list has one offset,
/// that from `__list.__next` (or `_m_next`) to the lock word of its `pthread_mutex_t`. Programs of
/// two C libraries cannot share a segment that holds life words.
#[cfg(all(target_pointer_width = "64", not(target_env = "musl")))]
pub(crate) const FUTEX_OFFSET: i32 = -32;
/// As above, of musl: its lock word is the second of the mutex, not the first.
#[cfg(all(target_pointer_width = "64", target_env = "musl"))]
pub(crate) const FUTEX_OFFSET: i32 = -28;

/// Bytes of a page of memory; the same all over a running machine.
pub(crate) fn page_size() -> u32 {
    static SIZE: OnceLock<u32> = OnceLock::new();
    *SIZE.get_or_init(|| u32::try_from(rustix::param::page_size()).unwrap_or(4096))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's `struct robust_list_head`.
    #[repr(C)]
    struct RobustListHead {
        first: *const u8,
        futex_offset: libc::c_long,
        pending: *const u8,
    }

    #[test]
    fn the_futex_offset_is_the_one_that_the_c_library_registered() {
        let mut head: *const RobustListHead = std::ptr::null();
        let mut size: libc::size_t = 0;
        // SAFETY: thread 0 is this one; the call stores a pointer and a length through the others.
        let result =
            unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut size) };
        assert_eq!((result, size), (0, size_of::<RobustListHead>()));
        // SAFETY: the C library's head of this thread lives as long as the thread does.
        let head = unsafe { head.read() };
        assert_eq!(head.futex_offset, libc::c_long::from(FUTEX_OFFSET));
        assert!(!head.first.is_null() && head.pending.is_null());
    }
}
