//! Specimens for the `explore` tool.
