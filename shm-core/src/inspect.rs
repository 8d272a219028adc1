//! What named segments there are: how big, how old, who made them, and who uses them.
//!
//! ```
//! for listed in shm_core::inspect::list()? {
//!     match listed.found {
//!         Ok(found) => println!("{}: {} bytes, {:?}", listed.name, found.size, found.users),
//!         Err(error) => println!("{}: {error}", listed.name),
//!     }
//! }
//! # Ok::<(), shm_core::Error>(())
//! ```
//!
//! The command `shm` (feature `cli`) prints this.

use std::fs::File;
use std::ops::RangeInclusive;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::directory::{self, DIR, PREFIX};
use crate::header::{DATA_OFFSET, Header, Kind, Lifetime};
use crate::name::{Inode, Table, inode_of, table, uses};
use crate::origin::{self, Origin};
use crate::record_lock::{Byte, held_by_another};
use crate::{Error, SegmentId, raw, state};

/// What a named segment is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// A [`Segment`](crate::Segment).
    Memory,
    /// A [`NamedFrozen`](crate::NamedFrozen) array.
    Array,
    /// The control file of a [`Group`](crate::Group).
    Group,
    /// A [`RawSegment`](crate::RawSegment): the memory itself lies in a file of the same name.
    Raw,
}

/// How long a name stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stays {
    /// As long as a process uses it.
    WhileUsed,
    /// As long as the [`Scope`](crate::Scope) lives that it was made in.
    WithScope,
    /// Until it is [`remove`](crate::remove)d.
    UntilRemoved,
}

/// A process that uses a segment, or whose scope owns it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct User {
    /// Its process id as this process sees it; 0 for one of another pid namespace.
    pub pid: u32,
    /// Its command, as in `/proc/PID/comm`; empty if that cannot be read.
    pub command: String,
}

/// What is known of a named segment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Found {
    /// Its identity.
    pub id: SegmentId,
    /// What it is for.
    pub content: Content,
    /// How long its name stays.
    pub stays: Stays,
    /// Bytes of its data now.
    pub size: u64,
    /// Bytes of data that it may grow to.
    pub maximum: u64,
    /// Bytes of memory that its file takes.
    pub resident: u64,
    /// The user who owns the file.
    pub owner: u32,
    /// Permission bits of the file.
    pub mode: u32,
    /// When it was made.
    pub created: SystemTime,
    /// The process that made it, by its own pid namespace.
    pub creator: u32,
    /// Whether a process of that id and start time lives here.
    pub creator_lives: bool,
    /// The processes that use it, by their locks (`/proc/locks`). Programs that read a raw
    /// segment without this crate are not among them.
    pub users: Vec<User>,
    /// The process of the scope that owns it, if that lives.
    pub scope: Option<User>,
}

impl Found {
    /// Whether nobody is left for whom the name would stay: a [`sweep`](crate::sweep) takes it away.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        match self.stays {
            Stays::WhileUsed => self.users.is_empty(),
            Stays::WithScope => self.scope.is_none(),
            Stays::UntilRemoved => false,
        }
    }
}

/// A name in the directory of segments.
#[derive(Debug)]
#[non_exhaustive]
pub struct Listed {
    /// The segment's name.
    pub name: String,
    /// What is known of it, or why that is nothing.
    pub found: Result<Found, Error>,
}

/// All named segments, by name, of whatever user: those that this process may not read with the
/// error that says so.
///
/// # Errors
///
/// [`Error::System`] when `/dev/shm` cannot be listed.
pub fn list() -> Result<Vec<Listed>, Error> {
    let entries = std::fs::read_dir(DIR).map_err(Error::system("open(/dev/shm)"))?;
    let mut all: Vec<Listed> = entries
        .flatten()
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_prefix(PREFIX)?.to_owned()))
        .map(|name| Listed { found: one(&name), name })
        // Gone since the directory was read.
        .filter(|listed| !matches!(listed.found, Err(Error::NotFound { .. })))
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// What is known of one segment. Does not become a user of it.
///
/// # Errors
///
/// [`Error::NotFound`], [`Error::BadName`]; whatever
/// [`Segment::attach`](crate::Segment::attach) says of a file that is no segment of this build;
/// [`Error::System`].
pub fn one(name: &str) -> Result<Found, Error> {
    let path = directory::path_of(name)?;
    // Outlives the guard: dropping the last reference takes the table's lock.
    let known;
    let mut table = table();
    let files = table.get_or_insert_default();
    known = files.get(&path).and_then(|entry| entry.file.upgrade());
    let opened;
    let (file, header, stat) = match &known {
        // Opening and closing a file that this process uses would release our lock on it.
        Some(named) if named.is_still_called_so() => {
            let stat = rustix::fs::fstat(named.file()).map_err(Error::system("fstat"))?;
            (named.file(), named.header(), stat)
        }
        _ => {
            opened = open(files, name, &path)?;
            let (header, stat) = Header::read_with_stat(opened.as_fd())?;
            (&opened, header, stat)
        }
    };
    let (size, resident) = match header.kind {
        Kind::Raw => {
            raw::watched_stat(file, &path).map_or((0, 0), |raw| (bytes(&raw), taken(&raw)))
        }
        _ => (size_now(file, &header, &stat), taken(&stat)),
    };
    let locks = locks_on(inode_of(&stat));
    let Origin { pid, start, created, .. } = header.origin;
    Ok(Found {
        id: header.id,
        content: match header.kind {
            Kind::Plain => Content::Memory,
            Kind::Array => Content::Array,
            Kind::Group => Content::Group,
            Kind::Raw => Content::Raw,
        },
        stays: match header.lifetime {
            Lifetime::Users => Stays::WhileUsed,
            Lifetime::Scope => Stays::WithScope,
            Lifetime::Keep => Stays::UntilRemoved,
        },
        size,
        maximum: header.maximum.max(size),
        resident,
        owner: stat.st_uid,
        mode: stat.st_mode & 0o7777,
        created: UNIX_EPOCH + Duration::from_nanos(created),
        creator: pid,
        creator_lives: origin::start_of(pid).is_some_and(|found| found == start),
        users: holders(file, &locks, Byte::Users),
        scope: holders(file, &locks, Byte::Scope).into_iter().next(),
    })
}

