#![doc = include_str!("../README.md")]
// What only handles call is unused without them; the default build finds real dead code.
#![cfg_attr(not(feature = "serde"), allow(dead_code))]

#[cfg(test)]
extern crate self as shm_core;

mod array;
#[cfg(feature = "async")]
#[doc(hidden)]
pub mod asynchronous;
mod backing;
pub mod barrier;
mod budget;
pub mod data;
mod directory;
pub mod dtype;
mod error;
mod fill;
mod frozen;
pub mod futex;
mod group;
#[cfg(feature = "serde")]
pub mod handle;
mod header;
pub mod heap;
mod id;
pub mod inspect;
pub mod layout;
pub mod lock;
mod mapping;
mod memory;
#[cfg(all(test, loom))]
mod models;
mod name;
mod options;
mod origin;
mod part;
#[doc(hidden)]
pub mod primitive;
#[cfg(feature = "serde")]
pub mod push;
mod raw;
mod read_only;
mod record_lock;
mod records;
mod scope;
mod segment;
mod shared;
mod state;
mod sweep;
mod turn;

pub use array::Array;
pub use error::Error;
pub use frozen::{Frozen, NamedFrozen};
pub use group::{Group, MAX_MEMBERS, Member, Owner, Peers, Stats, Ticket, Watch};
pub use id::SegmentId;
pub use layout::ShmSafe;
pub use options::Options;
pub use part::{Part, Remains};
pub use raw::RawSegment;
pub use read_only::ReadOnlySegment;
pub use records::{Column, ColumnSpec, ColumnType, Iter, Number, Schema};
pub use scope::Scope;
pub use segment::Segment;
pub use shared::{Concurrent, Shared};
#[cfg(feature = "derive")]
pub use shm_core_macros::ShmSafe;
pub use sweep::{remove, sweep};
