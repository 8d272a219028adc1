//! From values to bytes and back: postcard, with large plain data and files beside it.
//!
//! An encoded value has three parts: the postcard bytes; *blobs*, which are written to the
//! transport straight from where they lie and read straight to where they will lie (see
//! [`Copied`](crate::Copied)); and *files*, shared memory that handles in the bytes name.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use postcard::ser_flavors::Flavor;
use shm_core::handle::{self, Reachable};

use crate::task::{Incoming, Outgoing, Task, Transfer};
use crate::{number, protocol, record};

/// A value ready for the transport.
#[derive(Default)]
pub struct Encoded {
    pub(crate) bytes: Vec<u8>,
    pub(crate) blobs: Vec<Arc<dyn Blob>>,
    pub(crate) files: Vec<Reachable>,
}

impl Encoded {
    /// Bytes of all blobs.
    pub(crate) fn blob_len(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.bytes().len() as u64).sum()
    }

    /// Bytes that are lent by handle, and not copied.
    pub(crate) fn spared(&self) -> u64 {
        self.files.iter().map(Reachable::lent_bytes).sum()
    }

    /// Bytes that were copied into the arena.
    pub(crate) fn arena_len(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.in_arena()).sum()
    }
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoded")
            .field("bytes", &self.bytes.len())
            .field("blob_bytes", &self.blob_len())
            .field("files", &self.files.len())
            .finish()
    }
}

/// Plain data that travels beside the postcard bytes.
pub(crate) trait Blob: Send + Sync {
    fn bytes(&self) -> &[u8];

    /// The bytes, wherever they lie.
    fn content(&self) -> &[u8] {
        self.bytes()
    }

    /// Bytes that were copied into the arena instead; see [`arena`](crate::arena).
    fn in_arena(&self) -> u64 {
        0
    }

    /// This process's parent is about to be told of what lies in the arena.
    fn give_to_parent(&self) {}
}

/// Where the blobs of an arriving value come from, in order.
pub trait BlobSource {
    /// Fills `target` with the next bytes; `false` when there are no more.
    fn fill(&mut self, target: &mut [u8]) -> bool;
}

/// Why a task that arrived gives no value.
#[derive(Debug)]
pub enum Failure {
    /// The input does not deserialise.
    Input(String),
    /// The result does not serialise.
    Output(String),
    /// The result cannot be sent.
    Lost(String),
}

/// Blobs of a value, in order.
type Blobs = Vec<Arc<dyn Blob>>;

thread_local! {
    /// Where blobs of the value go that this thread serialises just now: into a vector of
    /// [`gather`]'s; null outside of it.
    static OUTGOING: Cell<*mut Blobs> = const { Cell::new(std::ptr::null_mut()) };
    /// Source for the value that this thread deserialises just now. The pointer is valid while
    /// [`decode`] runs, which sets and clears it.
    static INCOMING: Cell<Option<*mut dyn BlobSource>> = const { Cell::new(None) };
}

/// Serialises, and gives what belongs to the value besides: its blobs and its files.
///
/// Done for every item of a chunk; two words of this thread's are all that it costs an item which
/// has neither.
#[inline]
fn gather<R>(serialise: impl FnOnce() -> R) -> (R, Blobs, Vec<Reachable>) {
    /// Puts the outer pointer back even when a `Serialize` panics.
    struct Restore(*mut Blobs);
    impl Drop for Restore {
        fn drop(&mut self) {
            OUTGOING.set(self.0);
        }
    }
    let mut blobs = Vec::new();
    let restore = Restore(OUTGOING.replace(&raw mut blobs));
    let (result, files) = handle::collect(serialise);
    drop(restore);
    (result, blobs, files)
}

