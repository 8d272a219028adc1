//! The start method `Server`, on the side of the pool: a small process that forks workers.
//!
//! The server is this program, started again, which turns into a server in
//! [`init`](crate::init), before it has any other thread; it runs the preload and then forks a
//! worker for each request. Workers are forked with `CLONE_PARENT`: they are children of the
//! pool's process and not of the server. So they are watched, reaped and end with their parent
//! exactly as spawned ones, and the server's own death touches none of them.
//!
//! | the server is killed | found by | the worker |
//! |---|---|---|
//! | before it made the child | `born` is 0 | another server makes it |
//! | after it made the child, before it said so | `born` names it: the kernel wrote that before the child ran | is taken as it is |
//! | after it said so | nothing to find | is at work |

mod memory;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::PoolError;
use crate::child::{Child, Launch};
use crate::protocol::{Note, VERSION};
use crate::socket;
use crate::state::Call;

pub(crate) use memory::Memory;

/// What a server may take to fork, at most: then it is stopped or stuck, and is replaced.
const FORK_TIME: Duration = Duration::from_secs(2);

/// How workers are started; see [`Builder::start_method`](crate::Builder::start_method).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartMethod {
    /// The program is started again for each worker, by `posix_spawn`: about a millisecond each,
    /// and nothing is inherited.
    #[default]
    Spawn,
    /// A small process of one thread, started with the pool, forks workers: some tenths of a
    /// millisecond each, and what [`Builder::preload`](crate::Builder::preload) made is shared with
    /// all of them, copy-on-write.
    Server,
}

/// A fork server that runs, as far as is known.
#[derive(Debug)]
pub(crate) struct ForkServer {
    child: Child,
    socket: OwnedFd,
    memory: Memory,
    ready: bool,
}

/// What came of the wish for a worker.
#[derive(Debug)]
pub(crate) enum Forked {
    Child(Child),
    /// The server is dead; no child was made.
    ServerGone,
    Refused(Errno),
}

impl ForkServer {
    /// Starts a server; it is of use once it is ready.
    pub fn start(launch: &Launch) -> Result<ForkServer, PoolError> {
        let request = launch.preload.as_ref().map(|call| {
            let mut request = call.request(0);
            request.items = 1;
            request
        });
        let input = launch.preload.as_ref().map(|call| &*call.input);
        let memory = Memory::new(request.as_ref().zip(input))?;
        let (ours, theirs) = socket::pair()?;
        let send = |note: Note, files: &[BorrowedFd<'_>]| {
            socket::send(&ours, note, files).map_err(PoolError::system("sendmsg"))
        };
        send(Note::Serve(VERSION), &[memory.0.as_fd()])?;
        for file in input.into_iter().flat_map(|input| &input.files) {
            send(Note::File, &[file.as_fd()])?;
        }
        send(Note::Preload, &[])?;
        let child = Child::start(launch, theirs, None)?;
        Ok(ForkServer { child, socket: ours, memory, ready: false })
    }

    /// Whether it has preloaded and can fork; an error when the preload failed.
    pub fn is_ready(&mut self, preload: Option<&Call>) -> Result<bool, PoolError> {
        if self.ready || !matches!(socket::receive(&self.socket, false), Ok(Some(_))) {
            return Ok(self.ready);
        }
        self.ready = true;
        let result = preload.map_or(Ok(()), |call| call.result(self.memory.result()));
        let name = preload.map_or("", |call| call.task.name);
        let failed = |why| PoolError::InitializerFailed {
            reason: format!("the preload {name} failed: {why}"),
        };
        result.map(|()| true).map_err(failed)
    }

    /// Has it end this worker's process group where the pool's process is killed; whether it was
    /// told.
    pub fn guard(&self, worker: &Child) -> bool {
        socket::send(&self.socket, Note::Guard, &[worker.as_fd()]).is_ok()
    }

    /// Waits until it says something or is gone.
    pub fn wait(&self) {
        self.hear(None);
    }

    /// Has it fork a worker with these files: its socket, and standard output and error where they
    /// are not the server's. `give_up` is asked now and then.
    pub fn fork(&mut self, files: &[BorrowedFd<'_>], mut give_up: impl FnMut() -> bool) -> Forked {
        const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        self.memory.forget_born();
        let deadline = Instant::now() + FORK_TIME;
        if socket::send(&self.socket, Note::Fork, files).is_err() {
            return self.last_child();
        }
        loop {
            self.hear(Some(&LOOK));
            match socket::receive(&self.socket, false) {
                Ok(Some(received)) => match received.note {
                    Note::Forked => return self.child_of(self.memory.born()),
                    Note::Refused(errno) => {
                        return Forked::Refused(Errno::from_raw_os_error(errno));
                    }
                    _ => return self.last_child(),
                },
                Ok(None) if !self.child.is_gone() && Instant::now() < deadline && !give_up() => {}
                _ => return self.last_child(),
            }
        }
    }

    /// Ends the server; what it made meanwhile is not lost.
    fn last_child(&mut self) -> Forked {
        self.child.kill();
        // Only of a process that is gone for sure is `born` final.
        self.child.wait();
        self.child_of(self.memory.born())
    }

    fn child_of(&self, born: Option<u32>) -> Forked {
        match born.map(Child::forked) {
            Some(Ok(child)) => Forked::Child(child),
            Some(Err(errno)) => Forked::Refused(errno),
            None => Forked::ServerGone,
        }
    }

    /// Waits for a note or the server's end, at most so long.
    fn hear(&self, limit: Option<&Timespec>) {
        let mut fds = self.watched().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        // Interrupted or failed: the caller looks again.
        let _ = poll(&mut fds, limit);
    }

    /// What is readable when the server needs attention.
    pub fn watched(&self) -> [BorrowedFd<'_>; 2] {
        [self.socket.as_fd(), self.child.as_fd()]
    }

    pub fn is_gone(&self) -> bool {
        self.child.is_gone()
    }

    /// Whether it ever said that it was ready.
    pub fn was_ready(&self) -> bool {
        self.ready
    }

    /// Of one that is gone: whether SIGKILL ended it.
    pub fn was_killed(&self) -> bool {
        self.child.was_killed()
    }
}

impl Drop for ForkServer {
    fn drop(&mut self) {
        self.child.kill();
        self.child.kill_group();
        // SIGKILL ends a stopped process too.
        let _ = self.child.reap();
    }
}
