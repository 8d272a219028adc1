//! The warm arena: large plain data is copied once, into memory that stays mapped and touched on
//! both sides, and read where it lies.
//!
//! A process keeps *buffers*, anonymous segments whose first page says who uses them:
//!
//! | word | not 0 while | set by | cleared by |
//! |---|---|---|---|
//! | `sender` | the encoded value may still be sent, or sent again | the sender, who alone hands buffers out | the sender, when the encoded value goes |
//! | `receiver` | the receiver has a value that lies in the buffer | the receiver when it redeems; of a result the sender, before the answer | the receiver, when the value goes; the parent, once the receiver is proven dead |
//!
//! A buffer is used again when both are 0. A sender that is killed takes nothing with it that
//! anybody needs: the receiver's mapping lives on. A receiver that is killed leaves its number in
//! `receiver`, and its parent takes it out ([`forget_process`]). A worker's parent does not die
//! before the worker.
//!
//! Buffers travel as handles of segments do. The receiver keeps them mapped too, so that the next
//! value finds its page tables filled.

use std::collections::HashMap;
use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use shm_core::{Segment, SegmentId};

use crate::codec::Blob;

/// Values of fewer bytes go through the pipes, whose ring is warm as well.
pub(crate) const LEAST: usize = 256 << 10;

/// Bytes of unused buffers that a process keeps.
const KEPT: usize = 256 << 20;

/// Where data begins in a buffer.
const START: usize = 4096;

/// Sizes of buffers are multiples of this, so that similar values share them.
const STEP: usize = 1 << 20;

/// In [`Words::receiver`]: the parent of the worker that sends.
const PARENT: u32 = u32::MAX;

/// At the beginning of a buffer, and hardly of any other segment that a result names.
const MAGIC: u64 = u64::from_le_bytes(*b"pp-arena");

/// Who uses a buffer.
#[repr(C)]
struct Words {
    magic: AtomicU64,
    sender: AtomicU32,
    receiver: AtomicU32,
}

/// What this process knows of buffers. A forked child starts with nothing: the buffers' words are
/// its parent's affair.
#[derive(Default)]
struct Table {
    /// The process that this is for.
    pid: u32,
    /// Buffers that this process made, those used last at the end.
    own: Vec<Segment>,
    /// Buffers of others, kept mapped.
    received: HashMap<SegmentId, Segment>,
    leases: HashMap<SegmentId, Weak<Lease>>,
}

static TABLE: Mutex<Option<Table>> = Mutex::new(None);

fn table() -> MutexGuard<'static, Option<Table>> {
    // Nothing under this lock panics half-way through a change.
    let mut table = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
    let pid = std::process::id();
    if table.as_ref().is_none_or(|table| table.pid != pid) {
        *table = Some(Table { pid, ..Table::default() });
    }
    table
}

fn words(buffer: &Segment) -> &Words {
    // SAFETY: every buffer is larger than `START` (own ones are made so, others are checked before
    // they come here), page-aligned, and begins with these atomics, for which any bytes are a
    // value. The reference lives no longer than the mapping.
    unsafe { buffer.data().cast::<Words>().as_ref() }
}

/// Whether a segment that arrived is a buffer.
fn is_buffer(segment: &Segment) -> bool {
    // Relaxed: written before the message that brought the handle.
    segment.size() > START && words(segment).magic.load(Ordering::Relaxed) == MAGIC
}

fn is_free(buffer: &Segment) -> bool {
    let words = words(buffer);
    // Acquire, both: pair with the Release stores of whoever let go: its reads of the data come
    // before our next writes.
    words.sender.load(Ordering::Acquire) == 0 && words.receiver.load(Ordering::Acquire) == 0
}

/// Where the data of a buffer begins.
fn data(buffer: &Segment) -> NonNull<u8> {
    // SAFETY: as in `words`: every buffer is larger than `START`.
    unsafe { buffer.data().add(START) }
}

