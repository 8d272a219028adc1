//! A fork server: takes requests from the pool and makes workers, copies of itself.
//!
//! It has one thread and waits in one system call. A worker begins as a copy of that moment, with
//! what the preload left, and goes on as a spawned worker would.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, setpgid};
use shm_core::{Segment, handle};

use super::desk::answer_of;
use super::die_with;
use crate::codec::{BlobSource, Encoded};
use crate::fork_server::Memory;
use crate::protocol::{Note, Outcome};
use crate::socket;
use crate::task::{Registry, TaskId};

/// Serves until the pool ends. Returns in the workers that it makes, with their sockets; `None` in
/// the server itself.
pub(super) fn run(
    parent: Pid,
    socket: OwnedFd,
    files: Vec<OwnedFd>,
) -> Result<Option<OwnedFd>, String> {
    let file = files.into_iter().next().ok_or("the pool sent no memory")?;
    let segment = Segment::attach(file).map_err(|error| error.to_string())?;
    let memory = Memory::attach(segment)?;
    let mut groups = Groups::default();
    let result = serve(parent, &socket, &memory, &mut groups);
    if !matches!(result, Ok(Some(_))) {
        // The pool's process is gone, or is about to kill this one.
        groups.kill();
    }
    result
}

fn serve(
    parent: Pid,
    socket: &OwnedFd,
    memory: &Memory,
    groups: &mut Groups,
) -> Result<Option<OwnedFd>, String> {
    while let Some(received) = receive(socket)? {
        match received.note {
            Note::File => received.files.into_iter().try_for_each(offer)?,
            Note::Preload => {
                let (outcome, body) = preload(memory)?;
                memory.put_result(outcome, &body.bytes);
                // From here on the end of the socket suffices, and leaves time to look after the
                // groups; one that is stopped goes on.
                die_with(parent, Signal::CONT)?;
                reply(socket, Note::Ready)?;
            }
            Note::Guard => received.files.into_iter().for_each(|worker| groups.add(worker)),
            Note::Fork => {
                let mut files = received.files.into_iter();
                let Some(theirs) = files.next() else { continue };
                match fork(memory) {
                    Ok(Side::Worker) => {
                        redirect(files)?;
                        return Ok(Some(theirs));
                    }
                    Ok(Side::Server(worker)) => {
                        groups.add(worker);
                        reply(socket, Note::Forked)?;
                    }
                    Err(errno) => reply(socket, Note::Refused(errno))?,
                }
            }
            other => return Err(format!("the pool speaks another protocol: {other:?}")),
        }
    }
    Ok(None)
}

/// The process groups of workers, as pidfds: what tasks left running is in them.
///
/// Workers end with the pool's process by the kernel's doing; what they started does not. The pool
/// ends it with each worker ([`Child::kill_group`](crate::child::Child)), and where the pool itself
/// was killed, the server does, by a signal that needs no number which another might have by then.
#[derive(Default)]
struct Groups(Vec<OwnedFd>);

impl Groups {
    fn add(&mut self, worker: OwnedFd) {
        // The pool has ended the groups of those that are dead.
        self.0.retain(|worker| !is_readable(worker));
        self.0.push(worker);
    }

    /// Where the kernel cannot do it (before 6.9), nothing happens.
    fn kill(&self) {
        const PIDFD_SIGNAL_PROCESS_GROUP: libc::c_uint = 4;
        for worker in &self.0 {
            // SAFETY: `pidfd_send_signal(2)` without further information, which may be null; no
            // memory is passed.
            unsafe {
                libc::syscall(
                    libc::SYS_pidfd_send_signal,
                    worker.as_raw_fd(),
                    libc::SIGKILL,
                    std::ptr::null::<libc::siginfo_t>(),
                    PIDFD_SIGNAL_PROCESS_GROUP,
                )
            };
        }
    }
}

fn is_readable(pidfd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(1..))
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

/// Standard output and error of a new worker, where it has its own.
fn redirect(mut files: impl Iterator<Item = OwnedFd>) -> Result<(), String> {
    let text = |errno: rustix::io::Errno| format!("dup2: {errno}");
    if let (Some(out), Some(err)) = (files.next(), files.next()) {
        rustix::stdio::dup2_stdout(out).map_err(text)?;
        rustix::stdio::dup2_stderr(err).map_err(text)?;
    }
    Ok(())
}

enum Side {
    /// The new worker's pidfd.
    Server(OwnedFd),
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
    let mut pidfd: libc::c_int = -1;
    let flags = libc::CLONE_PARENT | libc::CLONE_PARENT_SETTID | libc::CLONE_PIDFD | settid;
    arguments.flags = flags as u64;
    arguments.pidfd = &raw mut pidfd as u64;
    arguments.parent_tid = memory.born_word() as u64;
    arguments.child_tid = own.unwrap_or(0) as u64;
    // SAFETY: without `CLONE_VM` the child has a copy of everything and goes on from here on a copy
    // of this stack. The kernel writes the child's number to the shared word, which is mapped as
    // long as `memory`, and in the child to its own copy of the thread's number; the child's pidfd
    // to the variable above.
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
        // SAFETY: the kernel has just made this file for us.
        _ => Ok(Side::Server(unsafe { OwnedFd::from_raw_fd(pidfd) })),
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
