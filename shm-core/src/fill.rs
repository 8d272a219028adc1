//! Writing the data of a new file, before anybody maps it.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileExt;

use crate::Error;
use crate::header::DATA_OFFSET;

/// Bytes a step when copying from a reader: stays in the second-level cache.
const STEP: usize = 256 << 10;

/// Writes all of the data through the file: the kernel copies into fresh pages without zeroing
/// them first and without a page fault.
pub(crate) fn write_all(file: &File, data: &[u8]) -> Result<(), Error> {
    file.write_all_at(data, DATA_OFFSET).map_err(Error::system("pwrite"))
}

/// Writes exactly `size` bytes from `source`; gives how many there were when there are fewer.
pub(crate) fn write_from(
    file: &File,
    size: u64,
    source: &mut impl Read,
) -> Result<Result<(), u64>, Error> {
    let mut buffer = vec![0u8; STEP];
    let mut done = 0;
    while done < size {
        let want = (size - done).min(STEP as u64) as usize;
        match source.read(&mut buffer[..want]) {
            Ok(0) => return Ok(Err(done)),
            Ok(n) => {
                file.write_all_at(&buffer[..n], DATA_OFFSET + done)
                    .map_err(Error::system("pwrite"))?;
                done += n as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::system("read")(error)),
        }
    }
    Ok(Ok(()))
}
