//! The memory of a process tree: each shared segment counted once, combined peak, timeline, report.
