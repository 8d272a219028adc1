//! The table of live blocks.

/// The two cache lines of keys in which an address may lie, in a level of `2^lines_log2` lines.
pub(crate) fn candidate_lines(address: u64, lines_log2: u32) -> [usize; 2] {
    // Fibonacci hashing: the multiplier is 2^64 divided by the golden ratio.
    let hash = address.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mask = (1u64 << lines_log2) - 1;
    [(hash >> 40 & mask) as usize, ((hash ^ hash >> 29) >> 12 & mask) as usize]
}
