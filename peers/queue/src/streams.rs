//! Bytes in pieces: our pipe, the kernel's pipe and socket, ipc-channel.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use ipc_channel::ipc::{IpcBytesReceiver, IpcBytesSender, bytes_channel};
use ipc_queue::pipe;
use method::{Outcome, Promise};
use shm_core::Segment;

use crate::ends::Waiting;

/// The writing end of a byte stream.
pub trait Put {
    /// Writes the whole piece.
    fn put(&mut self, piece: &[u8]) -> Outcome<()>;
}

/// The reading end.
pub trait Take {
    /// Fills the whole piece.
    fn take(&mut self, piece: &mut [u8]) -> Outcome<()>;
}

/// A kind of byte stream.
pub trait Stream {
    /// As rows name it.
    const NAME: &'static str;
    /// What it keeps when a process is killed.
    const PROMISE: Promise;
    /// What becomes the writing end.
    type PutSeed: Send;
    /// What becomes the reading end.
    type TakeSeed: Send;
    /// The writing end.
    type Put: Put;
    /// The reading end.
    type Take: Take;

    /// A new stream.
    fn pair() -> Outcome<(Self::PutSeed, Self::TakeSeed)>;
    /// The writing end, made where it is used.
    fn writer(seed: Self::PutSeed) -> Outcome<Self::Put>;
    /// The reading end, made where it is used.
    fn reader(seed: Self::TakeSeed, waiting: Waiting) -> Outcome<Self::Take>;
}

/// What the kernel's streams keep.
pub const KERNEL: Promise = Promise::keeps("what was written; end of file when the writer is gone");

/// Room in our pipe and in the kernel's.
const ROOM: usize = 1 << 20;

/// `ipc_queue::pipe`.
#[derive(Debug)]
pub struct Ours;

impl Stream for Ours {
    const NAME: &'static str = "ipc-queue pipe";
    const PROMISE: Promise = crate::ours::PROMISE;
    type PutSeed = OwnedFd;
    type TakeSeed = OwnedFd;
    type Put = pipe::Writer;
    type Take = pipe::Reader;

    fn pair() -> Outcome<(OwnedFd, OwnedFd)> {
        let segment = Segment::anonymous(pipe::required_size(ROOM)?)?;
        pipe::create(&segment, 0, ROOM)?;
        let end = || segment.as_fd().try_clone_to_owned();
        Ok((end()?, end()?))
    }

    fn writer(seed: OwnedFd) -> Outcome<pipe::Writer> {
        Ok(pipe::attach_writer(&Segment::attach(seed)?, 0)?)
    }

    fn reader(seed: OwnedFd, waiting: Waiting) -> Outcome<pipe::Reader> {
        let mut reader = pipe::attach_reader(&Segment::attach(seed)?, 0)?;
        if waiting == Waiting::Asleep {
            reader.set_spin_limit(0);
        }
        Ok(reader)
    }
}

/// The kernel's pipe, with as much room as it gives to anybody.
#[derive(Debug)]
pub struct KernelPipe;

impl Stream for KernelPipe {
    const NAME: &'static str = "pipe(2)";
    const PROMISE: Promise = KERNEL;
    type PutSeed = OwnedFd;
    type TakeSeed = OwnedFd;
    type Put = File;
    type Take = File;

    fn pair() -> Outcome<(OwnedFd, OwnedFd)> {
        let (read, write) = rustix::pipe::pipe()?;
        rustix::pipe::fcntl_setpipe_size(&write, ROOM)?;
        Ok((write, read))
    }

    fn writer(seed: OwnedFd) -> Outcome<File> {
        Ok(seed.into())
    }

    fn reader(seed: OwnedFd, _waiting: Waiting) -> Outcome<File> {
        Ok(seed.into())
    }
}

/// A connected pair of unix stream sockets.
#[derive(Debug)]
pub struct Socket;

impl Stream for Socket {
    const NAME: &'static str = "unix socket";
    const PROMISE: Promise = KERNEL;
    type PutSeed = UnixStream;
    type TakeSeed = UnixStream;
    type Put = UnixStream;
    type Take = UnixStream;

    fn pair() -> Outcome<(UnixStream, UnixStream)> {
        Ok(UnixStream::pair()?)
    }

    fn writer(seed: UnixStream) -> Outcome<UnixStream> {
        Ok(seed)
    }

    fn reader(seed: UnixStream, _waiting: Waiting) -> Outcome<UnixStream> {
        Ok(seed)
    }
}

/// Servo's channel, in its form for bytes.
#[derive(Debug)]
pub struct IpcChannel;

impl Stream for IpcChannel {
    const NAME: &'static str = "ipc-channel 0.23.1";
    const PROMISE: Promise = KERNEL;
    type PutSeed = IpcBytesSender;
    type TakeSeed = IpcBytesReceiver;
    type Put = IpcBytesSender;
    type Take = IpcBytesReceiver;

    fn pair() -> Outcome<(IpcBytesSender, IpcBytesReceiver)> {
        Ok(bytes_channel()?)
    }

    fn writer(seed: IpcBytesSender) -> Outcome<IpcBytesSender> {
        Ok(seed)
    }

    fn reader(seed: IpcBytesReceiver, _waiting: Waiting) -> Outcome<IpcBytesReceiver> {
        Ok(seed)
    }
}

macro_rules! through_io {
    ($($put:ty, $take:ty;)*) => { $(
        impl Put for $put {
            fn put(&mut self, piece: &[u8]) -> Outcome<()> {
                Ok(self.write_all(piece)?)
            }
        }

        impl Take for $take {
            fn take(&mut self, piece: &mut [u8]) -> Outcome<()> {
                Ok(self.read_exact(piece)?)
            }
        }
    )* };
}

through_io! {
    pipe::Writer, pipe::Reader;
    File, File;
    UnixStream, UnixStream;
}

impl Put for IpcBytesSender {
    fn put(&mut self, piece: &[u8]) -> Outcome<()> {
        Ok(self.send(piece)?)
    }
}

impl Take for IpcBytesReceiver {
    /// A message is a piece here. The library gives a buffer of its own: no second copy is asked
    /// of it, the ends of the piece are copied for the check.
    fn take(&mut self, piece: &mut [u8]) -> Outcome<()> {
        let message = self.recv().map_err(|error| format!("{error:?}"))?;
        if message.len() != piece.len() {
            return Err("a piece of another size".into());
        }
        let last = piece.len() - 8;
        piece[..8].copy_from_slice(&message[..8]);
        piece[last..].copy_from_slice(&message[last..]);
        Ok(())
    }
}
