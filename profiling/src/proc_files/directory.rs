//! An open `/proc/PID`: it goes on meaning the same process even when the pid is given away anew.

use std::ffi::CStr;
use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, Mode, OFlags, Stat};
use rustix::io::Errno;

/// Why a file of a process gave nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadError {
    /// The process is gone.
    Gone,
    /// The kernel does not let us look (another user's process), or lacks the file.
    Refused,
}

impl From<Errno> for ReadError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::SRCH | Errno::NOENT => Self::Gone,
            _ => Self::Refused,
        }
    }
}

/// A handle on one process's folder in `/proc`.
///
/// The kernel ties the folder to the process and not to its number, so no read through this
/// handle ever sees a stranger that was given the same pid.
#[derive(Debug)]
pub(crate) struct ProcessDirectory {
    folder: OwnedFd,
}

impl ProcessDirectory {
    /// Opens `/proc/pid`.
    pub(crate) fn open(pid: u32) -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(format!("/proc/{pid}"), flags, Mode::empty())?;
        Ok(Self { folder })
    }

    /// Reads the whole of one file into `buffer` (which is emptied first).
    pub(crate) fn read(&self, name: &CStr, buffer: &mut Vec<u8>) -> Result<(), ReadError> {
        buffer.clear();
        let file = self.open_file(name)?;
        match std::fs::File::from(file).read_to_end(buffer) {
            Ok(_) => Ok(()),
            Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO).into()),
        }
    }

    /// Opens one file for reading, for those that are read in parts.
    pub(crate) fn open_file(&self, name: &CStr) -> Result<OwnedFd, ReadError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.folder, name, flags, Mode::empty())?)
    }

    /// The state of the file a link in this folder points to (`fd/3`, `map_files/…`).
    pub(crate) fn stat(&self, name: &str) -> Result<Stat, ReadError> {
        Ok(rustix::fs::statat(&self.folder, name, AtFlags::empty())?)
    }

    /// Where a link in this folder points to.
    pub(crate) fn link(&self, name: &str) -> Result<Vec<u8>, ReadError> {
        Ok(rustix::fs::readlinkat(&self.folder, name, Vec::new())?.into_bytes())
    }

    /// The numbers that name the entries of a sub-folder (`task`, `fd`), in the kernel's order.
    pub(crate) fn numbers(&self, name: &CStr) -> Result<Vec<u32>, ReadError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(&self.folder, name, flags, Mode::empty())?;
        Ok(numbered_entries(Dir::new(folder)?))
    }
}

/// The entries of an open folder whose names are numbers.
pub(crate) fn numbered_entries(folder: Dir) -> Vec<u32> {
    folder.filter_map(|entry| entry.ok()?.file_name().to_str().ok()?.parse().ok()).collect()
}
