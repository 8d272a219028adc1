//! The crate's one error type.

use std::io;
use std::path::PathBuf;

use crate::SegmentId;

/// What went wrong, and what to do about it. Sizes are in bytes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name cannot be a segment's.
    #[error(
        "{name:?} cannot name a segment: {why}; use 1 to 200 of the characters a-z A-Z 0-9 . _ -"
    )]
    BadName {
        /// The name as given.
        name: String,
        /// The rule it breaks.
        why: &'static str,
    },
    /// A living segment of that name exists.
    #[error("a segment named {name:?} exists and is in use: open it, or choose another name")]
    AlreadyExists {
        /// The segment's name.
        name: String,
    },
    /// No segment of that name exists.
    #[error(
        "there is no segment named {name:?}: create it first; a segment's name is gone when its last user is"
    )]
    NotFound {
        /// The segment's name.
        name: String,
    },
    /// Another process holds the name's exclusive lock for longer than anyone should.
    #[error(
        "the name {name:?} is being taken away by another process that does not finish; is it stopped?"
    )]
    Busy {
        /// The segment's name.
        name: String,
    },
    /// The name cannot be taken away: somebody uses it.
    #[error("the segment named {name:?} is in use: let its users leave first")]
    InUse {
        /// The segment's name.
        name: String,
    },
    /// An option that cannot be, or that means nothing to this call.
    #[error("the option `{option}` is refused: {why}")]
    BadOption {
        /// The option.
        option: &'static str,
        /// The rule it breaks.
        why: &'static str,
    },
    /// The file's permissions allow this process to read it only.
    #[error("this process may only read the segment named {name:?}: open it read-only")]
    ReadOnly {
        /// The segment's name.
        name: String,
    },
    /// A size of zero, or too large to map.
    #[error("a segment cannot be {size} bytes: give 1 to {max}")]
    BadSize {
        /// The size asked for (saturated when it overflowed).
        size: u64,
        /// The largest size possible.
        max: u64,
    },
    /// The file system of named segments is full.
    #[error(
        "{size} bytes do not fit on {dir:?}, which has {available} free: free some, enlarge it, or use an anonymous segment"
    )]
    NoSpace {
        /// The size asked for.
        size: u64,
        /// What the file system has left.
        available: u64,
        /// Where.
        dir: PathBuf,
    },
    /// Anonymous memory has no file-system limit; this is the crate's own check.
    #[error(
        "{size} bytes of shared memory are more than the {available} that {limit} leaves: use less data, or raise the limit"
    )]
    OutOfMemory {
        /// The size asked for.
        size: u64,
        /// What is left.
        available: u64,
        /// Which limit: `MemAvailable`, or the memory cgroup.
        limit: &'static str,
    },
    /// The file is not a segment of this crate.
    #[error(
        "this file is not a segment of shm-core: {what}; attach only files that shm-core created"
    )]
    NotASegment {
        /// What showed it.
        what: &'static str,
    },
    /// A segment, but not one this build can use.
    #[error("the segment's {what} is {found}, this program's is {ours}: build both programs alike")]
    Incompatible {
        /// The property that differs.
        what: &'static str,
        /// The segment's.
        found: u64,
        /// Ours.
        ours: u64,
    },
    /// The segment was made before the machine was last started.
    #[error("the segment was left by an earlier run of this machine: create it anew")]
    OfAnotherBoot,
    /// The file is shorter than its header says.
    #[error(
        "the segment is truncated: its file has {file} bytes and must have {needed}; create it anew"
    )]
    Truncated {
        /// Bytes in the file.
        file: u64,
        /// Bytes that the header promises.
        needed: u64,
    },
    /// The header contradicts itself.
    #[error("the segment's header is corrupted ({what}): create it anew")]
    Corrupted {
        /// The rule it breaks.
        what: &'static str,
    },
    /// The segment holds another type than the one asked for.
    #[error(
        "the segment holds elements of another type (structural hash {found:#018x}), not {wanted}: use the type it was created with, field by field"
    )]
    WrongType {
        /// The hash in the header.
        found: u64,
        /// The type asked for.
        wanted: String,
    },
    /// The data was expected to be frozen, and can still be written.
    #[error(
        "the segment is not frozen: its seals are {seals:#x}; only frozen data can be shared as &[T]"
    )]
    NotFrozen {
        /// The file's seals (`F_GET_SEALS`).
        seals: u32,
    },
    /// The data cannot be frozen while somebody can write it.
    #[error(
        "the data cannot be frozen while another process still maps it for writing: let its users drop their parts first"
    )]
    StillWritable,
    /// A named frozen array has no handle.
    #[error(
        "a named frozen array travels by its name: send the name, and let the receiver open it"
    )]
    TravelsByName,
    /// A handle arrived, but not the file that it names; or its name shows another file by now.
    #[error(
        "{id} is not reachable from this process: push its file to this process before its handle, and keep the original alive"
    )]
    NotReachable {
        /// The segment that the handle names.
        id: SegmentId,
    },
    /// A part of an array was handed over twice, or its handle was redeemed twice.
    #[error(
        "this part was handed over already: only one process may write it, and a handle is good for one redemption"
    )]
    AlreadyHandedOver,
    /// An array was cut into more parts than can travel.
    #[error(
        "part {part} cannot be handed over: of one array the first {max} parts can; cut it into fewer"
    )]
    TooManyParts {
        /// Which part, counted from 0.
        part: usize,
        /// How many can be handed over.
        max: usize,
    },
    /// The parts given back are not exactly the parts of this array.
    #[error("the parts do not make up the array again: {what}")]
    PartsMissing {
        /// What is missing or strange.
        what: String,
    },
    /// A range or index lies outside the data.
    #[error("the range {start}..{end} does not lie within 0..{len}")]
    OutOfBounds {
        /// First element asked for.
        start: u64,
        /// One past the last element asked for.
        end: u64,
        /// Elements there are.
        len: u64,
    },
    /// A stretch of memory does not begin and end at a run.
    #[error("{at} is not a multiple of {run}: memory is given back and taken in whole runs")]
    Misaligned {
        /// The offset given, in bytes.
        at: u64,
        /// Bytes of a run.
        run: u64,
    },
    /// There is no column of that name.
    #[error("there is no column {column:?}; there are: {columns}")]
    NoColumn {
        /// The name asked for.
        column: String,
        /// The names there are.
        columns: String,
    },
    /// The column has another type than the one asked for.
    #[error("the column {column:?} holds {found}, not {wanted}")]
    WrongColumnType {
        /// The column.
        column: String,
        /// What it holds.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// Every place in the group is taken by a living process.
    #[error(
        "the group is full: at most {max} processes are in one; use a group for each pair or team that shares something"
    )]
    GroupFull {
        /// How many there can be.
        max: usize,
    },
    /// Memory that cannot be, or is not, a heap.
    #[error("this memory cannot be used as that heap: a heap must be such that {what}")]
    BadHeap {
        /// The rule it breaks.
        what: &'static str,
    },
    /// A heap of this size cannot be made.
    #[error("a heap cannot be {size} bytes: with so many threads, give {least} to {most}")]
    BadHeapSize {
        /// The size asked for.
        size: u64,
        /// The least there can be.
        least: u64,
        /// The largest there can be.
        most: u64,
    },
    /// A heap's state contradicts itself.
    #[error("the heap is broken: {what}; create it anew, and look for who writes into it")]
    HeapBroken {
        /// What is wrong.
        what: String,
    },
    /// No room for a block.
    #[error(
        "no room for {size} bytes in a heap of {heap}, {free} of them in free spans: free some, or make a larger one"
    )]
    HeapFull {
        /// The size asked for.
        size: u64,
        /// Bytes in spans that nobody has.
        free: u64,
        /// The heap's size.
        heap: u64,
    },
    /// An alignment that no block has.
    #[error("blocks are aligned to at most {most} bytes, not to {align}")]
    BadAlignment {
        /// The alignment asked for.
        align: usize,
        /// The largest there is.
        most: usize,
    },
    /// No block begins at the offset.
    #[error(
        "no block begins at offset {offset}: free what the heap gave you, in the heap that did"
    )]
    NotABlock {
        /// Bytes from the heap's start.
        offset: u64,
    },
    /// The block is free.
    #[error("the block at offset {offset} is free already: it was freed twice")]
    NotAllocated {
        /// Bytes from the heap's start.
        offset: u64,
    },
    /// A handle of a hardened heap whose block was freed, and may be another's by now.
    #[error(
        "the handle of the block at offset {offset} is stale: the block was freed since; look for who keeps the handle"
    )]
    StaleBlock {
        /// Bytes from the heap's start.
        offset: u64,
    },
    /// Every place of a heap is taken by a living thread.
    #[error("the heap has {max} threads, as many as it was made for: make it for more")]
    TooManyThreads {
        /// How many there can be.
        max: usize,
    },
    /// Every name that a heap can remember is given.
    #[error("the heap has {max} roots, all it can have: put further cells into blocks")]
    TooManyRoots {
        /// How many there can be.
        max: u64,
    },
    /// A numpy description is not of the type that it is compared with.
    #[error("`{field}` is {found} in numpy, not {wanted}: describe one by the other's fields")]
    WrongDtype {
        /// The first field that differs, with the records around it.
        field: String,
        /// What numpy says of it.
        found: String,
        /// What the type says.
        wanted: String,
    },
    /// Every place among those that share values of a heap is taken.
    #[error("{max} processes share values of this heap, all there can be: use several heaps")]
    TooManyHolders {
        /// How many there can be.
        max: usize,
    },
    /// Every slot for a shared value is taken.
    #[error("the heap has {max} shared values, all there can be: share a slice instead")]
    TooManyValues {
        /// How many there can be.
        max: u32,
    },
    /// Too many references to one value are on their way.
    #[error("{max} references to this value are on their way: wait until one has been received")]
    TooManyFlights {
        /// How many there can be.
        max: usize,
    },
    /// A reference that was sent is not there to be received.
    #[error(
        "nothing to receive: it was received or taken back, its sender is gone, or it is another's; send it to its receiver by name (`to`) if it shall outlive its sender"
    )]
    NotOnItsWay,
    /// A value that a parent process made, used in its child.
    #[error("this was inherited by fork, or is of another mapping: attach anew in this process")]
    Inherited,
    /// The kernel refused a system call.
    #[error("{call}: {source}")]
    System {
        /// The call.
        call: &'static str,
        /// The kernel's word.
        #[source]
        source: io::Error,
    },
}

impl Error {
    pub(crate) const NOT_REGULAR: Error = Error::NotASegment { what: "it is not a regular file" };

    /// Names the system call that failed: `fstat(..).map_err(Error::system("fstat"))`.
    pub(crate) fn system<E: Into<io::Error>>(call: &'static str) -> impl FnOnce(E) -> Error {
        move |source| Error::System { call, source: source.into() }
    }
}
