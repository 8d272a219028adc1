//! The project's own protocols, explored: every correct form holds in all its states, and every
//! broken twin is caught.
#![cfg(feature = "explore")]

#[path = "../models/mod.rs"]
mod models;
