//! An array cut into parts that other processes fill in place, and put together again.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::array::Writable;
use crate::frozen::{piece, split_points};
use crate::{Array, Error, ShmSafe};

/// A stretch of an [`Array`] that one process at a time may write.
///
/// With the feature `serde` a part moves to another process as a handle: serialising it hands it
/// over, once; what stays behind can no longer write. The receiver works in place and sends the
/// part back.
///
/// What holds:
/// - A handle is good for **one** redemption, in whichever process: a copy of its bytes is refused
///   ([`Error::AlreadyHandedOver`]), also after the part came back. So no two parts that can be
///   written ever overlap. What a handle names is looked up, not believed: it says which part, and
///   the array says where that lies.
/// - A handle that is lost on its way, or whose receiver is killed, takes its part with it: the
///   array is not put together again ([`Remains::join`]), and its memory is freed with its last
///   user.
/// - A forked child inherits parts as it inherits everything. It must not write them.
#[derive(Debug)]
pub struct Part<T> {
    memory: Arc<Writable>,
    index: usize,
    start: usize,
    len: usize,
    /// What the array said when this process got the part: see [`Turns`](crate::turn::Turns).
    turn: u64,
    handed_over: AtomicBool,
    element: PhantomData<fn() -> T>,
}

impl<T: ShmSafe + Copy> Part<T> {
    /// All parts of an array that nobody else holds.
    pub(crate) fn all(memory: &Arc<Writable>, len: usize, count: usize) -> Vec<Part<T>> {
        let turns = memory.turns();
        turns.set_count(count.max(1));
        split_points(len, count)
            .enumerate()
            .map(|(index, range)| Part::new(memory, index, range, turns.held(index)))
            .collect()
    }

    fn new(memory: &Arc<Writable>, index: usize, range: Range<usize>, turn: u64) -> Part<T> {
        Part {
            memory: Arc::clone(memory),
            index,
            start: range.start,
            len: range.len(),
            turn,
            handed_over: AtomicBool::new(false),
            element: PhantomData,
        }
    }

    /// Takes the part that a handle names.
    pub(crate) fn redeem(memory: &Arc<Writable>, index: usize, sent: u64) -> Result<Self, Error> {
        let len = memory.header.expect_array::<T>()?;
        let turns = memory.turns();
        let held = turns.redeem(index, sent)?;
        let count = turns.count();
        if index >= count {
            return Err(Error::Corrupted { what: "a handle names a part that there is not" });
        }
        Ok(Part::new(memory, index, piece(len, count, index), held))
    }

    /// The elements, for writing in place.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyHandedOver`] when the part was sent to another process.
    pub fn as_mut_slice(&mut self) -> Result<&mut [T], Error> {
        if *self.handed_over.get_mut() {
            return Err(Error::AlreadyHandedOver);
        }
        // SAFETY: the range lies within the mapping: `piece` of the length that was checked
        // against the file.
        let start = unsafe { self.memory.data().cast::<T>().add(self.start) };
        // SAFETY: in bounds and aligned; any bytes are a `T`. Exclusive: the parts of one cut are
        // disjoint, this one is held once (its turn) and not handed over, and it is behind
        // `&mut self`.
        Ok(unsafe { std::slice::from_raw_parts_mut(start, self.len) })
    }
}

impl<T> Part<T> {
    /// Index of the part's first element within the whole array.
    #[must_use]
    pub fn start(&self) -> usize {
        self.start
    }

    /// Elements in this part.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the part has no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn memory(&self) -> &Arc<Writable> {
        &self.memory
    }

    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Gives the part away; the turn for its handle. Fails when it was given away already.
    pub(crate) fn hand_over(&self) -> Result<u64, Error> {
        // Relaxed: decides only which of two callers in this process goes on; the data travels
        // with the turn.
        if self.handed_over.swap(true, Ordering::Relaxed) {
            return Err(Error::AlreadyHandedOver);
        }
        self.memory.turns().hand_over(self.index, self.turn)
    }
}

/// What is left of an [`Array`] while its parts are with others.
#[derive(Debug)]
pub struct Remains<T> {
    array: Array<T>,
}

impl<T: ShmSafe + Copy> Remains<T> {
    pub(crate) fn of(array: Array<T>) -> Remains<T> {
        Remains { array }
    }

    /// Puts the array together again once every part is back.
    ///
    /// # Errors
    ///
    /// [`Error::PartsMissing`] when the parts are not exactly those of this array: one is missing
    /// (its process died, say), twice there, or of another array. The memory is then given back
    /// to the system when the last part is dropped.
    pub fn join(self, parts: impl IntoIterator<Item = Part<T>>) -> Result<Array<T>, Error> {
        let mut parts: Vec<Part<T>> = parts.into_iter().collect();
        parts.sort_by_key(Part::index);
        let missing = |what: String| Err(Error::PartsMissing { what });
        let mut next = 0;
        for part in &mut parts {
            if part.memory.id() != self.array.memory.id() {
                return missing("one belongs to another array".to_owned());
            }
            if *part.handed_over.get_mut() {
                return missing(format!("the part at {} is with another process", part.start));
            }
            if part.start != next {
                return missing(format!("expected one at {next}, found one at {}", part.start));
            }
            next += part.len;
        }
        if next != self.array.len {
            return missing(format!("they end at {next} of {}", self.array.len));
        }
        Ok(self.array)
    }
}
