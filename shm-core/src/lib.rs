#![doc = include_str!("../README.md")]
// What only handles call is unused without them; the default build finds real dead code.
#![cfg_attr(not(feature = "serde"), allow(dead_code))]

#[cfg(test)]
extern crate self as shm_core;

mod array;
mod backing;
pub mod barrier;
mod budget;
mod directory;
mod error;
mod fill;
mod frozen;
pub mod futex;
mod group;
#[cfg(feature = "serde")]
pub mod handle;
mod header;
mod id;
pub mod layout;
pub mod lock;
mod mapping;
#[cfg(all(test, loom))]
mod models;
mod name;
mod part;
#[doc(hidden)]
pub mod primitive;
mod record_lock;
mod records;
mod segment;
mod shared;
mod turn;

pub use array::Array;
pub use error::Error;
pub use frozen::{Frozen, NamedFrozen};
pub use group::{Group, MAX_MEMBERS, Member, Owner, Peers, Stats, Ticket, Watch};
pub use id::SegmentId;
pub use layout::ShmSafe;
pub use name::sweep;
pub use part::{Part, Remains};
pub use records::{Column, ColumnSpec, ColumnType, Iter, Number, Schema};
pub use segment::Segment;
pub use shared::{Concurrent, Shared};
#[cfg(feature = "derive")]
pub use shm_core_macros::ShmSafe;
