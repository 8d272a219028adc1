//! Groups: who takes part, who of them is alive, and how to sleep so that no death is missed.

mod attach;
mod control;
mod fork;
mod keeper;
mod owner;
mod peers;
mod recover;
mod robust;
mod shared;
mod table;
pub(crate) mod travel;

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use control::{Control, Life};
pub(crate) use fork::Epoch;
#[cfg(feature = "async")]
pub(crate) use keeper::block_signals;
use keeper::{Entry, ListBox};
use robust::List;
use shared::{Shared, Watchers};

pub use owner::{MAX_MEMBERS, Owner};
pub use peers::{Peers, Ticket};

use crate::futex::{self, Futex, Waited};
use crate::primitive::Ordering;
use crate::{Error, SegmentId, name};

/// Nobody sleeps longer than this without a look around: it bounds what a keeper costs that ended
/// alone, which only a thread killed by hand does.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// The same where the kernel cannot watch two words at once (before Linux 5.16, or refused).
const LONGEST_UNWATCHED: Duration = Duration::from_millis(10);

/// The processes that share something, and this process's place among them.
///
/// A group is what locks, queues and other structures in shared memory need to know about their
/// users: who is who, and who is dead. Joining starts one thread, the *keeper*, which sleeps until
/// another member dies; then it proves the death, and wakes everybody who waits for anything in the
/// group. Clones share the membership. It ends with the last of them, or with the process.
///
/// At most [`MAX_MEMBERS`] processes are in a group at a time. Larger ensembles use several groups:
/// a worker's queues need its parent and itself.
///
/// # Proof of death
/// The kernel stamps the member's *life word* when its keeper thread ends: a hint, one load to look
/// at. The proof is the release of a record lock, which comes after the last store of the last
/// thread. A stopped process, one that is slow, one whose pid is in another namespace, one that
/// lost its keeper are not gone. See the page on participants in the book for the protocol.
///
/// ```
/// use shm_core::{Group, Peers};
/// use std::os::fd::AsFd;
///
/// let group = Group::anonymous()?;
/// // A child that inherits the descriptor joins with `Group::attach(fd)`.
/// let again = Group::attach(group.as_fd())?; // the same process: the same member
/// assert_eq!(group.me(), again.me());
/// assert_eq!(group.members().len(), 1);
/// # Ok::<(), shm_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Group {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    /// `None` only while being dropped.
    shared: Option<Arc<Shared>>,
    me: Owner,
    epoch: Epoch,
    keeper: Mutex<Option<Keeper>>,
}

/// A running keeper thread, and the robust list that the kernel reads when it ends.
struct Keeper {
    thread: JoinHandle<()>,
    tid: u32,
    list: ListBox,
}

impl Keeper {
    fn spawn(shared: &Arc<Shared>, entry: Entry) -> Result<(Keeper, Owner), Error> {
        let list = Box::into_raw(Box::new(List::new()));
        let theirs = ListBox(list);
        let shared = Arc::clone(shared);
        let (tell, told) = channel();
        let spawned = std::thread::Builder::new()
            .name("group-keeper".to_owned())
            .spawn(move || keeper::run(&shared, &theirs, entry, &tell));
        let list = ListBox(list);
        let thread = match spawned {
            Ok(thread) => thread,
            Err(error) => {
                list.free();
                return Err(Error::system("clone")(error));
            }
        };
        let mut keeper = Keeper { thread, tid: 0, list };
        match told.recv() {
            Ok(Ok((owner, tid))) => {
                keeper.tid = tid;
                Ok((keeper, owner))
            }
            Ok(Err(error)) => {
                keeper.join();
                Err(error)
            }
            Err(_) => {
                keeper.join();
                Err(Error::system("clone")(std::io::Error::other("the keeper thread has ended")))
            }
        }
    }

    /// Whether the thread was ended from outside, and not by returning.
    fn is_lost(&self) -> bool {
        let (pid, tid) = (std::process::id() as i32, self.tid as i32);
        // SAFETY: signal 0 only asks whether the thread is there.
        unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, 0) != 0 }
    }

    fn join(self) {
        let _ = self.thread.join();
        self.list.free();
    }
}

