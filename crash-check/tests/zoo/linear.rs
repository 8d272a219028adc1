//! Specimens for the `linear` tool.