/// Copies `bytes` into a free buffer; `None` where there is no memory for one.
pub(crate) fn put(bytes: &[u8]) -> Option<Lent> {
    let buffer = take(bytes.len())?;
    // SAFETY: the buffer has room for `bytes`, which lie elsewhere; being the sender's and nobody's
    // to receive yet, it is read by nobody.
    unsafe { data(&buffer).as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    Some(Lent { buffer, pid: std::process::id(), length: bytes.len() })
}

/// A buffer with room for so many bytes, this process's to fill.
fn take(length: usize) -> Option<Segment> {
    let size = length.checked_add(START)?.checked_next_multiple_of(STEP)?;
    let mut guard = table();
    let table = guard.as_mut()?;
    let fits = |buffer: &Segment| (size..=4 * size).contains(&buffer.size()) && is_free(buffer);
    let buffer = match table.own.iter().rposition(fits) {
        Some(found) => table.own.remove(found),
        None => {
            table.make_room(size);
            let buffer = Segment::anonymous(size).ok()?;
            // Relaxed: the receiver learns of the buffer by a message.
            words(&buffer).magic.store(MAGIC, Ordering::Relaxed);
            buffer
        }
    };
    // Relaxed: the receiver learns of the buffer by a message; nobody else takes buffers here.
    words(&buffer).sender.store(table.pid, Ordering::Relaxed);
    table.own.push(buffer.clone());
    Some(buffer)
}

impl Table {
    /// Lets unused buffers go, the longest unused first, until `size` more bytes may be kept.
    fn make_room(&mut self, size: usize) {
        let mut kept: usize = self.own.iter().map(Segment::size).sum();
        self.own.retain(|buffer| {
            let goes = kept + size > KEPT && is_free(buffer);
            kept -= if goes { buffer.size() } else { 0 };
            !goes
        });
    }
}

/// A buffer that an encoded value lies in; free to be used again when the encoded value has gone
/// and its receiver is done with it.
pub(crate) struct Lent {
    buffer: Segment,
    pid: u32,
    length: usize,
}

impl Lent {
    pub fn buffer(&self) -> &Segment {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if std::process::id() == self.pid {
            // Release: pairs with the Acquire load in `is_free`.
            words(&self.buffer).sender.store(0, Ordering::Release);
        }
    }
}

/// Sent beside the bytes as nothing: what it holds is there already.
impl Blob for Lent {
    fn bytes(&self) -> &[u8] {
        &[]
    }

    fn content(&self) -> &[u8] {
        // SAFETY: the buffer holds so many bytes, which nobody writes while the encoded value is
        // there: that is what `sender` says.
        unsafe { std::slice::from_raw_parts(data(&self.buffer).as_ptr(), self.length) }
    }

    fn in_arena(&self) -> u64 {
        self.length as u64
    }

    fn give_to_parent(&self) {
        // Relaxed: the parent learns of the buffer by the answer, which is published later; this
        // process reads the word under its own hand only.
        words(&self.buffer).receiver.store(PARENT, Ordering::Relaxed);
    }
}

/// A received buffer in use: a value lies in it.
pub(crate) struct Lease {
    buffer: Segment,
    /// What `receiver` says meanwhile.
    stamp: u32,
    pid: u32,
}

impl Lease {
    /// Where the data begins, page-aligned.
    pub fn start(&self) -> NonNull<u8> {
        data(&self.buffer)
    }

    /// Bytes from there to the end.
    pub fn room(&self) -> usize {
        self.buffer.size() - START
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("buffer", &self.buffer.id()).finish()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if std::process::id() == self.pid {
            // Release: pairs with the Acquire load in `is_free`. The word is this process's to
            // clear: nobody stamps over a stamp. (An exchange all the same: a parent that took us
            // for dead would have cleared it.)
            let word = &words(&self.buffer).receiver;
            // Relaxed on failure: nothing follows from it.
            let _ = word.compare_exchange(self.stamp, 0, Ordering::Release, Ordering::Relaxed);
        }
    }
}

/// Takes a buffer that arrived into use; `None` where another process uses it too (an initializer's
/// input goes to every worker), or it is none: then its data must be copied, or is an error.
pub(crate) fn redeem(buffer: &Segment) -> Option<Arc<Lease>> {
    if !is_buffer(buffer) {
        return None;
    }
    let mut guard = table();
    let table = guard.as_mut()?;
    if let Some(lease) = table.leases.get(&buffer.id()).and_then(Weak::upgrade) {
        return Some(lease);
    }
    // Relaxed: the data was written before the message that brought the handle; on failure nothing
    // follows from it.
    let stamped =
        words(buffer).receiver.compare_exchange(0, table.pid, Ordering::Relaxed, Ordering::Relaxed);
    let stamp = table.pid;
    stamped.is_ok().then(|| table.lease(buffer, stamp))
}

/// A buffer that came with an answer: it is this process's until the lease goes.
pub(crate) fn receive(buffer: &Segment) -> Option<Arc<Lease>> {
    if !is_buffer(buffer) {
        return None;
    }
    table().as_mut().map(|table| table.lease(buffer, PARENT))
}

impl Table {
    fn lease(&mut self, buffer: &Segment, stamp: u32) -> Arc<Lease> {
        self.leases.retain(|_, lease| lease.strong_count() > 0);
        self.keep(buffer);
        let lease = Arc::new(Lease { buffer: buffer.clone(), stamp, pid: self.pid });
        self.leases.insert(buffer.id(), Arc::downgrade(&lease));
        lease
    }

    /// Keeps a buffer of somebody else's mapped, unless they are too many.
    fn keep(&mut self, buffer: &Segment) {
        if self.own.iter().any(|own| own.id() == buffer.id()) {
            return;
        }
        let kept: usize = self.received.values().map(Segment::size).sum();
        if kept + buffer.size() > 2 * KEPT {
            self.received.clear();
        }
        self.received.insert(buffer.id(), buffer.clone());
    }
}

/// The data of a buffer that another process uses too, copied; the sender still holds it.
pub(crate) fn copy(buffer: &Segment, target: &mut [u8]) -> bool {
    if !is_buffer(buffer) || target.len() > buffer.size() - START {
        return false;
    }
    // SAFETY: the buffer has so many bytes, which nobody writes: its sender keeps the encoded value
    // while the request is under way. `target` is private.
    unsafe { target.as_mut_ptr().copy_from_nonoverlapping(data(buffer).as_ptr(), target.len()) };
    true
}

/// Lets all unused buffers go.
pub(crate) fn clear() {
    if let Some(table) = table().as_mut() {
        table.own.retain(|buffer| !is_free(buffer));
        table.received.clear();
    }
}

/// The sender needs this buffer no longer.
pub(crate) fn forget(id: SegmentId) {
    if let Some(table) = table().as_mut() {
        table.received.remove(&id);
    }
}

/// A worker of this process's is proven dead: what it had received is nobody's, and what it sent
/// need not stay mapped.
pub(crate) fn forget_process(pid: u32) {
    let mut guard = table();
    let Some(table) = guard.as_mut() else { return };
    for buffer in &table.own {
        // Relaxed, both: the dead process's reads are over, as its pidfd said.
        let _ =
            words(buffer).receiver.compare_exchange(pid, 0, Ordering::Relaxed, Ordering::Relaxed);
    }
    table.received.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put_in(value: u8, length: usize) -> Lent {
        put(&vec![value; length]).unwrap()
    }

    #[test]
    fn a_buffer_is_used_again_only_when_sender_and_receiver_are_done() {
        // A length of this test's own, since the table is the whole process's.
        const LENGTH: usize = 37 * STEP;
        let lent = put_in(1, LENGTH);
        let first = lent.buffer().id();
        let lease = redeem(lent.buffer()).unwrap();
        drop(lent);
        let second = put_in(2, LENGTH);
        assert_ne!(second.buffer().id(), first, "its receiver still reads it");
        drop(lease);
        let third = put_in(3, LENGTH);
        assert_eq!(third.buffer().id(), first, "nobody uses it");
        assert_ne!(put_in(4, LENGTH).buffer().id(), first, "it is being sent");
    }

    #[test]
    fn what_a_dead_process_held_is_free() {
        const LENGTH: usize = 170 * STEP;
        const DEAD: u32 = 0x7fff_fff1;
        let lent = put_in(1, LENGTH);
        let id = lent.buffer().id();
        words(lent.buffer()).receiver.store(DEAD, Ordering::Relaxed);
        assert!(redeem(lent.buffer()).is_none(), "it is another's");
        drop(lent);
        let other = put_in(2, LENGTH);
        assert_ne!(other.buffer().id(), id);
        drop(other);
        let is_unused = || {
            let own: Vec<Segment> = table().as_ref().unwrap().own.clone();
            own.iter().filter(|buffer| buffer.id() == id).all(is_free)
        };
        forget_process(DEAD + 1);
        assert!(!is_unused(), "somebody else died");
        forget_process(DEAD);
        assert!(is_unused());
    }
}
