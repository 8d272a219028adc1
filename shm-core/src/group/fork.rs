//! Telling a forked child from its parent, for the price of one load.
//!
//! A child inherits live values that are another process's: it must neither use nor release what
//! they hold. One page of each process is wiped by the kernel in every child (`MADV_WIPEONFORK`);
//! it holds a number that no ancestor's page held.

use std::ptr::{NonNull, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};

use crate::Error;

/// The next number. Copied by `fork`, so a child's are larger than any that it inherited.
static NEXT: AtomicU64 = AtomicU64::new(1);

static PAGE: OnceLock<Page> = OnceLock::new();

#[derive(Debug)]
struct Page(NonNull<AtomicU64>);

// SAFETY: the page stays mapped as long as the process lives, and holds an atomic.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

/// The process that took it, until it forks: in a child it is no longer current.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epoch {
    word: &'static AtomicU64,
    value: u64,
}

impl Epoch {
    /// This process's.
    pub fn now() -> Result<Epoch, Error> {
        let page = match PAGE.get() {
            Some(page) => page,
            None => {
                let new = new_page()?;
                // Two threads at once: the second's page stays mapped, unused.
                PAGE.get_or_init(|| new)
            }
        };
        // SAFETY: mapped for good, zeroed or holding an earlier number: a valid atomic.
        let word: &'static AtomicU64 = unsafe { page.0.as_ref() };
        // Relaxed everywhere: the word is private to the process and guards no other memory.
        if word.load(Relaxed) == 0 {
            let _ = word.compare_exchange(0, NEXT.fetch_add(1, Relaxed), Relaxed, Relaxed);
        }
        Ok(Epoch { word, value: word.load(Relaxed) })
    }

    /// Whether this is still the process that took it.
    #[inline(always)]
    pub fn is_current(&self) -> bool {
        // Relaxed: see `now`.
        self.word.load(Relaxed) == self.value
    }
}

fn new_page() -> Result<Page, Error> {
    let size = rustix::param::page_size();
    let prot = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at an address that the kernel chooses.
    let page = unsafe { mmap_anonymous(null_mut(), size, prot, MapFlags::PRIVATE) }
        .map_err(Error::system("mmap"))?;
    // SAFETY: the page is ours, and holds nothing yet.
    unsafe { madvise(page, size, Advice::LinuxWipeOnFork) }
        .map_err(Error::system("madvise(MADV_WIPEONFORK)"))?;
    // A successful mapping is never at address zero.
    Ok(Page(NonNull::new(page.cast()).unwrap_or(NonNull::dangling())))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_another_process_and_can_have_an_epoch_of_its_own() {
        let ours = Epoch::now().unwrap();
        assert!(ours.is_current() && Epoch::now().unwrap().is_current());
        // SAFETY: the child makes two loads, a store and `_exit`: nothing that a thread of the
        // parent could hold a lock of.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let inherited = ours.is_current();
            let own = Epoch::now().is_ok_and(|own| own.is_current() && own.value > ours.value);
            let after = ours.is_current();
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(i32::from(inherited || !own || after)) };
        }
        let mut status = 0;
        // SAFETY: our own child, and a live variable for its status.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!(status, 0);
        assert!(ours.is_current());
    }
}