impl ListBox {
    /// The thread has ended: the kernel has read the list for the last time.
    fn free(self) {
        // SAFETY: from `Box::into_raw`, freed once, and used by nobody any more.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

impl Group {
    /// A new group, known by its descriptor only.
    ///
    /// Children inherit [`as_fd`](Group::as_fd), or receive it over a socket. Cost: about 100 µs,
    /// most of it the keeper thread's start.
    ///
    /// # Errors
    /// [`Error::System`], [`Error::OutOfMemory`].
    pub fn anonymous() -> Result<Group, Error> {
        Group::join(Control::anonymous()?)
    }

    /// A new group that unrelated programs [`open`](Group::open) by name.
    ///
    /// The name is gone with the last member, as a segment's is: see
    /// [`Segment::create`](crate::Segment::create).
    ///
    /// # Errors
    /// Those of [`Segment::create`](crate::Segment::create).
    pub fn create(name: &str) -> Result<Group, Error> {
        let header = control::header()?;
        let _joining = table::joining();
        let named = name::create(name, header, |file| control::fill(file.as_fd(), &header))?;
        Group::join_known(Control::named(named)?)
    }

    /// Joins the group that another program created under `name`.
    ///
    /// # Errors
    /// Those of [`Segment::open`](crate::Segment::open); [`Error::GroupFull`].
    pub fn open(name: &str) -> Result<Group, Error> {
        let _joining = table::joining();
        Group::join_known(Control::named(name::open(name)?)?)
    }

    /// Joins the group behind a descriptor from [`as_fd`](Group::as_fd), inherited or received.
    /// The descriptor may be closed afterwards.
    ///
    /// # Errors
    /// [`Error::GroupFull`]; [`Error::WrongType`] and the others of
    /// [`Segment::attach`](crate::Segment::attach) for a file that is no group's;
    /// [`Error::System`], also where `/proc` is not mounted.
    pub fn attach(fd: impl AsFd) -> Result<Group, Error> {
        let _joining = table::joining();
        match Group::known(control::inode_of(fd.as_fd())?) {
            Some(group) => Ok(group),
            None => Group::join(Control::reopen(fd.as_fd())?),
        }
    }

    /// The membership that this process has, if it has one.
    fn known(inode: (u64, u64)) -> Option<Group> {
        loop {
            let found = table::with(|table| table.get(&inode).map(std::sync::Weak::upgrade));
            match found? {
                // Another thread is dropping the last handle.
                None => std::thread::yield_now(),
                Some(inner) if inner.epoch.is_current() => return Some(Group { inner }),
                // Inherited by `fork`: our parent's.
                Some(_) => return None,
            }
        }
    }

    fn join_known(control: Control) -> Result<Group, Error> {
        match Group::known(control.inode()) {
            Some(group) => Ok(group),
            None => Group::join(control),
        }
    }

    fn join(control: Control) -> Result<Group, Error> {
        let epoch = Epoch::now()?;
        let inode = control.inode();
        let shared = Arc::new(Shared::new(control));
        let (keeper, me) = Keeper::spawn(&shared, Entry::Join)?;
        let keeper = Mutex::new(Some(keeper));
        let inner = Arc::new(Inner { shared: Some(shared), me, epoch, keeper });
        table::with(|table| table.insert(inode, Arc::downgrade(&inner)));
        Ok(Group { inner })
    }

    fn control(&self) -> &Control {
        &self.inner.shared().control
    }

    /// The group's identity, the same in every process.
    #[must_use]
    pub fn id(&self) -> SegmentId {
        self.control().id()
    }

    /// Whether an owner is alive as far as one look tells, and without a proof: two loads.
    ///
    /// `false` may be wrong for a process that lost its keeper thread; `true` is wrong until the
    /// kernel has ended a process that was killed.
    #[inline]
    #[must_use]
    pub fn looks_alive(&self, owner: Owner) -> bool {
        let line = &self.control().words().lines[owner.index()];
        // Acquire: whoever sees the end of a stay sees what was done in it.
        owner.is_of(line.generation.load(Ordering::Acquire))
            && Life::of(line.life.word().load(Ordering::Acquire)) == Life::Armed
    }

    // Orderings: what is shown here is Relaxed; it is for people.
    /// Who is in the group now: members that are alive, or not yet proven dead.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        let control = self.control();
        let lines = control.words().lines.iter().enumerate().take(recover::mark(control));
        lines
            .filter_map(|(index, line)| {
                // Acquire: as in `looks_alive`.
                let life = Life::of(line.life.word().load(Ordering::Acquire));
                (life != Life::Free).then(|| Member {
                    owner: Owner::new(index, line.generation.load(Ordering::Relaxed)),
                    pid: line.pid.load(Ordering::Relaxed),
                    start_time: line.start_time.load(Ordering::Relaxed),
                    pid_namespace: line.namespace.load(Ordering::Relaxed),
                    is_armed: life == Life::Armed,
                })
            })
            .collect()
    }

    /// Calls `f` on the keeper thread for every member that died, after the death is proven and
    /// before the keeper sleeps again, until the returned value is dropped.
    ///
    /// In rare cases `f` is also called for a member that left in order, or twice. It must not wait
    /// for another member.
    pub fn on_death(&self, f: impl Fn(Owner) + Send + Sync + 'static) -> Watch {
        let watchers = Arc::clone(&self.inner.shared().watchers);
        let id = watchers.add(Arc::new(f));
        Watch { watchers, id }
    }

    /// What the group has cost and seen.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let shared = self.inner.shared();
        Stats {
            // Relaxed: counts to show.
            deaths: shared.control.words().deaths.load(Ordering::Relaxed),
            parks: shared.counts.parks.load(Ordering::Relaxed),
            proofs: shared.counts.proofs.load(Ordering::Relaxed),
        }
    }

