//! A queue as a value that travels (feature `serde`): through a pipe, another queue, any transport.
//!
//! A handle says where a queue lies, and what it is: the run of the machine it was made in, segment, group,
//! offset, kind, structural hash of what it carries, capacity. Whoever deserialises it gets the same segment and the same group, and the
//! queue is checked to be the one that was meant; then any of the `attach_` functions works on it.
//!
//! ```
//! use ipc_queue::handle::Handle;
//! use ipc_queue::mpmc;
//! use shm_core::{Group, Segment};
//!
//! let segment = Segment::anonymous(mpmc::required_size::<u64>(8)?)?;
//! let group = Group::anonymous()?;
//! mpmc::create::<u64>(&segment, 0, 8)?;
//! let handle = Handle::new(&segment, 0, Some(&group))?;
//! let text = serde_json::to_string(&handle)?;
//! // In the other process, to which the files of segment and group were pushed before:
//! let handle: Handle = serde_json::from_str(&text)?;
//! let mut producer = handle.attach_in(mpmc::attach_producer::<u64>)?;
//! producer.send(7)?;
//! assert_eq!(handle.attach_in(mpmc::attach_consumer::<u64>)?.recv(), Ok(7));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **The files come first.** Bytes carry no file: what [`shm_core::handle::collect`] names is pushed over
//! a Unix socket before the handle is sent (a pool does this by itself). A handle whose files have not
//! arrived is an error, never a wait. What has a name travels by its name. Memory does not outlive the
//! machine's run: a handle that was stored and read again after a restart is [`Error::OfAnotherBoot`],
//! whatever has taken the place of its files.
//!
//! **Where a process may be killed**: anywhere. A handle is private memory and holds no role; the
//! segment and the group are its own business (see [`shm_core::handle`]).

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use shm_core::{Group, Segment};

use crate::Error;
use crate::boot::Boot;
use crate::preamble::{self, Identity};

/// Where a queue lies, and what it is.
#[derive(Clone, Debug)]
pub struct Handle {
    segment: Segment,
    group: Option<Group>,
    offset: usize,
    identity: Identity,
}

/// The boot comes first, so that a handle of another is not even looked up.
#[derive(Deserialize)]
#[serde(rename = "Handle")]
struct Wire {
    #[serde(rename = "boot")]
    _boot: Boot,
    segment: Segment,
    group: Option<Group>,
    offset: u64,
    identity: Identity,
}

impl Handle {
    /// The queue at `offset`, of whatever kind; `group` is the one in which its users take part, for
    /// kinds that have one.
    ///
    /// # Errors
    /// [`Error::NotAQueue`], [`Error::Version`], [`Error::OutOfBounds`], [`Error::Misaligned`],
    /// [`Error::Corrupted`].
    pub fn new(segment: &Segment, offset: usize, group: Option<&Group>) -> Result<Handle, Error> {
        let identity = preamble::read(segment, offset)?.identity();
        Ok(Handle { segment: segment.clone(), group: group.cloned(), offset, identity })
    }

    /// Attaches as one who needs no group: `handle.attach(spsc::attach_consumer::<u64>)`.
    ///
    /// # Errors
    /// Those of `attach`: [`Error::Kind`] and [`Error::ElementType`] for a queue of another kind, or of
    /// other elements.
    pub fn attach<E>(
        &self,
        attach: impl FnOnce(&Segment, usize) -> Result<E, Error>,
    ) -> Result<E, Error> {
        attach(&self.segment, self.offset)
    }

    /// Attaches as a member of the group: `handle.attach_in(mpmc::attach_consumer::<u64>)`.
    ///
    /// # Errors
    /// [`Error::NoGroup`]; else those of `attach`.
    pub fn attach_in<E>(
        &self,
        attach: impl FnOnce(&Segment, usize, &Group) -> Result<E, Error>,
    ) -> Result<E, Error> {
        attach(&self.segment, self.offset, self.group.as_ref().ok_or(Error::NoGroup)?)
    }

    /// The segment that the queue lies in.
    #[must_use]
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// The group in which its users take part.
    #[must_use]
    pub fn group(&self) -> Option<&Group> {
        self.group.as_ref()
    }

    /// Where, in bytes from the start of the segment's data.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }
}

impl Serialize for Handle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// The same fields, borrowed.
        #[derive(Serialize)]
        #[serde(rename = "Handle")]
        struct Wire<'a> {
            boot: Boot,
            segment: &'a Segment,
            group: Option<&'a Group>,
            offset: u64,
            identity: Identity,
        }
        let Handle { segment, group, offset, identity } = self;
        let (group, offset, identity) = (group.as_ref(), *offset as u64, *identity);
        Wire { boot: Boot::current(), segment, group, offset, identity }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Handle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Wire { _boot: _, segment, group, offset, identity } = Wire::deserialize(deserializer)?;
        // One that no address can be lies outside of everything.
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let handle = Handle::new(&segment, offset, group.as_ref()).map_err(D::Error::custom)?;
        if handle.identity != identity {
            return Err(D::Error::custom(Error::AnotherQueue(offset)));
        }
        Ok(handle)
    }
}
