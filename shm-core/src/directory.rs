//! Where named files lie, and how a new one gets its memory.

use std::fs::File;
use std::ops::Range;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::Error;

pub(crate) const DIR: &str = "/dev/shm";
pub(crate) const PREFIX: &str = "shm-core.";

/// How a named file is opened, besides reading or writing: nothing that somebody may have put there
/// instead (a link, a pipe, a terminal) is followed, waited for or acquired.
pub(crate) const OPEN: OFlags =
    OFlags::CLOEXEC.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

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
    expect_room(size)?;
    commit(&file, 0..size)?;
    Ok(file)
}

/// Asked first, so that a request that cannot succeed does not fill the file system on its way.
pub(crate) fn expect_room(size: u64) -> Result<(), Error> {
    if available().is_some_and(|available| available < size) {
        return Err(no_space(size));
    }
    Ok(())
}

/// The kernel would end this process (SIGXFSZ) if it made a file longer than its own limit.
pub(crate) fn expect_within_limit(length: u64) -> Result<(), Error> {
    match rustix::process::getrlimit(rustix::process::Resource::Fsize).current {
        Some(limit) if limit < length => Err(Error::system("RLIMIT_FSIZE")(Errno::FBIG)),
        _ => Ok(()),
    }
}

/// Every byte of the range gets its page now, so that a full file system is an error here, not a
/// SIGBUS later. A file that is shorter becomes longer, one that is longer stays so.
pub(crate) fn commit(file: impl AsFd, range: Range<u64>) -> Result<(), Error> {
    expect_within_limit(range.end)?;
    let mut done = range.start;
    while done < range.end {
        let step = STEP.min(range.end - done);
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), done, step) {
            Ok(()) => done += step,
            Err(Errno::INTR) => {}
            Err(Errno::NOSPC) => return Err(no_space(range.end - range.start)),
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

/// The path behind a name.
pub(crate) fn path_of(name: &str) -> Result<PathBuf, Error> {
    check(name)?;
    Ok(Path::new(DIR).join(format!("{PREFIX}{name}")))
}

/// Where a file without header lies that bears this name: what other programs call `/NAME`.
pub(crate) fn raw_path_of(name: &str) -> Result<PathBuf, Error> {
    check(name)?;
    if name == "." || name == ".." {
        return Err(Error::BadName { name: name.to_owned(), why: "it is a directory" });
    }
    if name.starts_with(PREFIX) {
        let why = "it begins as this crate's own files do";
        return Err(Error::BadName { name: name.to_owned(), why });
    }
    Ok(Path::new(DIR).join(name))
}

/// A name is a plain word.
fn check(name: &str) -> Result<(), Error> {
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
    Ok(())
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
