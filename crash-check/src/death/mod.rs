//! Death inside loom.
