//! Arming a life word: the kernel stamps it when the thread that armed it ends.
//!
//! A thread has one robust list (`set_robust_list(2)`), and this one holds a single word. The list
//! itself lies in the process's private memory, with the distance from its node to the word as the
//! list's futex offset: nothing that the kernel follows can be written by a peer, and the format in
//! shared memory is the same whatever C library a program uses. The keeper thread uses no robust
//! lock of the C library, so replacing the list that the library registered takes nothing away.

use std::ptr::{from_ref, null_mut};

use rustix::io::Errno;

use crate::primitive::{AtomicU32, Ordering, compiler_fence};

/// `FUTEX_WAITERS`: the kernel wakes one waiter when it stamps a word with this bit.
pub(crate) const WAITERS: u32 = 0x8000_0000;
/// `FUTEX_OWNER_DIED`.
pub(crate) const OWNER_DIED: u32 = 0x4000_0000;
/// `FUTEX_TID_MASK`.
pub(crate) const TID_MASK: u32 = 0x3fff_ffff;

/// `struct robust_list`.
#[derive(Debug)]
#[repr(C)]
struct Node {
    next: *mut Node,
}

/// `struct robust_list_head`, and the one node.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct List {
    head: Node,
    futex_offset: isize,
    pending: *mut Node,
    node: Node,
}

/// `sizeof(struct robust_list_head)`: the node is no part of it.
const HEAD_SIZE: usize = size_of::<Node>() + size_of::<isize>() + size_of::<*mut Node>();

impl List {
    /// A list without a word. Its address must not change once a word is armed.
    pub fn new() -> List {
        let nobody = || Node { next: null_mut() };
        List { head: nobody(), futex_offset: 0, pending: null_mut(), node: nobody() }
    }
}

/// The calling thread's id in its own pid namespace, as the kernel compares it.
pub(crate) fn thread_id() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs() & TID_MASK
}

/// Arms `word`, which holds `from`, with the calling thread: `Ok(false)` when it no longer did.
///
/// From the successful exchange on, the end of this thread stamps the word, at whichever
/// instruction it comes.
///
/// # Safety
///
/// - `list` stays where it is, and is touched by this function only, until the thread has ended;
/// - `word` stays mapped as long.
pub(crate) unsafe fn arm(list: *mut List, word: &AtomicU32, from: u32) -> Result<bool, Errno> {
    let word_at = from_ref(word).addr() as isize;
    // SAFETY: the caller lends us the list.
    let list = unsafe { &mut *list };
    let node = &raw mut list.node;
    list.head.next = (&raw mut list.head).cast();
    list.futex_offset = word_at.wrapping_sub(node.addr() as isize);
    // As long as the exchange is under way, the word is named as pending.
    list.pending = node;
    // SAFETY: a live head of the right size, which stays so by the caller's promise. The kernel
    // reads it when the thread ends, and ends the walk at the first address that it cannot read.
    let set = unsafe { libc::syscall(libc::SYS_set_robust_list, &raw mut list.head, HEAD_SIZE) };
    if set != 0 {
        let error = std::io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::INVAL));
    }
    let armed = WAITERS | thread_id();
    // AcqRel: attaching sees all that earlier holders of the index did, and our registration
    // above comes before it. Relaxed on failure: the word is read again.
    let won = word.compare_exchange(from, armed, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    // SeqCst, for the compiler alone, three times: the kernel reads the list in this thread's
    // program order.
    compiler_fence(Ordering::SeqCst);
    if won {
        list.node.next = (&raw mut list.head).cast();
        list.head.next = node;
    }
    // SeqCst: as above.
    compiler_fence(Ordering::SeqCst);
    list.pending = null_mut();
    // SeqCst: as above.
    compiler_fence(Ordering::SeqCst);
    Ok(won)
}
