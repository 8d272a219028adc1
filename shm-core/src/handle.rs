//! Handles: how a [`Frozen`](crate::Frozen) array, a [`Column`](crate::Column), a
//! [`Part`](crate::Part), a [`Segment`](crate::Segment), a [`Shared`](crate::Shared) object or a
//! [`Group`] travels to another process.
//!
//! A handle is `(segment id, place within it)`: bytes cannot carry a file. The one rule: **the file
//! is pushed to the receiver before the handle is sent**, over a Unix socket that both inherited.
//! A pool does this by itself; for other transports the pieces are here:
//!
//! 1. the sender serialises inside [`collect`], which also gives the files that the value names;
//! 2. it sends those that the receiver has not got yet ([`push::send`](crate::push::send), or
//!    [`Reachable::as_fd`] over a socket that carries more);
//! 3. the receiver takes each in ([`push::receive`](crate::push::receive), or [`offer`]); then the
//!    value deserialises;
//! 4. when the sender no longer needs a file there, the receiver calls [`forget`].
//!
//! A handle whose file has not arrived is [`Error::NotReachable`], never a wait. The handle of a view
//! a segment, an object or a group can be redeemed as often as one likes, that of a `Part` once; a
//! group's makes its receiver a member.
//!
//! What has a name travels by its name, and no file is pushed: the receiver opens it, and checks that
//! it is the same. Frozen arrays with names have no handle yet ([`Error::TravelsByName`]): send the
//! name.

use std::cell::Cell;
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use crate::array::Writable;
use crate::frozen::FrozenData;
use crate::group::{self, Group};
use crate::memory::Memory;
use crate::{Error, SegmentId};

/// What this process can redeem handles with.
#[derive(Default)]
struct Table {
    frozen: HashMap<SegmentId, Weak<FrozenData>>,
    writable: HashMap<SegmentId, Weak<Writable>>,
    plain: HashMap<SegmentId, Weak<Memory>>,
    /// Files that arrived, kept until the sender says that they are needed no longer.
    arrived: HashMap<SegmentId, OwnedFd>,
    /// Frozen data mapped from such files, kept mapped as long: the next handle to it finds the
    /// page tables filled.
    kept: HashMap<SegmentId, Arc<FrozenData>>,
}

static TABLE: Mutex<Option<Table>> = Mutex::new(None);

/// Asked when a handle names a file that has not been offered: it may be waiting in a socket.
static ON_MISSING: RwLock<Option<fn()>> = RwLock::new(None);

thread_local! {
    /// Where the files go that are named by what this thread serialises: into a vector of
    /// [`collect`]'s, or, outside of it, nowhere. A bare pointer costs a small value next to nothing.
    static COLLECTED: Cell<*mut Vec<Reachable>> = const { Cell::new(std::ptr::null_mut()) };
}

fn with_table<R>(f: impl FnOnce(&mut Table) -> R) -> R {
    // A panic under this lock leaves the maps whole: single inserts and removals only.
    let mut guard: MutexGuard<'_, Option<Table>> =
        TABLE.lock().unwrap_or_else(PoisonError::into_inner);
    f(guard.get_or_insert_default())
}

/// A file that a serialised value names.
#[derive(Clone, Debug)]
pub struct Reachable {
    kind: ReachableKind,
    lent: u64,
}

#[derive(Clone, Debug)]
enum ReachableKind {
    Frozen(Arc<FrozenData>),
    Writable { memory: Arc<Writable>, part: usize, turn: u64 },
    Plain(Arc<Memory>),
    Group(Group),
}

impl Reachable {
    /// The identity that handles name it by.
    #[must_use]
    pub fn id(&self) -> SegmentId {
        match &self.kind {
            ReachableKind::Frozen(data) => data.id(),
            ReachableKind::Writable { memory, .. } => memory.id(),
            ReachableKind::Plain(memory) => memory.header.id,
            ReachableKind::Group(group) => group.id(),
        }
    }

    /// Bytes that the value lends to whoever has the handle, which a copy would have to carry: those
    /// of the slice or part. 0 of a whole segment or a group, since nobody says what of it is read.
    #[must_use]
    pub fn lent_bytes(&self) -> u64 {
        self.lent
    }

