//! Which bytes are drawn, and how much a drawn block stands for.
//!
//! Samples are points of a Poisson process over the bytes allocated, at a mean distance `R`
//! (as in tcmalloc, Go and jemalloc). A block of `s` bytes is drawn if a point falls into it:
//! with probability `1 - exp(-s / R)`. Each sample is weighted by the inverse of *its own*
//! probability before anything is summed; summing first and correcting the sum is wrong by orders
//! of magnitude where sizes are mixed.

/// The next number of a SplitMix64 sequence (Steele, Lea, Flood 2014).
pub(crate) fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// Bytes until the next point: exponential with the given mean, rounded down.
///
/// A block of `s` bytes is drawn if `s` exceeds the rounded distance, which for whole `s` is the
/// same as exceeding the exact one. What is left after a block that was not drawn is again
/// exponential.
pub(crate) fn draw(random: &mut u64, mean: u64) -> i64 {
    // 53 bits in (0, 1]: the logarithm is finite.
    let uniform = ((next(random) >> 11) + 1) as f64 / (1u64 << 53) as f64;
    (-uniform.ln() * mean as f64) as i64
}

/// Is a block of `bytes` drawn? For threads that have no countdown of their own.
pub(crate) fn is_drawn(random: u64, bytes: u64, mean: u64) -> bool {
    let mut state = random;
    draw(&mut state, mean) < i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// How many blocks of its size a sample stands for: `1 / (1 - exp(-bytes / mean))`.
pub(crate) fn weight(bytes: u64, mean: u64) -> f64 {
    // `exp_m1` keeps its digits where bytes are few and the mean is large.
    -1.0 / (-(bytes.max(1) as f64) / mean as f64).exp_m1()
}
