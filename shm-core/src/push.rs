//! Pushing a file to a peer over a Unix socket, so that handles of what lies in it can be redeemed
//! there.
//!
//! Any connected Unix socket will do, of the stream or of the sequenced-packet kind, if nothing
//! else is sent over it. Push the files first, then send the handle by whatever way: who redeems a
//! handle whose file has not come gets [`Error::NotReachable`], never a wait.
//!
//! ```
//! use shm_core::{Frozen, handle, push};
//! use std::os::unix::net::UnixStream;
//!
//! let (ours, theirs) = UnixStream::pair()?;
//! let data = Frozen::copy_of(&[1.0f64, 2.0])?;
//! let (bytes, files) = handle::collect(|| serde_json::to_string(&data));
//! for file in &files {
//!     push::send(&ours, file)?;
//! }
//! // In the other process:
//! let id = push::receive(&theirs)?.ok_or("nobody there")?;
//! let same: Frozen<f64> = serde_json::from_str(&bytes?)?;
//! assert_eq!(same.id(), id);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::handle::{self, Reachable};
use crate::{Error, SegmentId};

/// A message: a word that tells it from noise, and the id of the file that comes with it.
const SIZE: usize = 24;
const WORD: [u8; 8] = *b"shm-push";

/// Sends one file. Waits while the socket is full, unless that does not block.
///
/// # Errors
///
/// [`Error::System`]: `EPIPE` when the peer is gone.
pub fn send(socket: impl AsFd, file: &Reachable) -> Result<(), Error> {
    let mut bytes = [0; SIZE];
    bytes[..8].copy_from_slice(&WORD);
    bytes[8..].copy_from_slice(&file.id().to_bytes());
    let mut sent = 0;
    while sent < SIZE {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let files = [file.as_fd()];
        // A stream may take less than all at once; the file went with the first byte.
        if sent == 0 && !control.push(SendAncillaryMessage::ScmRights(&files)) {
            return Err(Error::system("sendmsg")(Errno::INVAL));
        }
        let rest = [IoSlice::new(&bytes[sent..])];
        match sendmsg(&socket, &rest, &mut control, SendFlags::NOSIGNAL) {
            Ok(n) => sent += n,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::system("sendmsg")(errno)),
        }
    }
    Ok(())
}

/// Takes in one file that a peer sent, as [`handle::offer`] does; `None` when the peer has closed
/// its end. Waits for it, unless the socket does not block.
///
/// The file is kept open until [`handle::forget`].
///
/// # Errors
///
/// What [`handle::offer`] says of the file; [`Error::NotASegment`] for anything else that was sent;
/// [`Error::System`]: `EAGAIN` when nothing waits in a socket that does not block, `EMFILE` when
/// this process has no descriptor left for the file.
pub fn receive(socket: impl AsFd) -> Result<Option<SegmentId>, Error> {
    let mut bytes = [0; SIZE];
    let mut had = 0;
    let mut file = None;
    while had < SIZE {
        let (n, found) = match receive_some(&socket, &mut bytes[had..]) {
            Err(Errno::INTR) => continue,
            Err(Errno::CONNRESET) => (0, None),
            Err(errno) => return Err(Error::system("recvmsg")(errno)),
            Ok(some) => some,
        };
        match n {
            0 if had == 0 => return Ok(None),
            0 => return Err(NOT_A_PUSH),
            n => had += n,
        }
        file = file.or(found);
    }
    let (word, id) = bytes.split_at(8);
    let (Some(file), Ok(id)) = (file, <[u8; 16]>::try_from(id)) else { return Err(NOT_A_PUSH) };
    let id = SegmentId::from_bytes(id);
    if word != WORD || handle::identity(file.as_fd())? != id {
        return Err(NOT_A_PUSH);
    }
    handle::offer(file).map(Some)
}

const NOT_A_PUSH: Error = Error::NotASegment { what: "what came over the socket is no push" };

fn receive_some(socket: impl AsFd, bytes: &mut [u8]) -> Result<(usize, Option<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(bytes)];
    let message = recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let file = control.drain().find_map(|message| match message {
        // Those beyond the first are closed here.
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    if message.flags.contains(ReturnFlags::CTRUNC) && file.is_none() {
        return Err(Errno::MFILE);
    }
    Ok((message.bytes, file))
}
