//! The worker's side: take a request, run it, answer, until the parent closes or ends.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fs::OpenOptions;
use std::io::{BufRead, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ipc_queue::bell::Doorbell;
use ipc_queue::pipe::{self, Reader, Writer};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};
use shm_core::{Segment, handle};

use crate::codec::{self, BlobSource, Encoded, Failure};
use crate::protocol::{self, ENV, HELLO, NUDGE, Note, Outcome, Places, Request, Response, VERSION};
use crate::socket;
use crate::task::{Registry, TaskId};

/// Whether `init` ran in this process.
static INITIALISED: AtomicBool = AtomicBool::new(false);

/// In a worker: the socket to the parent.
static SOCKET: OnceLock<OwnedFd> = OnceLock::new();

/// In a worker: how many notes were taken from the socket.
static NOTES_TAKEN: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// Whether this thread runs a task just now.
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
    /// What the panic hook saw last on this thread.
    static PANIC: RefCell<Option<PanicReport>> = const { RefCell::new(None) };
}

/// A panic, on its way to the parent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PanicReport {
    pub message: String,
    pub location: String,
}

/// Makes this program able to run tasks for a pool. Call it first in `main`, or put
/// [`#[proc_pool::main]`](crate::main) on `main`, which does so.
///
/// In a program that a pool started as its worker, this function runs tasks and never returns. In
/// any other it returns at once.
///
/// ```standalone_crate
/// fn main() -> Result<(), proc_pool::PoolError> {
///     proc_pool::init();
///     let pool = proc_pool::Pool::new()?;
///     pool.close()
/// }
/// ```
pub fn init() {
    // Relaxed: a flag for later calls of the same program, no data hangs on it.
    INITIALISED.store(true, Ordering::Relaxed);
    let Some(parent) = parent_from_env() else { return };
    let Some(socket) = inherited_socket() else { return };
    match serve(parent, socket) {
        Ok(()) => std::process::exit(0),
        Err(reason) => {
            eprintln!("proc-pool worker {}: {reason}", std::process::id());
            std::process::exit(70);
        }
    }
}

/// Whether [`init`] was called in this process.
pub(crate) fn is_initialised() -> bool {
    // Relaxed: as above.
    INITIALISED.load(Ordering::Relaxed)
}

fn parent_from_env() -> Option<Pid> {
    std::env::var(ENV).ok()?.parse().ok().and_then(Pid::from_raw)
}

/// The parent's socket, moved away from standard input so that tasks cannot read it.
///
/// `None` where standard input is something else: a program that a *task* started inherits the
/// environment variable, but it is nobody's worker.
fn inherited_socket() -> Option<OwnedFd> {
    let stdin = std::io::stdin();
    let kind = rustix::net::sockopt::socket_type(stdin.as_fd()).ok()?;
    if kind != rustix::net::SocketType::SEQPACKET {
        return None;
    }
    let socket = rustix::io::fcntl_dupfd_cloexec(stdin.as_fd(), 3).ok()?;
    let null = OpenOptions::new().read(true).open("/dev/null").ok()?;
    rustix::stdio::dup2_stdin(null).ok()?;
    Some(socket)
}

fn serve(parent: Pid, socket: OwnedFd) -> Result<(), String> {
    die_with(parent)?;
    let setup = socket::receive(&socket, true).map_err(|errno| format!("setup: {errno}"))?;
    let Some(setup) = setup else { return Ok(()) };
    if setup.note != Note::Setup(VERSION) {
        return Err(format!("the parent speaks another protocol: {:?}", setup.note));
    }
    let mut files = setup.files.into_iter();
    let mut segment = || match files.next() {
        Some(fd) => Segment::attach(fd).map_err(|error| error.to_string()),
        None => Err("the parent sent too few files".to_owned()),
    };
    let (own, pool) = (segment()?, segment()?);
    SOCKET.set(socket).map_err(|_| "init was called twice at once".to_owned())?;
    handle::on_missing(take_notes);
    install_panic_hook();
    Worker::attach(own, &pool)?.run()
}