fn open(files: &Table, name: &str, path: &Path) -> Result<File, Error> {
    let missing = || Error::NotFound { name: name.to_owned() };
    let stat = rustix::fs::lstat(path).map_err(|errno| match errno {
        Errno::NOENT => missing(),
        errno => Error::system("lstat")(errno),
    })?;
    // See above: a second name of a segment in use here, or one that is just being left.
    if uses(files, inode_of(&stat)) {
        return Err(Error::InUse { name: name.to_owned() });
    }
    match rustix::fs::open(path, directory::OPEN | OFlags::RDONLY, Mode::empty()) {
        Ok(fd) => Ok(File::from(fd)),
        Err(Errno::NOENT) => Err(missing()),
        Err(Errno::LOOP) => Err(Error::NotASegment { what: "it is a symbolic link" }),
        Err(errno) => Err(Error::system("open")(errno)),
    }
}

fn bytes(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

fn taken(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512)
}

/// What the size word says, as far as the file bears it out.
fn size_now(file: &File, header: &Header, stat: &Stat) -> u64 {
    let mut word = [0; 8];
    if !header.can_grow() || file.read_exact_at(&mut word, state::SIZE_AT as u64).is_err() {
        return header.size;
    }
    let most = header.maximum.min(bytes(stat).saturating_sub(DATA_OFFSET)).max(header.size);
    u64::from_ne_bytes(word).clamp(header.size, most)
}

/// A record lock: whose, and on which bytes.
struct Held {
    pid: u32,
    bytes: RangeInclusive<u64>,
}

/// The record locks on a file. Those of other pid namespaces are not shown.
fn locks_on((device, inode): Inode) -> Vec<Held> {
    let text = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let file = format!("{major:02x}:{minor:02x}:{inode}");
    text.lines().filter_map(|line| held(line, &file)).collect()
}

/// `1: POSIX  ADVISORY  READ 1234 00:19:42 0 0`
fn held(line: &str, file: &str) -> Option<Held> {
    let mut words = line.split_ascii_whitespace().skip(1);
    // Not `->`: one that waits.
    words.next().filter(|kind| *kind == "POSIX")?;
    let pid = words.nth(2)?.parse().ok()?;
    words.next().filter(|found| *found == file)?;
    let (start, end) = (words.next()?.parse().ok()?, words.next()?.parse().unwrap_or(u64::MAX));
    Some(Held { pid, bytes: start..=end })
}

fn holders(file: &File, locks: &[Held], byte: Byte) -> Vec<User> {
    let holds = |held: &&Held| held.bytes.contains(&byte.offset());
    let mut pids: Vec<u32> = locks.iter().filter(holds).map(|held| held.pid).collect();
    pids.sort_unstable();
    pids.dedup();
    if pids.is_empty() && matches!(held_by_another(file, byte), Ok(Some(_))) {
        pids.push(0);
    }
    let command = |pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    pids.into_iter().map(|pid| User { pid, command: command(pid).trim_end().to_owned() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_known_by_its_file_and_its_bytes() {
        let line = "7: POSIX  ADVISORY  WRITE 1234 00:1a:42 1 1";
        let found = held(line, "00:1a:42").unwrap();
        assert_eq!((found.pid, found.bytes), (1234, 1..=1));
        assert!(held(line, "00:1a:421").is_none());
        let to_the_end = held("7: POSIX  ADVISORY  READ 5 00:1a:42 0 EOF", "00:1a:42").unwrap();
        assert!(to_the_end.bytes.contains(&9));
        for other in [
            "7: -> POSIX  ADVISORY  WRITE 1234 00:1a:42 1 1",
            "7: FLOCK  ADVISORY  WRITE 1234 00:1a:42 0 EOF",
            "7: OFDLCK ADVISORY  WRITE -1 00:1a:42 0 0",
            "",
        ] {
            assert!(held(other, "00:1a:42").is_none(), "{other}");
        }
    }
}
