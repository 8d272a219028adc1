//! The recorder for processes: a log in shared memory that can be read whenever its writers die.
//!
//! One lane a process. An entry is written first, and then counted: an entry that a kill left
//! half written was never counted, and the next writer of the lane writes over it. The invocation
//! is counted before the operation begins and the return after it ended, so that the operation
//! that a process was killed in is open in its lane.

use super::clock::Clock;
use super::merge::{Stamped, merge};
use super::region::Region;
use super::wire::Wire;
use crate::linear::{Error, Event, History, Process};
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};

/// Marks a log of this version: `lin-log` and the version.
const MAGIC: u64 = u64::from_be_bytes(*b"lin-log\x01");

/// Words of the header; the lanes follow.
const HEADER: usize = 8;
const MAGIC_WORD: usize = 0;
const LANES_WORD: usize = 1;
const CAPACITY_WORD: usize = 2;
const CLOCK_WORD: usize = 3;
const COUNTER_WORD: usize = 4;

/// Words of a lane's own header, a cache line: the first counts its entries.
const LANE_HEADER: usize = 8;

/// Words of an entry: kind and stamp packed apart, then the value.
const ENTRY: usize = 8;
const KIND: usize = 0;
const STAMP: usize = 1;
const VALUE: usize = 2;

const INVOKE: u64 = 1;
const RETURN: u64 = 2;
const CRASH: u64 = 3;
const RECOVER: u64 = 4;

/// Entries that an invocation leaves room for: its return, a crash, a recovery.
const RESERVE: usize = 3;

/// A log that several processes write, in memory that they share: forked children inherit it,
/// others open its descriptor.
///
/// ```
/// use crash_check::linear::{Checker, Condition, Process, SharedLog};
/// use crash_check::linear::spec::{ItemOp, ItemRet, Queue};
///
/// let log = SharedLog::<ItemOp, ItemRet>::new(2, 100)?;
/// let mut lane = log.lane(Process(0))?;
/// lane.invoke(&ItemOp::Push(7))?; // ... and here its process is killed.
/// log.lane(Process(0))?.crash()?; // Its parent has waited for it.
/// log.lane(Process(1))?.call(ItemOp::Pop, || Some(7).into())?;
/// assert!(Checker::new(Queue::unbounded(), Condition::Strict).check(&log.history()?)?.holds());
/// # Ok::<(), crash_check::linear::Error>(())
/// ```
#[derive(Debug)]
pub struct SharedLog<Op, Ret> {
    region: Region,
    lanes: usize,
    capacity: usize,
    clock: Clock,
    values: PhantomData<fn(Op) -> Ret>,
}

impl<Op: Wire, Ret: Wire> SharedLog<Op, Ret> {
    /// A log for the processes `0..lanes`, with room for `capacity` events each (two an
    /// operation), 64 bytes an event, under [`Clock::Monotonic`].
    ///
    /// # Errors
    ///
    /// [`Error::System`] if there is not enough memory, or no descriptor left.
    pub fn new(lanes: usize, capacity: usize) -> Result<Self, Error> {
        Self::with_clock(lanes, capacity, Clock::Monotonic)
    }