    /// Makes the handle good again after its receiver died: a [`Part`](crate::Part) that the dead
    /// process had redeemed can be redeemed by another. Nothing happens for other data.
    ///
    /// # Safety
    ///
    /// - Every process that may have received the handle is proven dead: a pidfd is readable.
    /// - No handle that such a process made of the part will be redeemed.
    pub unsafe fn recall(&self) {
        if let ReachableKind::Writable { memory, part, turn } = &self.kind {
            memory.turns().recall(*part, *turn);
        }
    }

    /// Something that tells, later, whether anybody in this process still uses the memory.
    #[must_use]
    pub fn downgrade(&self) -> WeakReachable {
        WeakReachable {
            id: self.id(),
            kind: match &self.kind {
                ReachableKind::Frozen(data) => WeakKind::Frozen(Arc::downgrade(data)),
                ReachableKind::Writable { memory, .. } => {
                    WeakKind::Writable(Arc::downgrade(memory))
                }
                ReachableKind::Plain(memory) => WeakKind::Plain(Arc::downgrade(memory)),
                ReachableKind::Group(group) => WeakKind::Group(group.downgrade()),
            },
        }
    }
}

/// The file to send.
impl AsFd for Reachable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.kind {
            ReachableKind::Frozen(data) => data.as_fd(),
            ReachableKind::Writable { memory, .. } => memory.as_fd(),
            ReachableKind::Plain(memory) => memory.backing.as_fd(),
            ReachableKind::Group(group) => group.as_fd(),
        }
    }
}

/// Watches whether a [`Reachable`]'s memory is still in use in this process.
#[derive(Clone, Debug)]
pub struct WeakReachable {
    id: SegmentId,
    kind: WeakKind,
}

#[derive(Clone, Debug)]
enum WeakKind {
    Frozen(Weak<FrozenData>),
    Writable(Weak<Writable>),
    Plain(Weak<Memory>),
    Group(Weak<group::Inner>),
}

impl WeakReachable {
    /// The identity that handles name it by.
    #[must_use]
    pub fn id(&self) -> SegmentId {
        self.id
    }

    /// Whether nobody in this process holds the memory any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        match &self.kind {
            WeakKind::Frozen(data) => data.strong_count() == 0,
            WeakKind::Writable(memory) => memory.strong_count() == 0,
            WeakKind::Plain(memory) => memory.strong_count() == 0,
            WeakKind::Group(group) => group.strong_count() == 0,
        }
    }
}

/// Runs `serialise` and gives, besides its result, the files that the values it serialised name.
///
/// Calls may nest; the inner one takes what it sees for itself.
pub fn collect<R>(serialise: impl FnOnce() -> R) -> (R, Vec<Reachable>) {
    // Restores the outer collection even when `serialise` panics.
    struct Restore(*mut Vec<Reachable>);
    impl Drop for Restore {
        fn drop(&mut self) {
            COLLECTED.set(self.0);
        }
    }
    let mut files = Vec::new();
    let restore = Restore(COLLECTED.replace(&raw mut files));
    let result = serialise();
    drop(restore);
    (result, files)
}

/// Takes in a file that another process pushed; gives the identity that handles name it by.
///
/// The file is kept open until [`forget`]; frozen data that a handle to it was redeemed for is kept
/// mapped as long.
///
/// # Errors
///
/// As [`Segment::attach`](crate::Segment::attach): the header is checked now, the seals when a
/// handle is redeemed.
pub fn offer(fd: OwnedFd) -> Result<SegmentId, Error> {
    let id = identity(fd.as_fd())?;
    with_table(|table| table.arrived.insert(id, fd));
    Ok(id)
}

/// What the file of a segment or a group says that it is.
pub(crate) fn identity(fd: BorrowedFd<'_>) -> Result<SegmentId, Error> {
    // A group shows itself by a descriptor that can be closed without ending a record lock.
    let flags = rustix::fs::fcntl_getfl(fd).map_err(Error::system("fcntl(F_GETFL)"))?;
    if flags.contains(rustix::fs::OFlags::PATH) {
        return group::travel::identity(fd);
    }
    Ok(crate::header::Header::read(fd)?.id)
}

