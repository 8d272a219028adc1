#![doc = include_str!("../README.md")]
//!
//! # The modules
//!
//! | module | question it answers |
//! |---|---|
#![cfg_attr(
    feature = "step",
    doc = "| [`step`] | is the structure repairable whichever instruction its user is killed at? |"
)]
#![cfg_attr(
    feature = "death",
    doc = "| [`death`] | does it hold under every interleaving and stale read, with a death in it? |"
)]
#![cfg_attr(
    feature = "mutate",
    doc = "| [`mutate`] | would any model notice if this ordering or this statement were missing? |"
)]
#![cfg_attr(
    feature = "explore",
    doc = "| [`explore`] | does the protocol, written as a table of steps, hold at all? |"
)]
#![cfg_attr(
    feature = "linear",
    doc = "| [`linear`] | is what the callers saw linearizable, the operations of the dead included? |"
)]
//!
//! `death` and `mutate` are features that are off by default.

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
