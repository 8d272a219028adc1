//! The attribute macros of proc-pool.
