//! Specimens for the `step` tool.
