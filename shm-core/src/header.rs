//! The first page of every file: what it is, checked by whoever attaches.
//!
//! The header is written once, before anybody else can open the file, and never changes. An attach
//! reads it with one `pread` into private memory (never through the mapping, which a hostile peer
//! could change between check and use), checks every field, recomputes the layout and compares.

use std::fs::File;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use rustix::fs::{FileType, Stat};

use crate::layout::Layout;
use crate::origin::Origin;
use crate::{Error, SegmentId, ShmSafe};

/// Bytes from the start of the file to the data: one page of the largest page size in use.
///
/// One constant for all machines, so that data begins page-aligned on 4, 16 and 64 KiB pages.
pub(crate) const DATA_OFFSET: u64 = 65_536;

const MAGIC: [u8; 8] = *b"shm-core";
/// Raised whenever the layout of this header, or the meaning of a field, changes.
const FORMAT: u32 = 2;
/// Reads as another number where bytes have another order.
const ENDIAN: u32 = 0x0102_0304;
/// What a file may need that not every build of this format has; none so far.
const FEATURES: u32 = 0;
const SIZE: usize = 136;

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kind {
    /// Memory that every user may write.
    Plain = 1,
    /// An array of one type, exclusive until it is frozen.
    Array = 2,
    /// The control file of a group: who takes part, and who of them is alive.
    Group = 3,
    /// No memory: keeps watch over a file without header, of the same name, for other programs.
    Raw = 4,
}

/// Who ends the life of a *named* file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Lifetime {
    /// Its last user; after the death of all, whoever comes next.
    Users = 0,
    /// Nobody but who asks for it by name: [`crate::remove`].
    Keep = 1,
    /// The [`Scope`](crate::Scope) it was made in; after the death of that, whoever comes next.
    Scope = 2,
}

/// The header's fields, in private memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub kind: Kind,
    pub lifetime: Lifetime,
    pub id: SegmentId,
    /// Bytes of data after [`DATA_OFFSET`] at first.
    pub size: u64,
    /// Bytes of data that it may grow to; [`size`](Header::size) if it may not.
    pub maximum: u64,
    /// Structural hash of the element type; 0 for plain memory.
    pub type_hash: u64,
    /// Size of one element in bytes; 1 for plain memory.
    pub element: u64,
    pub origin: Origin,
}

impl Header {
    pub fn plain(size: u64) -> Result<Header, Error> {
        Header::new(Kind::Plain, size)
    }

    pub fn array(size: u64, layout: &Layout) -> Result<Header, Error> {
        let header = Header::new(Kind::Array, size)?;
        Ok(Header { type_hash: layout.hash(), element: layout.size as u64, ..header })
    }

    pub fn new(kind: Kind, size: u64) -> Result<Header, Error> {
        Ok(Header {
            kind,
            lifetime: Lifetime::Users,
            id: SegmentId::random()?,
            size,
            maximum: size,
            type_hash: 0,
            element: 1,
            origin: Origin::here(),
        })
    }

    /// Whether the memory may become larger than it was made.
    pub fn can_grow(&self) -> bool {
        self.maximum > self.size
    }

    /// Bytes of the whole file at first.
    pub fn file_size(&self) -> u64 {
        DATA_OFFSET + self.size
    }

    pub fn write(&self, file: &File) -> Result<(), Error> {
        file.write_all_at(&self.encode(), 0).map_err(Error::system("pwrite"))
    }

    /// Reads and checks the header of a file that came from outside.
    pub fn read(fd: BorrowedFd<'_>) -> Result<Header, Error> {
        Ok(Header::read_with_stat(fd)?.0)
    }

    /// The same, with what `fstat` said of the file at the moment of the size check.
    pub fn read_with_stat(fd: BorrowedFd<'_>) -> Result<(Header, Stat), Error> {
        let (header, stat) = Header::read_of_any_size(fd)?;
        let (file, needed) = (u64::try_from(stat.st_size).unwrap_or(0), header.file_size());
        if file < needed {
            return Err(Error::Truncated { file, needed });
        }
        if header.origin.is_of_another_boot() {
            return Err(Error::OfAnotherBoot);
        }
        Ok((header, stat))
    }