/// Closes a file that was offered. Values already made from it live on.
pub fn forget(id: SegmentId) {
    with_table(|table| {
        table.arrived.remove(&id);
        table.kept.remove(&id);
        table.frozen.retain(|_, data| data.strong_count() > 0);
        table.writable.retain(|_, memory| memory.strong_count() > 0);
        table.plain.retain(|_, memory| memory.strong_count() > 0);
    });
}

/// Whether the file of this identity was offered and not yet forgotten: whoever sent it has it, so
/// it need not be sent back.
#[must_use]
pub fn was_offered(id: SegmentId) -> bool {
    with_table(|table| table.arrived.contains_key(&id))
}

/// Sets what to call when a handle names a file that is not here: it should take in what waits in
/// the process's socket ([`offer`]) and return at once. One for the whole process; the last wins.
pub fn on_missing(receive: fn()) {
    *ON_MISSING.write().unwrap_or_else(PoisonError::into_inner) = Some(receive);
}

/// Makes an array's handles redeemable in the process that made it.
pub(crate) fn register(data: &Arc<FrozenData>) {
    with_table(|table| {
        table.frozen.retain(|_, data| data.strong_count() > 0);
        table.frozen.insert(data.id(), Arc::downgrade(data))
    });
}

pub(crate) fn register_writable(memory: &Arc<Writable>) {
    with_table(|table| {
        table.writable.retain(|_, memory| memory.strong_count() > 0);
        table.writable.insert(memory.id(), Arc::downgrade(memory))
    });
}

pub(crate) fn register_plain(memory: &Arc<Memory>) {
    with_table(|table| {
        table.plain.retain(|_, memory| memory.strong_count() > 0);
        table.plain.insert(memory.header.id, Arc::downgrade(memory))
    });
}

mod wire {
    //! What a handle looks like as a serde value.

    use super::*;
    use crate::data::Payload;
    use crate::frozen::Frozen;
    use crate::part::Part;
    use crate::{Segment, Shared, ShmSafe};
    use serde::de::Error as _;
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// A view of frozen data: `start` in bytes, `len` in elements.
    #[derive(Serialize, Deserialize)]
    struct View {
        id: SegmentId,
        start: u64,
        len: u64,
    }

    /// A part of an array: which one, and in which turn it was sent.
    #[derive(Serialize, Deserialize)]
    struct PartOf {
        id: SegmentId,
        index: u64,
        turn: u64,
    }

    /// A segment, or a group, and the name that it is opened by if it has one.
    #[derive(Serialize, Deserialize)]
    struct Whole {
        id: SegmentId,
        name: Option<String>,
    }

    fn note(kind: ReachableKind, lent: usize) {
        // SAFETY: null, or set by `collect` on this thread, which still runs: it takes the pointer
        // away before its vector goes. It does not use the vector meanwhile, and nothing is
        // serialised during the push below, so this reference is the only one.
        if let Some(files) = unsafe { COLLECTED.get().as_mut() } {
            files.push(Reachable { kind, lent: lent as u64 });
        }
    }

    /// Looks a handle's memory up; asks for what waits in the socket once if it is not there.
    fn find<R>(id: SegmentId, look: impl Fn(&mut Table) -> Option<R>) -> Result<R, Error> {
        if let Some(found) = with_table(&look) {
            return Ok(found);
        }
        let receive = *ON_MISSING.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(receive) = receive {
            receive();
        }
        with_table(look).ok_or(Error::NotReachable { id })
    }

    /// An id already in use here, or the file to map it from.
    enum Found<M> {
        Mapped(Arc<M>),
        File(OwnedFd),
    }

    /// A number from a handle; one that no address can be lies outside of everything.
    fn place(number: u64) -> usize {
        usize::try_from(number).unwrap_or(usize::MAX)
    }

    fn file_of(table: &Table, id: SegmentId) -> Option<OwnedFd> {
        table.arrived.get(&id).and_then(|fd| fd.try_clone().ok())
    }

