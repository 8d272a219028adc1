//! Explicit-state search over protocol models.
