//! The first page of every file: what it is, checked by whoever attaches.
//!
//! The header is written once, before anybody else can open the file, and never changes. An attach
//! reads it with one `pread` into private memory (never through the mapping, which a hostile peer
//! could change between check and use), checks every field, recomputes the layout and compares.

use std::fs::File;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{FileType, Stat};

use crate::layout::Layout;
use crate::{Error, SegmentId, ShmSafe};

/// Bytes from the start of the file to the data: one page of the largest page size in use.
///
/// One constant for all machines, so that data begins page-aligned on 4, 16 and 64 KiB pages.
pub(crate) const DATA_OFFSET: u64 = 65_536;

const MAGIC: [u8; 8] = *b"shm-core";
/// Raised whenever the layout of this header, or the meaning of a field, changes.
const FORMAT: u32 = 1;
/// Reads as another number where bytes have another order.
const ENDIAN: u32 = 0x0102_0304;
const SIZE: usize = 80;

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
}

/// The header's fields, in private memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub kind: Kind,
    pub id: SegmentId,
    /// Bytes of data after [`DATA_OFFSET`].
    pub size: u64,
    /// Structural hash of the element type; 0 for plain memory.
    pub type_hash: u64,
    /// Size of one element in bytes; 1 for plain memory.
    pub element: u64,
}

impl Header {
    pub fn plain(size: u64) -> Result<Header, Error> {
        Ok(Header { kind: Kind::Plain, id: SegmentId::random()?, size, type_hash: 0, element: 1 })
    }

    pub fn array(size: u64, layout: &Layout) -> Result<Header, Error> {
        Ok(Header {
            kind: Kind::Array,
            id: SegmentId::random()?,
            size,
            type_hash: layout.hash(),
            element: layout.size as u64,
        })
    }

    /// Bytes of the whole file.
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
        let stat = rustix::fs::fstat(fd).map_err(Error::system("fstat"))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            // Reading a terminal or a device could wait for ever.
            return Err(Error::NOT_REGULAR);
        }
        let file_size = u64::try_from(stat.st_size).unwrap_or(0);
        let mut bytes = [0u8; SIZE];
        let mut filled = 0;
        while filled < SIZE {
            match rustix::io::pread(fd, &mut bytes[filled..], filled as u64) {
                Ok(0) => {
                    return Err(Error::Truncated { file: file_size, needed: DATA_OFFSET });
                }
                Ok(n) => filled += n,
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(Error::system("pread")(errno)),
            }
        }
        let header = Header::decode(&bytes)?;
        if file_size < header.file_size() {
            return Err(Error::Truncated { file: file_size, needed: header.file_size() });
        }
        Ok((header, stat))
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
        out.put(&self.id.0[0].to_ne_bytes());
        out.put(&self.id.0[1].to_ne_bytes());
        out.put(&self.type_hash.to_ne_bytes());
        out.put(&self.element.to_ne_bytes());
        let sum = checksum(&out.bytes[..out.at]);
        out.put(&sum.to_ne_bytes());
        debug_assert_eq!(out.at, SIZE);
        out.bytes
    }

    /// Checks in the order that gives the most helpful error: foreign, older or newer, built
    /// otherwise, corrupted.
    fn decode(bytes: &[u8; SIZE]) -> Result<Header, Error> {
        let mut input = Reader { bytes, at: 0 };
        if input.take::<8>() != MAGIC {
            return Err(Error::NotASegment { what: "it does not begin with our magic number" });
        }
        let format = u32::from_ne_bytes(input.take());
        let endian = u32::from_ne_bytes(input.take());
        if endian != ENDIAN {
            return Err(incompatible("byte order mark", endian.into(), ENDIAN.into()));
        }
        if format != FORMAT {
            return Err(incompatible("format version", format.into(), FORMAT.into()));
        }
        let width = u32::from_ne_bytes(input.take());
        if width != usize::BITS {
            return Err(incompatible("pointer width", width.into(), usize::BITS.into()));
        }
        let kind = u32::from_ne_bytes(input.take());
        let data_offset = u64::from_ne_bytes(input.take());
        let size = u64::from_ne_bytes(input.take());
        let id = SegmentId([u64::from_ne_bytes(input.take()), u64::from_ne_bytes(input.take())]);
        let type_hash = u64::from_ne_bytes(input.take());
        let element = u64::from_ne_bytes(input.take());
        let sum_of = checksum(&bytes[..input.at]);
        if u64::from_ne_bytes(input.take()) != sum_of {
            return Err(Error::Corrupted { what: "its checksum does not match" });
        }
        let kind = match kind {
            1 => Kind::Plain,
            2 => Kind::Array,
            3 => Kind::Group,
            _ => return Err(Error::Corrupted { what: "unknown kind" }),
        };
        if data_offset != DATA_OFFSET {
            return Err(incompatible("data offset", data_offset, DATA_OFFSET));
        }
        if size == 0 || size > MAX_SIZE {
            return Err(Error::Corrupted { what: "impossible size" });
        }
        if element == 0 || !size.is_multiple_of(element) {
            return Err(Error::Corrupted { what: "size is not a multiple of the element size" });
        }
        Ok(Header { kind, id, size, type_hash, element })
    }
}

/// The largest data size: what `mmap` and slices can address.
pub(crate) const MAX_SIZE: u64 = (isize::MAX as u64) - DATA_OFFSET;

fn incompatible(what: &'static str, found: u64, ours: u64) -> Error {
    Error::Incompatible { what, found, ours }
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