    /// A keeper that ended alone is replaced. Only a thread killed by hand ends so.
    #[cold]
    fn ensure_keeper(&self) {
        let inner = &self.inner;
        let word = self.control().words().lines[inner.me.index()].life.word();
        // Relaxed: the new keeper compares again.
        if !Life::of(word.load(Ordering::Relaxed)).is_stamped() || !inner.epoch.is_current() {
            return;
        }
        let Ok(mut keeper) = inner.keeper.try_lock() else { return };
        if !keeper.as_ref().is_some_and(Keeper::is_lost) {
            // It is about to take its word back itself.
            return;
        }
        if let Ok((new, _)) = Keeper::spawn(inner.shared(), Entry::Rearm(inner.me)) {
            // Not joined: a thread that did not return has no result to give.
            std::mem::forget(keeper.replace(new));
        }
    }
}

impl Peers for Group {
    #[inline(always)]
    fn me(&self) -> Option<Owner> {
        self.inner.epoch.is_current().then_some(self.inner.me)
    }

    #[inline]
    fn is_gone(&self, owner: Owner) -> bool {
        if owner == self.inner.me || self.looks_alive(owner) {
            return false;
        }
        self.prove_gone(owner)
    }

    fn ticket(&self) -> Ticket {
        // Acquire: pairs with the Release in `ring_all`: whoever is counted in this ticket is seen
        // as gone.
        Ticket(self.control().words().events.0.word().load(Ordering::Acquire))
    }

    fn park(
        &self,
        word: &Futex,
        expected: u32,
        ticket: Ticket,
        timeout: Option<Duration>,
    ) -> Waited {
        let within = |limit: Duration| timeout.map_or(limit, |timeout| timeout.min(limit));
        let events = self.about_to_sleep();
        let words = [(word, expected), (events, ticket.0)];
        let bound = within(LONGEST_SLEEP);
        let (waited, bound) = match futex::wait_any(&words, Some(bound)) {
            Some(waited) => (waited, bound),
            None => {
                let bound = within(LONGEST_UNWATCHED);
                (word.wait(expected, Some(bound)), bound)
            }
        };
        match waited {
            Waited::TimedOut if timeout.is_none_or(|limit| limit > bound) => Waited::Woken,
            waited => waited,
        }
    }

