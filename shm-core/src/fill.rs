//! Writing the data of a new file, before anybody else maps it.
//!
//! Large data is copied into huge pages through a mapping; where there are none, and for small
//! data, it is written through the file, which neither zeroes pages first nor faults.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use crate::header::{DATA_OFFSET, Header};
use crate::mapping::{HUGE, Mapping};
use crate::{Error, backing};

/// Bytes a step when copying from a reader: stays in the second-level cache.
const STEP: usize = 256 << 10;

/// Writes all of the data of a new memfd.
pub(crate) fn write_new(file: &File, header: &Header, data: &[u8]) -> Result<(), Error> {
    match huge_pages(file, header)? {
        Some(map) => {
            // SAFETY: `size` bytes of data are mapped for writing, as long as `data`, and new:
            // nothing else refers to them.
            unsafe { map.data().copy_from_nonoverlapping(data.as_ptr(), map.size()) };
            Ok(())
        }
        None => write_all(file, data),
    }
}

/// Writes all of the data through the file.
pub(crate) fn write_all(file: &File, data: &[u8]) -> Result<(), Error> {
    file.write_all_at(data, DATA_OFFSET).map_err(Error::system("pwrite"))
}

/// Fills a new memfd from `source`; gives how many bytes there were when there are fewer.
pub(crate) fn read_new(
    file: &File,
    header: &Header,
    source: &mut impl Read,
) -> Result<Result<(), u64>, Error> {
    match huge_pages(file, header)? {
        Some(map) => {
            // SAFETY: mapped for writing, zero, and new: nothing else refers to it.
            let data = unsafe { std::slice::from_raw_parts_mut(map.data(), map.size()) };
            read_into(data, source)
        }
        None => write_from(file, header.size, source),
    }
}

/// The data of a new file in huge pages; `None` if it is small or there are none to have.
fn huge_pages(file: &File, header: &Header) -> Result<Option<Mapping>, Error> {
    if header.size < HUGE as u64 {
        return Ok(None);
    }
    let mut map = backing::map_whole(file.as_fd(), header)?;
    Ok(map.take_huge_pages().then_some(map))
}

fn read_into(data: &mut [u8], source: &mut impl Read) -> Result<Result<(), u64>, Error> {
    let mut done = 0;
    while done < data.len() {
        match source.read(&mut data[done..]) {
            Ok(0) => return Ok(Err(done as u64)),
            Ok(n) => done += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::system("read")(error)),
        }
    }
    Ok(Ok(()))
}

/// Through a small buffer and the file.
fn write_from(file: &File, size: u64, source: &mut impl Read) -> Result<Result<(), u64>, Error> {
    let mut buffer = vec![0u8; STEP];
    let mut done = 0;
    while done < size {
        let want = (size - done).min(STEP as u64) as usize;
        match read_into(&mut buffer[..want], source)? {
            Ok(()) => {}
            Err(had) => return Ok(Err(done + had)),
        }
        file.write_all_at(&buffer[..want], DATA_OFFSET + done).map_err(Error::system("pwrite"))?;
        done += want as u64;
    }
    Ok(Ok(()))
}