    impl<T: ShmSafe + Copy> Serialize for Frozen<T> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            if self.named().is_some() {
                return Err(S::Error::custom(crate::Error::TravelsByName));
            }
            note(ReachableKind::Frozen(Arc::clone(self.data())), self.len() * size_of::<T>());
            View { id: self.id(), start: self.start() as u64, len: self.len() as u64 }
                .serialize(serializer)
        }
    }

    impl<'de, T: ShmSafe + Copy> Deserialize<'de> for Frozen<T> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let View { id, start, len } = View::deserialize(deserializer)?;
            let found = find(id, |table| {
                let mapped = table.frozen.get(&id).and_then(Weak::upgrade);
                mapped.map(Found::Mapped).or_else(|| file_of(table, id).map(Found::File))
            });
            let data = match found.map_err(D::Error::custom)? {
                Found::Mapped(data) => data,
                Found::File(fd) => {
                    let data = FrozenData::attach(fd).map_err(D::Error::custom)?;
                    register(&data);
                    with_table(|table| {
                        // Forgotten meanwhile by another thread: then it goes with its last value.
                        if table.arrived.contains_key(&id) {
                            table.kept.insert(id, Arc::clone(&data));
                        }
                    });
                    data
                }
            };
            Frozen::from_parts(data, place(start), place(len)).map_err(D::Error::custom)
        }
    }

    impl Serialize for Segment {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            register_plain(&self.memory);
            let name = self.name().map(str::to_owned);
            if name.is_none() {
                note(ReachableKind::Plain(Arc::clone(&self.memory)), 0);
            }
            Whole { id: self.id(), name }.serialize(serializer)
        }
    }

    impl<'de> Deserialize<'de> for Segment {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let Whole { id, name } = Whole::deserialize(deserializer)?;
            segment(id, name).map_err(D::Error::custom)
        }
    }

    fn segment(id: SegmentId, name: Option<String>) -> Result<Segment, Error> {
        let mapped = with_table(|table| table.plain.get(&id).and_then(Weak::upgrade));
        if let Some(memory) = mapped {
            return Ok(Segment { memory });
        }
        let segment = match name {
            Some(name) => Segment::open(&name)?,
            None => Segment::attach(find(id, |table| file_of(table, id))?)?,
        };
        if segment.id() != id {
            return Err(Error::NotReachable { id });
        }
        register_plain(&segment.memory);
        Ok(segment)
    }

    impl<T: Payload + ?Sized> Serialize for Shared<T> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.segment().serialize(serializer)
        }
    }

    impl<'de, T: Payload + ?Sized> Deserialize<'de> for Shared<T> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Shared::find(Segment::deserialize(deserializer)?).map_err(D::Error::custom)
        }
    }

    impl Serialize for Group {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let name = self.name().map(str::to_owned);
            if name.is_none() {
                note(ReachableKind::Group(self.clone()), 0);
            }
            Whole { id: self.id(), name }.serialize(serializer)
        }
    }

    impl<'de> Deserialize<'de> for Group {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let Whole { id, name } = Whole::deserialize(deserializer)?;
            group(id, name).map_err(D::Error::custom)
        }
    }

    fn group(id: SegmentId, name: Option<String>) -> Result<Group, Error> {
        if let Some(group) = Group::by_id(id) {
            return Ok(group);
        }
        let group = match name {
            Some(name) => Group::open(&name)?,
            None => Group::attach(find(id, |table| file_of(table, id))?)?,
        };
        if group.id() == id { Ok(group) } else { Err(Error::NotReachable { id }) }
    }

    impl<T: ShmSafe + Copy> Serialize for Part<T> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let turn = self.hand_over().map_err(S::Error::custom)?;
            let (memory, part) = (Arc::clone(self.memory()), self.index());
            note(ReachableKind::Writable { memory, part, turn }, self.len() * size_of::<T>());
            PartOf { id: self.memory().id(), index: self.index() as u64, turn }
                .serialize(serializer)
        }
    }

    impl<'de, T: ShmSafe + Copy> Deserialize<'de> for Part<T> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let PartOf { id, index, turn } = PartOf::deserialize(deserializer)?;
            let found = find(id, |table| {
                let mapped = table.writable.get(&id).and_then(Weak::upgrade);
                mapped.map(Found::Mapped).or_else(|| file_of(table, id).map(Found::File))
            });
            let memory = match found.map_err(D::Error::custom)? {
                Found::Mapped(memory) => memory,
                Found::File(fd) => {
                    let memory = Writable::attach(fd).map_err(D::Error::custom)?;
                    register_writable(&memory);
                    memory
                }
            };
            Part::redeem(&memory, place(index), turn).map_err(D::Error::custom)
        }
    }
}