    fn deaths(&self) -> Option<&Futex> {
        Some(self.about_to_sleep())
    }
}

impl Group {
    /// Counts the sleep, and sees to it that a keeper is there to end it.
    fn about_to_sleep(&self) -> &Futex {
        let shared = self.inner.shared();
        Shared::count(&shared.counts.parks);
        self.ensure_keeper();
        &shared.control.words().events.0
    }

    #[cold]
    fn prove_gone(&self, owner: Owner) -> bool {
        let shared = self.inner.shared();
        Shared::count(&shared.counts.proofs);
        let line = &shared.control.words().lines[owner.index()];
        // Acquire: as in `looks_alive`.
        if !owner.is_of(line.generation.load(Ordering::Acquire)) {
            return true;
        }
        // A process does not see its own locks; its own index is of its own stay, or of an ended
        // one, which the line above found.
        owner.index() != self.inner.me.index()
            && Life::of(line.life.word().load(Ordering::Acquire)).is_stamped()
            && shared.control.is_proven_gone(owner.index())
    }
}

/// The group's place: to be inherited by a child or sent over a Unix socket, and joined there with
/// [`Group::attach`]. An `O_PATH` descriptor, which can be duplicated and closed without harm.
impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.place()
    }
}

impl Inner {
    fn shared(&self) -> &Arc<Shared> {
        // Taken by `drop` alone, after which there is nobody to ask.
        self.shared.as_ref().unwrap_or_else(|| unreachable!("a group is used after its end"))
    }

    fn place(&self) -> BorrowedFd<'_> {
        self.shared().control.place()
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group").field("id", &self.id()).field("me", &self.inner.me).finish()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let Some(shared) = self.shared.take() else { return };
        let keeper = self.keeper.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if !self.epoch.is_current() {
            // Inherited by `fork`: another process's membership, and a thread that is not here.
            std::mem::forget((keeper, shared));
            return;
        }
        // Release: what this process did in the group comes before the keeper leaves it.
        shared.stop.word().store(1, Ordering::Release);
        shared.stop.wake_all();
        let Some(keeper) = keeper else { return };
        if keeper.thread.thread().id() == std::thread::current().id() {
            // A watcher dropped the last handle, on the keeper itself, which cannot wait for its
            // own end.
            std::thread::spawn(move || close(shared, keeper));
        } else {
            close(shared, keeper);
        }
    }
}

/// Waits until the keeper has left the group, and closes the control file under the table's lock:
/// closing it after another thread has joined anew would release that thread's locks.
fn close(shared: Arc<Shared>, keeper: Keeper) {
    keeper.join();
    let inode = shared.control.inode();
    table::with(|table| {
        table.remove(&inode);
        drop(shared);
    });
}

/// A member of a group, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its place and stay.
    pub owner: Owner,
    /// Its process id, as it sees it itself.
    pub pid: u32,
    /// When it started, in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start_time: u64,
    /// The pid namespace in which `pid` is to be read (inode of `/proc/PID/ns/pid`).
    pub pid_namespace: u64,
    /// `false`: its keeper thread has ended, most likely with its process.
    pub is_armed: bool,
}

/// Calls a function at each death, until it is dropped: see [`Group::on_death`].
#[must_use = "the function is not called any more once this is dropped"]
#[derive(Debug)]
pub struct Watch {
    watchers: Arc<Watchers>,
    id: u64,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.watchers.remove(self.id);
    }
}

/// What a group has cost and seen: [`Group::stats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Members that died, in the whole group, since it was made.
    pub deaths: u64,
    /// Sleeps of this process in the group.
    pub parks: u64,
    /// Proofs of death that this process asked the kernel for.
    pub proofs: u64,
}