/// Serialises a value.
pub(crate) fn encode<V: Transfer>(value: &V) -> Result<Encoded, String> {
    if let Some(bytes) = number::with_bytes(value, <[u8]>::to_vec) {
        return Ok(Encoded { bytes, ..Encoded::default() });
    }
    let (bytes, blobs, files) = gather(|| postcard::to_stdvec(&Outgoing(value)));
    match bytes {
        Ok(bytes) => Ok(Encoded { bytes, blobs, files }),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether this thread is inside [`gather`].
pub(crate) fn gathers() -> bool {
    !OUTGOING.get().is_null()
}

/// Adds a blob to the value being serialised; `false` outside of [`gather`].
pub(crate) fn attach_blob(blob: Arc<dyn Blob>) -> bool {
    // SAFETY: null, or set by `gather` on this thread, which still runs: it takes the pointer away
    // before its vector goes, does not use the vector meanwhile, and nothing is serialised during
    // the push below.
    match unsafe { OUTGOING.get().as_mut() } {
        Some(blobs) => {
            blobs.push(blob);
            true
        }
        None => false,
    }
}

/// Deserialises a value whose blobs come from `source`.
pub(crate) fn decode<V: Transfer>(bytes: &[u8], source: &mut dyn BlobSource) -> Result<V, String> {
    /// Clears the pointer even when a `Deserialize` panics.
    struct Clear;
    impl Drop for Clear {
        fn drop(&mut self) {
            INCOMING.set(None);
        }
    }
    let pointer: *mut (dyn BlobSource + '_) = source;
    // SAFETY: only the lifetime changes; `Clear` removes the pointer before `source` ends, and
    // nobody but `fill_blob` on this thread reads it.
    let pointer: *mut (dyn BlobSource + 'static) = unsafe { std::mem::transmute(pointer) };
    INCOMING.set(Some(pointer));
    let _clear = Clear;
    plain(bytes)
}

/// Deserialises a value that is nothing but bytes.
#[inline]
pub(crate) fn plain<V: Transfer>(bytes: &[u8]) -> Result<V, String> {
    match number::from_bytes(bytes) {
        Some(number) => Ok(number),
        None => no_number(bytes),
    }
}

/// Fills `target` from the value being deserialised; `false` outside of [`decode`].
pub(crate) fn fill_blob(target: &mut [u8]) -> bool {
    match INCOMING.get() {
        // SAFETY: set by `decode`, which still runs: it clears the pointer when it ends. No other
        // reference to the source exists meanwhile, since `decode` holds the only one.
        Some(source) => unsafe { &mut *source }.fill(target),
        None => false,
    }
}

/// Deserialises the input, calls the task, serialises the result: what a worker does.
pub(crate) fn run<T: Task>(bytes: &[u8], source: &mut dyn BlobSource) -> Result<Encoded, Failure> {
    let input = decode::<T::Input>(bytes, source).map_err(Failure::Input)?;
    let output = T::call(input);
    encode(&output).map_err(Failure::Output)
}

#[inline(never)]
fn no_number<V: Transfer>(bytes: &[u8]) -> Result<V, String> {
    if number::is_number::<V>() {
        return Err(format!("a number of {} bytes, not {}", size_of::<V>(), bytes.len()));
    }
    let value: Result<Incoming<V>, _> = postcard::from_bytes(bytes);
    value.map(|value| value.0).map_err(|error| error.to_string())
}

/// Adds a value to a chunk as a record. Gives it encoded where it cannot be part of a chunk: blobs
/// and files travel with requests and responses of their own.
#[inline]
pub(crate) fn append_record<V: Transfer>(
    value: &V,
    chunk: &mut Vec<u8>,
) -> Result<Option<Encoded>, String> {
    let copy = |bytes: &[u8]| {
        chunk.extend_from_slice(&record::word(bytes.len(), protocol::Outcome::Done));
        chunk.extend_from_slice(bytes);
    };
    if number::with_bytes(value, copy).is_some() {
        return Ok(None);
    }
    let start = chunk.len();
    chunk.extend_from_slice(&[0; record::WORD]);
    let (result, blobs, files) =
        gather(|| postcard::serialize_with_flavor(&Outgoing(value), Append(&mut *chunk)));
    let length = chunk.len() - start - record::WORD;
    if result.is_ok() && files.is_empty() && blobs.is_empty() && length <= record::LONGEST {
        chunk[start..start + record::WORD]
            .copy_from_slice(&record::word(length, protocol::Outcome::Done));
        return Ok(None);
    }
    let bytes = chunk.split_off(start + record::WORD);
    chunk.truncate(start);
    result.map(|()| Some(Encoded { bytes, blobs, files })).map_err(|error| error.to_string())
}

/// Appends to a vector.
struct Append<'a>(&'a mut Vec<u8>);

impl Flavor for Append<'_> {
    type Output = ();

    #[inline]
    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(data);
        Ok(())
    }

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// What became of [`encode_into`].
pub(crate) enum Placed {
    /// So many bytes were written.
    Here(usize),
    /// It does not fit, or has blobs or files: here it is.
    Elsewhere(Encoded),
}

/// Serialises a value, once, into `target` if it fits and is nothing but bytes.
#[inline]
pub(crate) fn encode_into<V: Transfer>(value: &V, target: &mut [u8]) -> Result<Placed, String> {
    let copy = |bytes: &[u8]| match target.get_mut(..bytes.len()) {
        Some(room) => {
            room.copy_from_slice(bytes);
            Placed::Here(bytes.len())
        }
        None => Placed::Elsewhere(Encoded { bytes: bytes.to_vec(), ..Encoded::default() }),
    };
    if let Some(placed) = number::with_bytes(value, copy) {
        return Ok(placed);
    }
    let mut place = Place { target, used: 0, beyond: None };
    let (result, blobs, files) =
        gather(|| postcard::serialize_with_flavor(&Outgoing(value), Borrowed(&mut place)));
    result.map_err(|error| error.to_string())?;
    if place.beyond.is_none() && files.is_empty() && blobs.is_empty() {
        return Ok(Placed::Here(place.used));
    }
    let bytes = place.beyond.unwrap_or_else(|| place.target[..place.used].to_vec());
    Ok(Placed::Elsewhere(Encoded { bytes, blobs, files }))
}

/// A slice that is written to, and a vector for what does not fit in it.
struct Place<'a> {
    target: &'a mut [u8],
    used: usize,
    beyond: Option<Vec<u8>>,
}

struct Borrowed<'a, 'b>(&'a mut Place<'b>);

impl Place<'_> {
    /// The rest goes to memory of its own.
    #[cold]
    fn go_beyond(&mut self, data: &[u8]) {
        match &mut self.beyond {
            Some(beyond) => beyond.extend_from_slice(data),
            None => self.beyond = Some([&self.target[..self.used], data].concat()),
        }
    }
}

impl Flavor for Borrowed<'_, '_> {
    type Output = ();

    #[inline]
    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        let place = &mut *self.0;
        match place.target.get_mut(place.used..place.used + data.len()) {
            Some(room) if place.beyond.is_none() => {
                room.copy_from_slice(data);
                place.used += data.len();
            }
            _ => place.go_beyond(data),
        }
        Ok(())
    }

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Blobs that already arrived whole.
pub(crate) struct Arrived<'a> {
    pub rest: &'a [u8],
}

impl BlobSource for Arrived<'_> {
    fn fill(&mut self, target: &mut [u8]) -> bool {
        let Some((head, rest)) = self.rest.split_at_checked(target.len()) else { return false };
        target.copy_from_slice(head);
        self.rest = rest;
        true
    }
}