    /// The header of a file that may lack the memory, or be from before the machine was started:
    /// nothing to be attached to, but ours, and to be taken away.
    pub fn read_of_any_size(fd: BorrowedFd<'_>) -> Result<(Header, Stat), Error> {
        let stat = rustix::fs::fstat(fd).map_err(Error::system("fstat"))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            // Reading a terminal or a device could wait for ever.
            return Err(Error::NOT_REGULAR);
        }
        let mut bytes = [0u8; SIZE];
        let mut filled = 0;
        while filled < SIZE {
            match rustix::io::pread(fd, &mut bytes[filled..], filled as u64) {
                Ok(0) => {
                    let file = u64::try_from(stat.st_size).unwrap_or(0);
                    return Err(Error::Truncated { file, needed: DATA_OFFSET });
                }
                Ok(n) => filled += n,
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(Error::system("pread")(errno)),
            }
        }
        Ok((Header::decode(&bytes)?, stat))
    }

    /// Fails unless the segment holds an array of `T`; gives its length in elements.
    pub fn expect_array<T: ShmSafe>(&self) -> Result<usize, Error> {
        let layout = T::LAYOUT;
        let size = size_of::<T>();
        // The element size is checked by itself: a header may say the right hash and a smaller
        // element, and so a length that does not fit. An element without bytes has no length.
        let same_type = self.type_hash == layout.hash() && self.element == size as u64;
        if self.kind != Kind::Array || !same_type || size == 0 {
            return Err(Error::WrongType { found: self.type_hash, wanted: layout.to_string() });
        }
        Ok((self.size / self.element) as usize)
    }

    fn encode(&self) -> [u8; SIZE] {
        let mut out = Writer { bytes: [0; SIZE], at: 0 };
        out.put(&MAGIC);
        out.put(&FORMAT.to_ne_bytes());
        out.put(&ENDIAN.to_ne_bytes());
        out.put(&usize::BITS.to_ne_bytes());
        out.put(&(self.kind as u32).to_ne_bytes());
        out.put(&DATA_OFFSET.to_ne_bytes());
        out.put(&self.size.to_ne_bytes());
        out.put(&self.maximum.to_ne_bytes());
        out.put(&self.id.0[0].to_ne_bytes());
        out.put(&self.id.0[1].to_ne_bytes());
        out.put(&self.type_hash.to_ne_bytes());
        out.put(&self.element.to_ne_bytes());
        out.put(&page_size().to_ne_bytes());
        out.put(&FEATURES.to_ne_bytes());
        out.put(&(self.lifetime as u32).to_ne_bytes());
        out.put(&self.origin.pid.to_ne_bytes());
        out.put(&self.origin.start.to_ne_bytes());
        out.put(&self.origin.created.to_ne_bytes());
        out.put(&self.origin.boot[0].to_ne_bytes());
        out.put(&self.origin.boot[1].to_ne_bytes());
        let sum = checksum(&out.bytes[..out.at]);
        out.put(&sum.to_ne_bytes());
        debug_assert_eq!(out.at, SIZE);
        out.bytes
    }

    /// Checks in the order that gives the most helpful error: foreign, older or newer, corrupted,
    /// built otherwise.
    fn decode(bytes: &[u8; SIZE]) -> Result<Header, Error> {
        let mut input = Reader { bytes, at: 0 };
        if input.take::<8>() != MAGIC {
            return Err(Error::NotASegment { what: "it does not begin with our magic number" });
        }
        let format = input.u32();
        expect("byte order mark", input.u32().into(), ENDIAN.into())?;
        expect("format version", format.into(), FORMAT.into())?;
        expect("pointer width", input.u32().into(), usize::BITS.into())?;
        let sum = Reader { bytes, at: SIZE - 8 }.u64();
        if sum != checksum(&bytes[..SIZE - 8]) {
            return Err(Error::Corrupted { what: "its checksum does not match" });
        }
        let kind = match input.u32() {
            1 => Kind::Plain,
            2 => Kind::Array,
            3 => Kind::Group,
            4 => Kind::Raw,
            _ => return Err(Error::Corrupted { what: "unknown kind" }),
        };
        expect("data offset", input.u64(), DATA_OFFSET)?;
        let (size, maximum) = (input.u64(), input.u64());
        let id = SegmentId([input.u64(), input.u64()]);
        let (type_hash, element) = (input.u64(), input.u64());
        expect("page size", input.u32().into(), page_size().into())?;
        expect("set of features", input.u32().into(), FEATURES.into())?;
        let lifetime = match input.u32() {
            0 => Lifetime::Users,
            1 => Lifetime::Keep,
            2 => Lifetime::Scope,
            _ => return Err(Error::Corrupted { what: "unknown lifetime" }),
        };
        let (pid, start, created) = (input.u32(), input.u64(), input.u64());
        let origin = Origin { boot: [input.u64(), input.u64()], pid, start, created };
        let header = Header { kind, lifetime, id, size, maximum, type_hash, element, origin };
        header.check_sizes()?;
        Ok(header)
    }

    fn check_sizes(&self) -> Result<(), Error> {
        let corrupted = |what| Err(Error::Corrupted { what });
        if self.size == 0 || self.size > MAX_SIZE {
            return corrupted("impossible size");
        }
        if self.element == 0 || !self.size.is_multiple_of(self.element) {
            return corrupted("size is not a multiple of the element size");
        }
        if self.maximum < self.size || self.maximum > MAX_SIZE {
            return corrupted("impossible maximum");
        }
        if self.can_grow() && self.kind != Kind::Plain {
            return corrupted("only plain memory grows");
        }
        Ok(())
    }
}

