//! Where named files lie, and how a new one gets its memory.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::Error;

pub(crate) const DIR: &str = "/dev/shm";
pub(crate) const PREFIX: &str = "shm-core.";

/// How a named file is opened: nothing that somebody may have put there instead (a link, a pipe, a
/// terminal) is followed, waited for or acquired.
pub(crate) const OPEN: OFlags = OFlags::RDWR
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// Bytes that one `fallocate` asks for: a signal undoes a call that it interrupts, so that a
/// program with a profiling timer would never get a large file in one piece.
const STEP: u64 = 1 << 20;

/// A file without a name on the file system of named segments, `size` bytes, all committed.
pub(crate) fn unnamed(size: u64) -> Result<File, Error> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = match rustix::fs::open(DIR, flags, Mode::RUSR | Mode::WUSR) {
        Ok(fd) => File::from(fd),
        Err(Errno::NOSPC) => return Err(no_space(size)),
        Err(errno) => return Err(Error::system("open(/dev/shm, O_TMPFILE)")(errno)),
    };
    commit(&file, size)?;
    Ok(file)
}

/// Every byte gets its page now, so that a full file system is an error here, not a SIGBUS later.
fn commit(file: &File, size: u64) -> Result<(), Error> {
    // Asked first, so that a request that cannot succeed does not fill the file system on its way.
    if available().is_some_and(|available| available < size) {
        return Err(no_space(size));
    }
    let mut done = 0;
    while done < size {
        let step = STEP.min(size - done);
        match rustix::fs::fallocate(file, FallocateFlags::empty(), done, step) {
            Ok(()) => done += step,
            Err(Errno::INTR) => {}
            Err(Errno::NOSPC) => return Err(no_space(size)),
            Err(errno) => return Err(Error::system("fallocate")(errno)),
        }
    }
    Ok(())
}

/// Bytes free; `None` when the file system has no limit.
fn available() -> Option<u64> {
    let stat = rustix::fs::statvfs(DIR).ok()?;
    (stat.f_blocks > 0).then(|| stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn no_space(size: u64) -> Error {
    Error::NoSpace { size, available: available().unwrap_or(0), dir: DIR.into() }
}

/// The path behind a name, which must be a plain word.
pub(crate) fn path_of(name: &str) -> Result<PathBuf, Error> {
    let bad = |why| Err(Error::BadName { name: name.to_owned(), why });
    if name.is_empty() {
        return bad("it is empty");
    }
    if name.len() > 200 {
        return bad("it is longer than 200 bytes");
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        return bad("it holds another character");
    }
    Ok(Path::new(DIR).join(format!("{PREFIX}{name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_leave_the_directory_are_refused() {
        for name in ["", "a/b", "../x", "a b", "ä", "a\0b", &"x".repeat(201)] {
            assert!(matches!(path_of(name), Err(Error::BadName { .. })), "{name:?}");
        }
        assert!(path_of("run-7.data_1").is_ok());
        assert!(path_of(&"x".repeat(200)).is_ok());
    }

    #[test]
    fn a_size_that_no_machine_has_is_refused_before_anything_is_taken() {
        match unnamed(1 << 60) {
            Err(Error::NoSpace { size, available, .. }) => assert!(available < size),
            // A file system without a limit says so in its own words.
            other => assert!(other.is_err(), "{other:?}"),
        }
    }
}
