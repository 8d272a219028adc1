//! Shared references as serde values: what travels is the heap's place and a flight.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError, Weak};

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::handle::{Arc, Flight};
use super::{Arcs, Inner};
use crate::data::Payload;
use crate::heap::Heap;
use crate::{Error, Group, Owner, SegmentId};

type Place = (SegmentId, u64);

/// The places of this process, by their heaps.
static KNOWN: Mutex<Option<HashMap<Place, Weak<Inner<Group>>>>> = Mutex::new(None);

thread_local! {
    /// Whom this thread's references are sent to, while it is inside [`sent_to`].
    static RECEIVER: Cell<Option<Owner>> = const { Cell::new(None) };
}

fn with_known<R>(f: impl FnOnce(&mut HashMap<Place, Weak<Inner<Group>>>) -> R) -> R {
    // A panic under this lock leaves the map whole: single inserts and removals only.
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    f(known.get_or_insert_default())
}

fn find(place: Place) -> Option<Arcs> {
    let inner = with_known(|known| known.get(&place).and_then(Weak::upgrade))?;
    inner.is_ours().then_some(Arcs { inner })
}

/// This process's place in that heap, if it has one.
pub(super) fn known(heap: &Heap) -> Option<Arcs> {
    find(heap.place())
}

pub(super) fn register(arcs: &Arcs) {
    let place = arcs.heap().place();
    with_known(|known| {
        known.retain(|_, inner| inner.strong_count() > 0);
        known.insert(place, std::sync::Arc::downgrade(&arcs.inner));
    });
}

/// Runs `serialise`; the [`Arc`]s that it serialises are sent to that member of the group: only it
/// can receive them, and they outlive their sender. See [`Arc::send`].
///
/// ```
/// use shm_core::data::{Arc, Arcs, ReadOnly, sent_to};
/// # use shm_core::heap::{Heap, HeapOptions};
/// # use shm_core::{Group, Peers, Segment};
/// # let (segment, group) = (Segment::anonymous(4 << 20)?, Group::anonymous()?);
/// # let heap = Heap::create(&segment, &group, HeapOptions::default())?;
/// # let receiver = group.me().unwrap();
/// let arcs = Arcs::open(&heap)?;
/// let table = Arc::<[_]>::from_values(&arcs, (0..1000u32).map(ReadOnly::new))?;
/// let message = sent_to(receiver, || postcard::to_stdvec(&table))?;
/// // The receiver, which has opened the same heap:
/// let theirs: Arc<[ReadOnly<u32>]> = postcard::from_bytes(&message)?;
/// assert_eq!(ReadOnly::as_slice(&theirs)[999], 999);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn sent_to<R>(receiver: Owner, serialise: impl FnOnce() -> R) -> R {
    /// Restores the outer receiver even when `serialise` panics.
    struct Restore(Option<Owner>);
    impl Drop for Restore {
        fn drop(&mut self) {
            RECEIVER.set(self.0);
        }
    }
    let _restore = Restore(RECEIVER.replace(Some(receiver)));
    serialise()
}

#[derive(Serialize, Deserialize)]
struct Sent {
    segment: SegmentId,
    offset: u64,
    flight: Flight,
}

/// Each time it is serialised a reference is sent: see [`Arc::send`] and [`sent_to`].
impl<T: Payload + ?Sized> Serialize for Arc<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (segment, offset) = self.place();
        let flight = self.send(RECEIVER.get()).map_err(S::Error::custom)?;
        Sent { segment, offset, flight }.serialize(serializer)
    }
}

/// Received where the same heap was opened with [`Arcs::open`].
impl<'de, T: Payload + ?Sized> Deserialize<'de> for Arc<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Sent { segment, offset, flight } = Sent::deserialize(deserializer)?;
        let arcs = find((segment, offset)).ok_or(Error::NotReachable { id: segment });
        Arc::receive(&arcs.map_err(D::Error::custom)?, flight).map_err(D::Error::custom)
    }
}
