//! Specimens for the `death` tool.
