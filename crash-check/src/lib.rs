//! A test kit for code that must survive the death of a process at any instruction.
//!
//! Four tools, each a module and a feature of its own:
//!
//! | module | question it answers |
//! |---|---|
//! | [`step`] | is the structure repairable whichever instruction its user is killed at? |
//! | [`death`] | does the protocol hold under every interleaving and stale read, with a death in it? |
//! | [`explore`] | does the protocol, written as a table of steps, hold at all? |
//! | [`linear`] | is what the callers saw linearizable, the operations of the dead included? |

#[cfg(feature = "death")]
pub mod death;
#[cfg(feature = "explore")]
pub mod explore;
#[cfg(feature = "linear")]
pub mod linear;
#[cfg(feature = "mutate")]
pub mod mutate;
#[cfg(feature = "step")]
pub mod step;