/// The kernel kills this process when the parent's thread that started it ends, and that thread
/// lives as long as the pool.
fn die_with(parent: Pid) -> Result<(), String> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|errno| format!("prctl(PR_SET_PDEATHSIG): {errno}"))?;
    // The parent may have died before the line above.
    if getppid() != Some(parent) {
        std::process::exit(0);
    }
    Ok(())
}

struct Worker {
    segment: Segment,
    requests: Reader,
    responses: Writer,
    registry: Registry,
    started: u64,
    bell: Doorbell,
    /// A forked child of a task has another.
    pid: u32,
}

impl Worker {
    fn attach(segment: Segment, pool: &Segment) -> Result<Worker, String> {
        let text = |error: ipc_queue::Error| error.to_string();
        let places = Places::new().map_err(|error| error.to_string())?;
        if segment.size() < places.size {
            return Err("the parent's segment is too small".to_owned());
        }
        let bell = Doorbell::at(pool, 0).map_err(text)?;
        let mut requests = pipe::attach_reader(&segment, places.requests).map_err(text)?;
        let mut responses = pipe::attach_writer(&segment, places.responses).map_err(text)?;
        // The parent waits for all its workers on one bell.
        requests.also_ring(bell.clone());
        responses.also_ring(bell.clone());
        // Relaxed: written before the parent sent us the segment in a message.
        let spin = protocol::status(&segment).spin.load(Ordering::Relaxed);
        requests.set_spin_limit(spin);
        let registry = Registry::collect().map_err(|error| error.to_string())?;
        Ok(Worker {
            segment,
            requests,
            responses,
            registry,
            started: 0,
            bell,
            pid: std::process::id(),
        })
    }

    fn run(mut self) -> Result<(), String> {
        let hello = Encoded {
            bytes: self.registry.fingerprint().to_ne_bytes().into(),
            ..Encoded::default()
        };
        self.answer(HELLO, Outcome::Done, hello)?;
        while let Some(request) = self.next_request()? {
            if request.ticket == NUDGE {
                take_notes();
                self.bell.ring();
                continue;
            }
            self.started += 1;
            // Release: pairs with the parent's Acquire load; whatever the task does comes later.
            protocol::status(&self.segment).started.store(self.started, Ordering::Release);
            self.take_posted_notes();
            self.execute(&request)?;
        }
        Ok(())
    }

    /// `None` when the parent has closed the pipe and everything in it is done.
    fn next_request(&mut self) -> Result<Option<Request>, String> {
        let waiting = self.requests.fill_buf().map_err(|error| format!("requests: {error}"))?;
        if waiting.is_empty() {
            return Ok(None);
        }
        let mut head = [0; Request::SIZE];
        self.requests.read_exact(&mut head).map_err(|error| format!("requests: {error}"))?;
        Ok(Some(Request::decode(&head)))
    }

    fn execute(&mut self, request: &Request) -> Result<(), String> {
        let mut bytes = Vec::new();
        let fits = usize::try_from(request.bytes).is_ok_and(|n| bytes.try_reserve_exact(n).is_ok());
        if !fits {
            return Err(format!("an input of {} bytes does not fit in memory", request.bytes));
        }
        bytes.resize(request.bytes as usize, 0);
        self.requests.read_exact(&mut bytes).map_err(|error| format!("requests: {error}"))?;
        let mut blobs = PipeBlobs { pipe: &mut self.requests, left: request.blobs };
        let Some(entry) = self.registry.get(TaskId(request.task)) else {
            blobs.skip()?;
            return self.answer(request.ticket, Outcome::Unknown, Encoded::default());
        };
        IN_TASK.set(true);
        let result = catch_unwind(AssertUnwindSafe(|| (entry.run)(&bytes, &mut blobs)));
        IN_TASK.set(false);
        // What a task did not read (its input failed half-way) must not be taken for a request.
        blobs.skip()?;
        let text = |text: String| Encoded { bytes: text.into_bytes(), ..Encoded::default() };
        let (outcome, body) = match result {
            Ok(Ok(body)) => (Outcome::Done, body),
            Ok(Err(Failure::Input(why))) => (Outcome::BadInput, text(why)),
            Ok(Err(Failure::Output(why))) => (Outcome::BadOutput, text(why)),
            Err(payload) => {
                let body = codec::encode(&report(payload.as_ref())).unwrap_or_default();
                // A panic's payload may panic when dropped; it is leaked rather than trusted.
                std::mem::forget(payload);
                (Outcome::Panicked, body)
            }
        };
        self.answer(request.ticket, outcome, body)
    }