    /// As [`new`](Self::new), with this clock: [`Clock::Counter`] for a schedule in which only
    /// one process runs at a time.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_clock(lanes: usize, capacity: usize, clock: Clock) -> Result<Self, Error> {
        let words = words(lanes, capacity).ok_or_else(|| Error::NotALog {
            reason: format!("{lanes} lanes of {capacity} events exceed the address space"),
        })?;
        let region = Region::create(words)?;
        let log = Self { region, lanes, capacity, clock, values: PhantomData };
        let header = [
            (LANES_WORD, lanes as u64),
            (CAPACITY_WORD, capacity as u64),
            (CLOCK_WORD, u64::from(clock == Clock::Counter)),
        ];
        for (word, value) in header {
            // Relaxed: the Release store of the magic publishes it.
            log.word(word).store(value, Ordering::Relaxed);
        }
        // Release: pairs with the Acquire load in `open`.
        log.word(MAGIC_WORD).store(MAGIC, Ordering::Release);
        Ok(log)
    }

    /// Opens the log behind a descriptor that [`as_fd`](Self::as_fd) gave to another process.
    ///
    /// # Errors
    ///
    /// [`Error::NotALog`] if it is none, of another version, or could be cut short under us;
    /// [`Error::System`] if it can not be mapped.
    pub fn open(file: OwnedFd) -> Result<Self, Error> {
        let region = Region::open(file)?;
        let not_a_log = |reason: &str| Error::NotALog { reason: reason.to_owned() };
        let header = region.words().get(..HEADER).ok_or_else(|| not_a_log("too short"))?;
        // Acquire: pairs with the Release store in `with_clock`.
        if header[MAGIC_WORD].load(Ordering::Acquire) != MAGIC {
            return Err(not_a_log("the magic number is another"));
        }
        // Relaxed: written before the magic, and never again.
        let read = |word: usize| header[word].load(Ordering::Relaxed);
        let size = |word| usize::try_from(read(word)).map_err(|_| not_a_log("sizes do not fit"));
        let (lanes, capacity) = (size(LANES_WORD)?, size(CAPACITY_WORD)?);
        if words(lanes, capacity) != Some(region.words().len()) {
            return Err(not_a_log("its length is not what its header says"));
        }
        let clock = if read(CLOCK_WORD) == 0 { Clock::Monotonic } else { Clock::Counter };
        Ok(Self { region, lanes, capacity, clock, values: PhantomData })
    }

    /// The lane of one process. Only one thread of one process may write it at a time: after the
    /// process has died (its parent has waited for it), whoever records the crash, and then its
    /// successor.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchLane`] if the log was created with fewer lanes.
    pub fn lane(&self, process: impl Into<Process>) -> Result<Lane<'_, Op, Ret>, Error> {
        let process = process.into();
        let lane = process.0 as usize;
        if lane >= self.lanes {
            return Err(Error::NoSuchLane { process, lanes: self.lanes });
        }
        Ok(Lane { log: self, process })
    }

    /// The history of everything counted so far. Call it when every writer has stopped or died:
    /// of running ones it may see an effect and not its cause.
    ///
    /// # Errors
    ///
    /// [`Error::NotALog`] if a lane holds what no lane can.
    pub fn history(&self) -> Result<History<Op, Ret>, Error> {
        let lanes: Result<Vec<_>, Error> = (0..self.lanes).map(|lane| self.read(lane)).collect();
        Ok(merge(lanes?))
    }

    fn read(&self, lane: usize) -> Result<Vec<Stamped<Op, Ret>>, Error> {
        let process = Process(lane as u32);
        let start = lane_start(lane, self.capacity);
        // Acquire: pairs with the Release store in `Lane::append`; the entries it counts are whole.
        let count = self.word(start).load(Ordering::Acquire);
        if count > self.capacity as u64 {
            let reason = format!("{process} counts {count} events of {}", self.capacity);
            return Err(Error::NotALog { reason });
        }
        let entry = |index: u64| {
            let at = start + LANE_HEADER + index as usize * ENTRY;
            // Relaxed: the Acquire load of the count above orders them.
            let read = |word: usize| self.word(at + word).load(Ordering::Relaxed);
            let value = [read(VALUE), read(VALUE + 1), read(VALUE + 2)];
            let event = match read(KIND) {
                INVOKE => Op::from_wire(value).map(|op| Event::Invoke(process, op)),
                RETURN => Ret::from_wire(value).map(|ret| Event::Return(process, ret)),
                CRASH => Some(Event::Crash(process)),
                RECOVER => Some(Event::Recover(process)),
                _ => None,
            };
            let reason = || format!("event {index} of {process} is of another type");
            let event = event.ok_or_else(|| Error::NotALog { reason: reason() })?;
            Ok((read(STAMP), event))
        };
        (0..count).map(entry).collect()
    }

    /// A word of the region: `with_clock` and `open` have checked its length.
    fn word(&self, index: usize) -> &AtomicU64 {
        &self.region.words()[index]
    }
}

impl<Op, Ret> AsFd for SharedLog<Op, Ret> {
    /// The descriptor, closed on exec: duplicate it, or send it over a socket.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.region.as_fd()
    }
}

