//! The socket to the parent: files that handles name come and go by it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;
use shm_core::handle;

use crate::codec::Encoded;
use crate::protocol::{Note, Status};
use crate::socket;

/// In a worker: the socket to the parent.
pub(super) static SOCKET: OnceLock<OwnedFd> = OnceLock::new();

/// In a worker: how many notes were taken from the socket.
static NOTES_TAKEN: AtomicU32 = AtomicU32::new(0);

/// Takes in files as soon as they arrive, and closes those that are needed no longer. An error when
/// the socket is gone, which a task may have closed: then this worker is of no more use.
pub(super) fn take_posted_notes(status: &Status) -> Result<(), String> {
    // Acquire: pairs with the parent's Release add after it sent the notes.
    let posted = status.parent.notes.load(Ordering::Acquire);
    // Relaxed: a count of this process's own, compared for difference only.
    if posted == NOTES_TAKEN.load(Ordering::Relaxed) {
        return Ok(());
    }
    try_take_notes().map_err(|errno| format!("the socket to the parent: {errno}"))
}

/// Sends the files that a result names and the parent has not got; gives their number.
pub(super) fn send_files(body: &Encoded) -> Result<u32, String> {
    let Some(socket) = SOCKET.get() else { return Ok(0) };
    let mut sent = 0;
    for file in body.files.iter().filter(|file| !handle::was_offered(file.id())) {
        loop {
            match socket::send(socket, Note::File, &[file.as_fd()]) {
                Ok(()) => break,
                // The parent takes them with the answers before this one.
                Err(Errno::AGAIN) => wait_writable(socket.as_fd()),
                Err(errno) => return Err(format!("sending a file: {errno}")),
            }
        }
        sent += 1;
    }
    Ok(sent)
}

fn wait_writable(socket: BorrowedFd<'_>) {
    use rustix::event::{PollFd, PollFlags, poll};
    // An interrupted or failed wait only means trying again sooner.
    let _ = poll(&mut [PollFd::new(&socket, PollFlags::OUT)], None);
}

/// Takes what waits in the socket; does not wait for more.
pub(super) fn take_notes() {
    // Whoever needs a file that did not come finds its handle unreachable, and says so.
    let _ = try_take_notes();
}

fn try_take_notes() -> Result<(), Errno> {
    let Some(socket) = SOCKET.get() else { return Ok(()) };
    while let Some(received) = socket::receive(socket, false)? {
        // Relaxed: see `take_posted_notes`. Wraps like the parent's count.
        NOTES_TAKEN.fetch_add(1, Ordering::Relaxed);
        match received.note {
            Note::File => {
                for file in received.files {
                    if let Err(error) = handle::offer(file) {
                        eprintln!("proc-pool worker: a file from the parent: {error}");
                    }
                }
            }
            Note::Forget(id) => {
                crate::arena::forget(id);
                handle::forget(id);
            }
            // Nothing for a worker that is at work.
            _ => {}
        }
    }
    Ok(())
}
