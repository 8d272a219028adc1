//! A mapped segment, writable or not: what [`Segment`](crate::Segment) and
//! [`ReadOnlySegment`](crate::ReadOnlySegment) share.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::backing::{self, Backing};
use crate::header::{DATA_OFFSET, Header, Kind};
use crate::mapping::Mapping;
use crate::name::NamedFile;
use crate::options::Options;
use crate::state::State;
use crate::{Error, name};

#[derive(Debug)]
pub(crate) struct Memory {
    // Unmapped before the file is left.
    map: Mapping,
    pub backing: Backing,
    pub header: Header,
    /// Bytes of data that the file was found to have. Files of segments never become shorter.
    ///
    /// Relaxed: a hint that saves system calls; the number is true whenever it was stored.
    known: AtomicU64,
}

impl Memory {
    /// Maps a segment whose header was checked.
    pub fn map(
        backing: Backing,
        header: Header,
        writable: bool,
        options: &Options,
    ) -> Result<Memory, Error> {
        expect_plain(&header)?;
        let map = backing::map_segment(backing.file(), &header, writable)?;
        let known = AtomicU64::new(header.size);
        let memory = Memory { map, backing, header, known };
        if header.can_grow() {
            memory.check_growth()?;
        }
        if !options.core_dump {
            memory.map.exclude_from_core_dumps().map_err(Error::system("madvise(DONTDUMP)"))?;
        }
        if options.prefault {
            let size = usize::try_from(memory.size()).unwrap_or(usize::MAX);
            memory.map.prefault(size, writable).map_err(Error::system("madvise(POPULATE)"))?;
        }
        Ok(memory)
    }

    /// Opens the file behind a descriptor and maps it.
    pub fn attach(fd: OwnedFd, writable: bool, options: &Options) -> Result<Memory, Error> {
        let header = backing::read_sealed(fd.as_fd())?;
        Memory::map(Backing::Memfd(File::from(fd)), header, writable, options)
    }

    /// Opens a named file and maps it.
    pub fn open(name: &str, writable: bool, options: &Options) -> Result<Memory, Error> {
        let named = name::open_with(name, options.accepted_owner(), writable)?;
        let header = named.header();
        Memory::map(Backing::Named(named), header, writable, options)
    }

    pub fn named(&self) -> Option<&Arc<NamedFile>> {
        match &self.backing {
            Backing::Named(named) => Some(named),
            Backing::Memfd(_) => None,
        }
    }

    pub fn data(&self) -> *mut u8 {
        self.map.data()
    }

    /// Bytes of data that may be touched now.
    #[inline]
    pub fn size(&self) -> u64 {
        if self.header.can_grow() { self.grown_size() } else { self.header.size }
    }

    fn grown_size(&self) -> u64 {
        let grown = self.state().grown().clamp(self.header.size, self.header.maximum);
        // Relaxed: see the field.
        let known = self.known.load(Ordering::Relaxed);
        if grown <= known {
            return known;
        }
        // The word is in memory that others write: the file decides. It was made longer first, so
        // for a well-behaved peer this changes nothing.
        let found = self.file_size().unwrap_or(known).min(grown).max(known);
        // Relaxed: see the field.
        self.known.fetch_max(found, Ordering::Relaxed);
        found
    }

    /// Bytes of data in the file, by `fstat`.
    pub fn file_size(&self) -> Result<u64, Error> {
        let stat = rustix::fs::fstat(self.backing.file()).map_err(Error::system("fstat"))?;
        Ok(u64::try_from(stat.st_size).unwrap_or(0).saturating_sub(DATA_OFFSET))
    }

    fn check_growth(&self) -> Result<(), Error> {
        let grown = self.state().grown();
        if grown > self.header.maximum {
            return Err(Error::Corrupted { what: "it has grown beyond its maximum" });
        }
        let has = self.file_size()?;
        if has < grown {
            let (file, needed) = (DATA_OFFSET + has, DATA_OFFSET + grown);
            return Err(Error::Truncated { file, needed });
        }
        Ok(())
    }

    /// Fails when the file has fewer bytes than this process may believe.
    pub fn validate(&self) -> Result<(), Error> {
        // The sizes first: who grows makes the file longer before it says so.
        let grown = if self.header.can_grow() { self.state().grown() } else { 0 };
        let needed = self.size();
        let has = self.file_size()?;
        if has < needed {
            let (file, needed) = (DATA_OFFSET + has, DATA_OFFSET + needed);
            return Err(Error::Truncated { file, needed });
        }
        if grown > has {
            return Err(Error::Corrupted { what: "its size is larger than its file" });
        }
        Ok(())
    }

    /// What changes. Its methods that change something are called for writable memory only.
    pub fn state(&self) -> State<'_> {
        // SAFETY: the mapping begins with the header area, is page-aligned and lives as long as
        // the borrow; in a plain segment that stretch is accessed in no other way. Writable where
        // somebody changes it: `Segment` alone does.
        unsafe { State::at(self.map.header()) }
    }
}

fn expect_plain(header: &Header) -> Result<(), Error> {
    if header.kind == Kind::Plain {
        return Ok(());
    }
    Err(Error::WrongType { found: header.type_hash, wanted: "plain memory".to_owned() })
}