/// The largest data size: what `mmap` and slices can address.
pub(crate) const MAX_SIZE: u64 = (isize::MAX as u64) - DATA_OFFSET;

/// Bytes of a page of memory; the same all over a running machine.
fn page_size() -> u32 {
    static SIZE: OnceLock<u32> = OnceLock::new();
    *SIZE.get_or_init(|| u32::try_from(rustix::param::page_size()).unwrap_or(4096))
}

fn expect(what: &'static str, found: u64, ours: u64) -> Result<(), Error> {
    if found == ours { Ok(()) } else { Err(Error::Incompatible { what, found, ours }) }
}

/// 64-bit FNV-1a: finds accidents, not forgeries (every field is checked besides).
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

struct Writer {
    bytes: [u8; SIZE],
    at: usize,
}

impl Writer {
    fn put(&mut self, field: &[u8]) {
        self.bytes[self.at..self.at + field.len()].copy_from_slice(field);
        self.at += field.len();
    }
}

struct Reader<'a> {
    bytes: &'a [u8; SIZE],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        out.copy_from_slice(&self.bytes[self.at..self.at + N]);
        self.at += N;
        out
    }

    fn u32(&mut self) -> u32 {
        u32::from_ne_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_ne_bytes(self.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Header {
        Header::array(240, &<[u8; 24]>::LAYOUT).unwrap()
    }

    #[test]
    fn a_header_survives_its_own_encoding() {
        let header = sample();
        assert_eq!(Header::decode(&header.encode()).unwrap(), header);
    }

    #[test]
    fn every_single_changed_bit_is_noticed() {
        let bytes = sample().encode();
        for bit in 0..SIZE * 8 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&changed).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_foreign_version_is_named_as_such_even_with_a_valid_checksum() {
        let mut bytes = sample().encode();
        bytes[8..12].copy_from_slice(&(FORMAT + 1).to_ne_bytes());
        let sum = checksum(&bytes[..SIZE - 8]);
        bytes[SIZE - 8..].copy_from_slice(&sum.to_ne_bytes());
        let error = Header::decode(&bytes).unwrap_err();
        assert!(matches!(error, Error::Incompatible { what: "format version", .. }), "{error}");
    }
}
