//! A stand-in for the real segment: anonymous memory that can be attached by its descriptor.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

/// Why a segment could not be made or attached.
#[derive(Debug, thiserror::Error)]
#[error("the system refused the segment: {0}")]
pub struct Error(#[from] rustix::io::Errno);

#[derive(Debug)]
struct Mapping {
    fd: OwnedFd,
    start: NonNull<u8>,
    size: usize,
}

// SAFETY: a mapping is memory; who touches it synchronizes by its own means.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `map` and nobody holds a pointer past the last clone.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.size) };
    }
}

/// Shared memory.
#[derive(Clone, Debug)]
pub struct Segment(Arc<Mapping>);

impl Segment {
    /// Zeroed memory of at least `size` bytes.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn anonymous(size: usize) -> Result<Segment, Error> {
        let fd = rustix::fs::memfd_create("segment", rustix::fs::MemfdFlags::CLOEXEC)?;
        let size = size.max(1).next_multiple_of(4096);
        rustix::fs::ftruncate(&fd, size as u64)?;
        Self::map(fd, size)
    }

    /// The same memory in another process.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn attach(fd: OwnedFd) -> Result<Segment, Error> {
        let size = rustix::fs::fstat(&fd)?.st_size as usize;
        Self::map(fd, size)
    }

    fn map(fd: OwnedFd, size: usize) -> Result<Segment, Error> {
        use rustix::mm::{MapFlags, ProtFlags};
        // SAFETY: a fresh shared mapping replaces nothing.
        let start = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                size,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &fd,
                0,
            )
        }?;
        let start = NonNull::new(start.cast()).ok_or(rustix::io::Errno::NOMEM)?;
        Ok(Segment(Arc::new(Mapping { fd, start, size })))
    }

    /// Start of the data region.
    pub fn data(&self) -> NonNull<u8> {
        self.0.start
    }

    /// Size of the data region in bytes.
    pub fn size(&self) -> usize {
        self.0.size
    }
}

impl AsFd for Segment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }
}
