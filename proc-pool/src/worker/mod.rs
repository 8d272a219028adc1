//! The worker's side: take a request, run it, answer, until the parent closes or ends.

mod desk;
#[cfg(feature = "tracing")]
mod events;
mod fork_server;
mod limits;
mod notes;
mod report;
mod run;

use std::fs::OpenOptions;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use shm_core::{Segment, handle};

use crate::budget;
use crate::protocol::{self, ENV, Note, Places, Status, VERSION};
use crate::socket::{self, Received};

pub(crate) use desk::{Desk, answer_of, run_chunk};
pub(crate) use report::{PanicReport, in_task};
pub(crate) use run::Worker;

/// Whether `init` ran in this process.
static INITIALISED: AtomicBool = AtomicBool::new(false);

/// In a worker: its segment, which is mapped as long as the process lives.
static SEGMENT: OnceLock<Segment> = OnceLock::new();

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

/// Whether this process runs tasks for another.
pub(crate) fn is_worker() -> bool {
    SEGMENT.get().is_some()
}

/// In a worker: its number.
pub(crate) fn number() -> Option<usize> {
    let segment = SEGMENT.get()?;
    // Relaxed: written before the parent sent us the segment in a message.
    Some(protocol::status(segment).parent.number.load(Ordering::Relaxed) as usize)
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
    die_with(parent, Signal::KILL)?;
    let Some((socket, setup)) = first_note(socket)? else { return Ok(()) };
    let (socket, setup) = match setup.note {
        Note::Serve(VERSION) => {
            let Some(socket) = fork_server::run(parent, socket, setup.files)? else {
                return Ok(());
            };
            // What the kernel was told of the server's parent does not hold for this process.
            die_with(parent, Signal::KILL)?;
            match first_note(socket)? {
                Some(first) => first,
                None => return Ok(()),
            }
        }
        _ => (socket, setup),
    };
    if setup.note != Note::Setup(VERSION) {
        return Err(format!("the parent speaks another protocol: {:?}", setup.note));
    }
    let mut files = setup.files.into_iter();
    let mut segment = || match files.next() {
        Some(fd) => Segment::attach(fd).map_err(|error| error.to_string()),
        None => Err("the parent sent too few files".to_owned()),
    };
    let (own, pool) = (segment()?, segment()?);
    if let Ok(budget) = segment() {
        budget::inherit(budget)?;
    }
    let places = Places::new().map_err(|error| error.to_string())?;
    if own.size() < places.size {
        return Err("the parent's segment is too small".to_owned());
    }
    notes::SOCKET.set(socket).map_err(|_| "init was called twice at once".to_owned())?;
    handle::on_missing(notes::take_notes);
    let segment = SEGMENT.get_or_init(|| own);
    let status: &'static Status = protocol::status(segment);
    report::install_panic_hook(status);
    limits::apply(status);
    #[cfg(feature = "tracing")]
    // Relaxed: written before the parent sent us the segment in a message.
    events::forward(status.parent.events.load(Ordering::Relaxed));
    Worker::attach(segment, status, &pool, &places)?.run()
}

/// What the parent says first; `None` when it is gone.
fn first_note(socket: OwnedFd) -> Result<Option<(OwnedFd, Received)>, String> {
    let note = socket::receive(&socket, true).map_err(|errno| format!("setup: {errno}"))?;
    Ok(note.map(|note| (socket, note)))
}

/// The kernel kills this process (or sends it another signal) when the parent's thread that started
/// it ends, and that thread lives as long as the pool.
fn die_with(parent: Pid, signal: Signal) -> Result<(), String> {
    set_parent_process_death_signal(Some(signal))
        .map_err(|errno| format!("prctl(PR_SET_PDEATHSIG): {errno}"))?;
    // The parent may have died before the line above.
    if getppid() != Some(parent) {
        std::process::exit(0);
    }
    Ok(())
}
