//! A fork server: takes requests from the pool and makes workers, copies of itself.
//!
//! It has one thread and waits in one system call. A worker begins as a copy of that moment, with
//! what the preload left, and goes on as a spawned worker would.

use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::process::setpgid;
use shm_core::{Segment, handle};

use super::desk::answer_of;
use crate::codec::{BlobSource, Encoded};
use crate::fork_server::Memory;
use crate::protocol::{Note, Outcome};
use crate::socket;
use crate::task::{Registry, TaskId};

/// Serves until the pool ends. Returns in the workers that it makes, with their sockets; `None` in
/// the server itself.
pub(super) fn run(socket: OwnedFd, files: Vec<OwnedFd>) -> Result<Option<OwnedFd>, String> {
    let file = files.into_iter().next().ok_or("the pool sent no memory")?;
    let segment = Segment::attach(file).map_err(|error| error.to_string())?;
    let memory = Memory::attach(segment)?;
    while let Some(received) = receive(&socket)? {
        match received.note {
            Note::File => received.files.into_iter().try_for_each(offer)?,
            Note::Preload => {
                let (outcome, body) = preload(&memory)?;
                memory.put_result(outcome, &body.bytes);
                reply(&socket, Note::Ready)?;
            }
            Note::Fork => {
                let Some(theirs) = received.files.into_iter().next() else { continue };
                match fork(&memory) {
                    Ok(Side::Worker) => return Ok(Some(theirs)),
                    Ok(Side::Server) => reply(&socket, Note::Forked)?,
                    Err(errno) => reply(&socket, Note::Refused(errno))?,
                }
            }
            other => return Err(format!("the pool speaks another protocol: {other:?}")),
        }
    }
    Ok(None)
}

fn receive(socket: &OwnedFd) -> Result<Option<socket::Received>, String> {
    socket::receive(socket, true).map_err(|errno| format!("the socket to the pool: {errno}"))
}

fn reply(socket: &OwnedFd, note: Note) -> Result<(), String> {
    socket::send(socket, note, &[]).map_err(|errno| format!("the socket to the pool: {errno}"))
}

fn offer(file: OwnedFd) -> Result<(), String> {
    handle::offer(file).map(|_| ()).map_err(|error| error.to_string())
}

/// Runs the preload, if there is one.
fn preload(memory: &Memory) -> Result<(Outcome, Encoded), String> {
    let (request, input) = memory.preload()?;
    if request.items == 0 {
        return Ok((Outcome::Done, Encoded::default()));
    }
    let registry = Registry::collect().map_err(|error| error.to_string())?;
    let Some(entry) = registry.get(TaskId(request.task)) else {
        return Ok((Outcome::Unknown, Encoded::default()));
    };
    let (bytes, blobs) = input.split_at(request.bytes as usize);
    let mut blobs = Rest(blobs);
    Ok(answer_of(catch_unwind(AssertUnwindSafe(|| (entry.run)(bytes, &mut blobs)))))
}

/// Blobs that lie behind the input.
struct Rest<'a>(&'a [u8]);

impl BlobSource for Rest<'_> {
    fn fill(&mut self, target: &mut [u8]) -> bool {
        let Some((first, rest)) = self.0.split_at_checked(target.len()) else { return false };
        target.copy_from_slice(first);
        self.0 = rest;
        true
    }
}

enum Side {
    Server,
    Worker,
}

/// Makes a worker: a child of this process's parent.
///
/// By `clone3`, since the C library's `fork` cannot name another parent. What its `fork` would do
/// besides is little in a process of one thread: the kernel's list of robust locks and the thread's
/// own number are set here; nobody else could hold a lock of the allocator.
fn fork(memory: &Memory) -> Result<Side, i32> {
    let robust = RobustList::of_this_thread();
    let own = own_number();
    let settid = if own.is_some() { libc::CLONE_CHILD_SETTID } else { 0 };
    // SAFETY: all-zero is a value of this plain C structure.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = (libc::CLONE_PARENT | libc::CLONE_PARENT_SETTID | settid) as u64;
    arguments.parent_tid = memory.born_word() as u64;
    arguments.child_tid = own.unwrap_or(0) as u64;
    // SAFETY: without `CLONE_VM` the child has a copy of everything and goes on from here on a copy
    // of this stack. The kernel writes the child's number to the shared word, which is mapped as
    // long as `memory`, and in the child to its own copy of the thread's number.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>())
    };
    match pid {
        -1 => Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)),
        0 => {
            robust.set();
            // A group of its own, as a spawned worker has. Fails never: it is no session leader.
            let _ = setpgid(None, None);
            Ok(Side::Worker)
        }
        _ => Ok(Side::Server),
    }
}

/// Where the C library keeps this thread's number, if it can be found.
fn own_number() -> Option<usize> {
    const PR_GET_TID_ADDRESS: libc::c_int = 40;
    let mut address: *mut libc::pid_t = std::ptr::null_mut();
    // SAFETY: the kernel stores one pointer at the address given.
    let result = unsafe { libc::prctl(PR_GET_TID_ADDRESS, &raw mut address) };
    if result != 0 || address.is_null() {
        return None;
    }
    // SAFETY: the kernel writes this word of ours when the thread ends, so it is mapped for reading
    // and writing; no Rust reference to it exists.
    let number = unsafe { address.read_volatile() };
    (number == rustix::thread::gettid().as_raw_nonzero().get()).then_some(address as usize)
}

/// The kernel's note of where this thread's list of robust locks begins: a child made by `clone3`
/// has none, though its copy of the list is at the same place.
struct RobustList {
    head: *mut libc::c_void,
    length: usize,
}

impl RobustList {
    fn of_this_thread() -> RobustList {
        let mut list = RobustList { head: std::ptr::null_mut(), length: 0 };
        // SAFETY: the kernel stores a pointer and a length at the addresses given; 0 is this
        // thread. Where it fails, the list stays empty.
        unsafe {
            libc::syscall(libc::SYS_get_robust_list, 0, &raw mut list.head, &raw mut list.length)
        };
        list
    }

    fn set(&self) {
        if !self.head.is_null() {
            // SAFETY: the head was registered by the C library, and its copy in this process is as
            // valid; the server held no lock, so the list is empty.
            unsafe { libc::syscall(libc::SYS_set_robust_list, self.head, self.length) };
        }
    }
}