    fn answer(&mut self, ticket: u64, outcome: Outcome, mut body: Encoded) -> Result<(), String> {
        if std::process::id() != self.pid {
            // A task forked, and its child came back from it: it is no worker, and writing here
            // would garble the answers of the one that is.
            // SAFETY: ends the process at once; nothing of the worker's is run in its child.
            unsafe { libc::_exit(70) };
        }
        let files = send_files(&body)?;
        // Unmapped before the parent can know the result: it may want to freeze the memory.
        body.files.clear();
        let head = Response {
            ticket,
            outcome,
            files,
            bytes: body.bytes.len() as u64,
            blobs: body.blob_len(),
        };
        let mut start = head.encode().to_vec();
        start.extend_from_slice(&body.bytes);
        let blobs = body.blobs.iter().map(|blob| blob.bytes());
        for bytes in std::iter::once(start.as_slice()).chain(blobs) {
            match self.responses.write_all(bytes) {
                Ok(()) => {}
                // Nobody wants answers any more.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
                Err(error) => return Err(format!("responses: {error}")),
            }
        }
        Ok(())
    }

    /// Takes in files as soon as they arrive, and closes those that are needed no longer.
    fn take_posted_notes(&self) {
        // Acquire: pairs with the parent's Release add after it sent the notes.
        let posted = protocol::status(&self.segment).notes.load(Ordering::Acquire);
        // Relaxed: a count of this process's own, compared for difference only.
        if posted != NOTES_TAKEN.load(Ordering::Relaxed) {
            take_notes();
        }
    }
}

/// Sends the files that a result names and the parent has not got; gives their number.
fn send_files(body: &Encoded) -> Result<u32, String> {
    let Some(socket) = SOCKET.get() else { return Ok(0) };
    let mut sent = 0;
    for file in body.files.iter().filter(|file| !handle::was_offered(file.id())) {
        loop {
            match socket::send(socket, Note::File, &[file.as_fd()]) {
                Ok(()) => break,
                // The parent takes them with the answers before this one.
                Err(rustix::io::Errno::AGAIN) => wait_writable(socket.as_fd()),
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
fn take_notes() {
    let Some(socket) = SOCKET.get() else { return };
    while let Ok(Some(received)) = socket::receive(socket, false) {
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
            Note::Forget(id) => handle::forget(id),
            Note::Setup(_) => {}
        }
    }
}

/// Blobs read straight from the request pipe to where the value lies.
struct PipeBlobs<'a> {
    pipe: &'a mut Reader,
    left: u64,
}

impl PipeBlobs<'_> {
    fn skip(&mut self) -> Result<(), String> {
        let mut rest = (&mut *self.pipe).take(self.left);
        std::io::copy(&mut rest, &mut std::io::sink())
            .map_err(|error| format!("requests: {error}"))?;
        self.left = 0;
        Ok(())
    }
}

impl BlobSource for PipeBlobs<'_> {
    fn fill(&mut self, target: &mut [u8]) -> bool {
        let Some(left) = self.left.checked_sub(target.len() as u64) else { return false };
        self.left = left;
        self.pipe.read_exact(target).is_ok()
    }
}

/// Remembers message and place of a task's panic for the parent, and prints nothing: the error
/// carries it. Panics of other threads are reported as before.
fn install_panic_hook() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !IN_TASK.get() {
            return before(info);
        }
        let location = info.location().map_or_else(|| "unknown".to_owned(), ToString::to_string);
        let message = message_of(info.payload());
        PANIC.with(|cell| *cell.borrow_mut() = Some(PanicReport { message, location }));
    }));
}

fn report(payload: &(dyn Any + Send)) -> PanicReport {
    PANIC.with(RefCell::take).unwrap_or_else(|| PanicReport {
        message: message_of(payload),
        location: "unknown".to_owned(),
    })
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => text.clone(),
        _ => "a value that is not text".to_owned(),
    }
}
