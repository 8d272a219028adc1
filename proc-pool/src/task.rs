//! Tasks: functions with a name that parent and worker agree on.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::PoolError;
use crate::codec::{self, Failure};
use crate::worker;

/// A task's identity: 128 bits of hash over crate, version, path and signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub(crate) u128);

impl TaskId {
    /// 128-bit FNV-1a of the task's full description; what `#[task]` calls.
    #[must_use]
    pub const fn of(description: &str) -> TaskId {
        let bytes = description.as_bytes();
        let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        let mut i = 0;
        while i < bytes.len() {
            hash =
                (hash ^ bytes[i] as u128).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
            i += 1;
        }
        TaskId(hash)
    }
}

/// A value that can cross to another process: owned, with serde's traits.
///
/// Every type with `serde::Serialize` and `serde::Deserialize` has it; nothing else can.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot cross to another process",
    label = "this must be serialised here and deserialised there",
    note = "for a type of yours: #[derive(serde::Serialize, serde::Deserialize)]; for one of another crate: see whether it has a feature `serde`",
    note = "memory is shared with handles: `shm_core::Frozen`, `Column` and `Part` cross, an `Array` is cut into parts first (`into_parts`)"
)]
pub trait Transfer: Sized + 'static {
    /// As serde's `Serialize`.
    #[doc(hidden)]
    fn give<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;

    /// As serde's `Deserialize`.
    #[doc(hidden)]
    fn take<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

// Not supertraits: the compiler would name serde's traits, and not say what to do.
#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + 'static> Transfer for T {
    fn give<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.serialize(serializer)
    }

    fn take<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer)
    }
}

/// A [`Transfer`] value on its way out, for serde.
pub(crate) struct Outgoing<'a, T>(pub &'a T);

impl<T: Transfer> Serialize for Outgoing<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.give(serializer)
    }
}

/// A [`Transfer`] value that arrived, for serde.
pub(crate) struct Incoming<T>(pub T);

impl<'de, T: Transfer> Deserialize<'de> for Incoming<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::take(deserializer).map(Incoming)
    }
}

/// A function that can run in another process. Implemented by `#[task]`.
///
/// Several parameters become one tuple as [`Input`](Task::Input).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a task",
    label = "only a function with `#[proc_pool::task]` can cross to another process",
    note = "a closure or plain function is an address in this process; move the code into a function with `#[proc_pool::task]` and pass what it captures as arguments"
)]
pub trait Task: Copy + Send + 'static {
    /// The parameters: `()`, the one parameter's type, or a tuple.
    type Input: Transfer;
    /// The result.
    type Output: Transfer;
    /// Path of the function, for people.
    const NAME: &'static str;
    /// Identity, for machines.
    const ID: TaskId;
    /// Whether it may run again when its worker dies: `#[task(pure)]`.
    const PURE: bool;

    /// Calls the function, here.
    fn call(input: Self::Input) -> Self::Output;
}

/// What the registry knows of a task, its types erased.
#[derive(Clone, Copy, Debug)]
pub struct TaskEntry {
    pub(crate) name: &'static str,
    pub(crate) id: TaskId,
    pub(crate) run: fn(&[u8], &mut dyn codec::BlobSource) -> Result<codec::Encoded, Failure>,
    pub(crate) run_chunk: fn(&[u8], &mut worker::Desk) -> Result<(), String>,
}

impl TaskEntry {
    /// The entry of a task; what `#[task]` puts into the registry.
    #[must_use]
    pub const fn of<T: Task>() -> TaskEntry {
        TaskEntry {
            name: T::NAME,
            id: T::ID,
            run: codec::run::<T>,
            run_chunk: worker::run_chunk::<T>,
        }
    }
}

/// Filled by the linker from every `#[task]` of the program.
#[linkme::distributed_slice]
pub static LINKED: [TaskEntry];

/// Filled by [`register`].
static EXPLICIT: Mutex<Vec<TaskEntry>> = Mutex::new(Vec::new());

/// Registers a task by hand.
///
/// `#[task]` registers by itself through the linker, which drops entries in rare set-ups (a
/// library linked only for its tasks, say). Registering a task twice is harmless. Call it before
/// [`init`](crate::init), so that parent and workers know the same tasks.
///
/// ```
/// #[proc_pool::task]
/// fn double(x: u32) -> u32 {
///     2 * x
/// }
///
/// proc_pool::register(double);
/// ```
pub fn register<T: Task>(_task: T) {
    let mut entries = EXPLICIT.lock().unwrap_or_else(PoisonError::into_inner);
    entries.push(TaskEntry::of::<T>());
}

/// The tasks of this program, by identity.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    tasks: BTreeMap<TaskId, TaskEntry>,
}

impl Registry {
    /// Collects all tasks; two different ones with the same identity are an error.
    pub fn collect() -> Result<Registry, PoolError> {
        let explicit = EXPLICIT.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tasks = BTreeMap::new();
        let mut linked = std::collections::BTreeSet::new();
        for entry in LINKED {
            if !linked.insert(entry.id) {
                return Err(PoolError::DuplicateTask { name: entry.name });
            }
        }
        for entry in LINKED.iter().chain(explicit.iter()) {
            tasks.insert(entry.id, *entry);
        }
        Ok(Registry { tasks })
    }

    pub fn get(&self, id: TaskId) -> Option<&TaskEntry> {
        self.tasks.get(&id)
    }

    /// Differs between programs that were built from other tasks.
    pub fn fingerprint(&self) -> u64 {
        self.tasks.keys().fold(self.tasks.len() as u64, |sum, id| {
            sum.rotate_left(7) ^ (id.0 as u64) ^ ((id.0 >> 64) as u64)
        })
    }
}
