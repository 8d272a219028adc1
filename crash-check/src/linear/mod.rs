//! The crash-aware linearizability checker.
