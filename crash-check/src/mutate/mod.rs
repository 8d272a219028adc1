//! The mutation matrix.
