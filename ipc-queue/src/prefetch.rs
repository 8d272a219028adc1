//! Asking for a cache line before it is written.
//!
//! A producer writes lines that the consumer has read last. Stores retire in order, and each waits for its
//! line to come from the other processor: tens of nanoseconds, one after the other. Asked for some lines
//! ahead, they come at the same time.

/// So many bytes ahead of the place that is written: enough lines on their way to hide the first.
const AHEAD: usize = 512;

/// Bytes of a line.
pub(crate) const LINE: usize = 64;

/// Elements of type `T` that are asked for ahead: at least one.
pub(crate) const fn ahead<T>() -> u64 {
    let size = if size_of::<T>() == 0 { 1 } else { size_of::<T>() };
    if size < AHEAD { (AHEAD / size) as u64 } else { 1 }
}

/// Asks for the lines of what lies at `at`, to write them soon. The processor may ignore it; nothing is
/// read or written, so any address will do.
#[inline(always)]
pub(crate) fn to_write<T>(at: *const T) {
    for offset in (0..size_of::<T>()).step_by(LINE) {
        line_to_write(at.cast::<u8>().wrapping_add(offset));
    }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
fn line_to_write(at: *const u8) {
    // SAFETY: a hint that faults nowhere and changes no register, flag or memory. (The intrinsic would
    // ask to read where the target's baseline lacks the instruction; processors without it ignore it.)
    unsafe {
        std::arch::asm!("prefetchw [{at}]", at = in(reg) at, options(nostack, preserves_flags, readonly));
    }
}

#[cfg(all(target_arch = "aarch64", not(miri)))]
#[inline(always)]
fn line_to_write(at: *const u8) {
    // SAFETY: a hint that faults nowhere and changes no register, flag or memory.
    unsafe {
        std::arch::asm!("prfm pstl1keep, [{at}]", at = in(reg) at, options(nostack, preserves_flags, readonly));
    }
}

#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
#[inline(always)]
fn line_to_write(_: *const u8) {}