fn lane_start(lane: usize, capacity: usize) -> usize {
    HEADER + lane * (LANE_HEADER + capacity * ENTRY)
}

/// Words of a whole log, if that is a size.
fn words(lanes: usize, capacity: usize) -> Option<usize> {
    let lane = capacity.checked_mul(ENTRY)?.checked_add(LANE_HEADER)?;
    let words = lane.checked_mul(lanes)?.checked_add(HEADER)?;
    // Bytes must be a signed offset for the system.
    words.checked_mul(8).filter(|&bytes| isize::try_from(bytes).is_ok())?;
    Some(words)
}

/// Records the operations of one process; see [`SharedLog`]. Nothing in it allocates or locks, so
/// that a child of `fork` may use it.
#[derive(Debug)]
pub struct Lane<'a, Op, Ret> {
    log: &'a SharedLog<Op, Ret>,
    process: Process,
}

impl<Op: Wire, Ret: Wire> Lane<'_, Op, Ret> {
    /// Records that the operation begins. Call it immediately before.
    ///
    /// # Errors
    ///
    /// [`Error::LogFull`], and nothing is recorded: there is no room for the operation's end.
    pub fn invoke(&mut self, op: &Op) -> Result<(), Error> {
        let stamp = self.log.clock.before(self.log.word(COUNTER_WORD));
        self.append(INVOKE, stamp, op.to_wire(), RESERVE)?;
        // SeqCst, for the compiler alone: a kill comes at an instruction boundary; program order is enough for the entry
        // to be there when the operation is: only the compiler must not move it.
        compiler_fence(Ordering::SeqCst);
        Ok(())
    }

    /// Records that it returned. Call it immediately after.
    ///
    /// # Errors
    ///
    /// [`Error::LogFull`] only where no invocation was recorded before.
    pub fn returned(&mut self, ret: &Ret) -> Result<(), Error> {
        let stamp = self.log.clock.after(self.log.word(COUNTER_WORD));
        self.append(RETURN, stamp, ret.to_wire(), 0)
    }

    /// Runs and records one operation.
    ///
    /// # Errors
    ///
    /// [`Error::LogFull`], and `run` was not called.
    pub fn call(&mut self, op: Op, run: impl FnOnce() -> Ret) -> Result<Ret, Error> {
        self.invoke(&op)?;
        let ret = run();
        self.returned(&ret)?;
        Ok(ret)
    }

    /// Records that the process died: by another one, after its death is proven. The stamp is
    /// later than the death, so that [`Condition::Strict`](crate::linear::Condition::Strict)
    /// allows what happened in between.
    ///
    /// # Errors
    ///
    /// [`Error::LogFull`] after many crashes without an operation.
    pub fn crash(&mut self) -> Result<(), Error> {
        let stamp = self.log.clock.after(self.log.word(COUNTER_WORD));
        self.append(CRASH, stamp, [0; 3], 0)
    }

    /// Records that the recovery after its death is complete.
    ///
    /// # Errors
    ///
    /// [`Error::LogFull`] after many crashes without an operation.
    pub fn recover(&mut self) -> Result<(), Error> {
        let stamp = self.log.clock.after(self.log.word(COUNTER_WORD));
        self.append(RECOVER, stamp, [0; 3], 0)
    }

    fn append(
        &mut self,
        kind: u64,
        stamp: u64,
        value: [u64; 3],
        reserve: usize,
    ) -> Result<(), Error> {
        let capacity = self.log.capacity;
        let start = lane_start(self.process.0 as usize, capacity);
        let count = self.log.word(start);
        // Acquire: pairs with the Release store below, where the writer was another process.
        let index = count.load(Ordering::Acquire);
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        if index.saturating_add(reserve) >= capacity {
            return Err(Error::LogFull { process: self.process, capacity });
        }
        let at = start + LANE_HEADER + index * ENTRY;
        let [first, second, third] = value;
        for (word, value) in [kind, stamp, first, second, third].into_iter().enumerate() {
            // Relaxed: the Release store below publishes them.
            self.log.word(at + word).store(value, Ordering::Relaxed);
        }
        // Release: whoever sees the entry counted (Acquire in `read`) sees it whole.
        count.store(index as u64 + 1, Ordering::Release);
        Ok(())
    }
}
