//! The socket between parent and worker: short notes, with files attached.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::PoolError;
use crate::protocol::Note;

/// The most files that one note carries.
const FILES: usize = 3;

/// A connected pair of sockets that keep messages apart: the parent's end and the worker's.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd), PoolError> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(PoolError::system("socketpair"))
}

/// Sends a note; `Err(Errno::AGAIN)` when the receiver has too many waiting.
pub(crate) fn send(socket: impl AsFd, note: Note, files: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let bytes = note.encode();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(Errno::INVAL);
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    loop {
        match sendmsg(socket.as_fd(), &[IoSlice::new(&bytes)], &mut control, flags) {
            Err(Errno::INTR) => {}
            result => return result.map(|_| ()),
        }
    }
}

/// A note that arrived.
#[derive(Debug)]
pub(crate) struct Received {
    pub note: Note,
    pub files: Vec<OwnedFd>,
}

/// Takes the next note; `None` when none waits (with `wait`: when the peer is gone).
pub(crate) fn receive(socket: impl AsFd, wait: bool) -> Result<Option<Received>, Errno> {
    let mut bytes = [0; Note::SIZE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags =
        RecvFlags::CMSG_CLOEXEC | if wait { RecvFlags::empty() } else { RecvFlags::DONTWAIT };
    let length = loop {
        match recvmsg(socket.as_fd(), &mut [IoSliceMut::new(&mut bytes)], &mut control, flags) {
            Ok(message) => break message.bytes,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN | Errno::CONNRESET) => return Ok(None),
            Err(errno) => return Err(errno),
        }
    };
    if length == 0 {
        return Ok(None);
    }
    let files = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(files) => Some(files),
            _ => None,
        })
        .flatten()
        .collect();
    match Note::decode(&bytes) {
        Some(note) if length == Note::SIZE => Ok(Some(Received { note, files })),
        _ => Err(Errno::PROTO),
    }
}
