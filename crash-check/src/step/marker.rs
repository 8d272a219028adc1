//! Where an operation begins and ends, told to the tracer by a trap.

/// In `rdi` at the trap before an operation's first instruction.
pub(super) const BEGIN: u64 = 0xC0FF_EE00_0000_BE61;
/// In `rdi` at the trap after an operation's last instruction.
pub(super) const END: u64 = 0xC0FF_EE00_0000_E4D0;

/// One of the two ends of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edge {
    /// The preparations are over.
    Begin,
    /// The operation has returned.
    End,
}

/// Traps into the tracer. Only called in a traced process.
#[inline(never)]
pub(super) fn report(edge: Edge) {
    let code = match edge {
        Edge::Begin => BEGIN,
        Edge::End => END,
    };
    // SAFETY: a breakpoint trap changes no register and no memory; the tracer that is there by
    // the caller's contract lets the process go on behind it.
    unsafe { std::arch::asm!("int3", in("rdi") code, options(nostack)) };
}
