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

#[cfg(test)]
mod tests {
    use super::super::slot::Slot;
    use super::*;

    const MEAN: u64 = 16 << 10;
    const SEEDS: u64 = 200;

    /// The sizes of one program's blocks.
    type Mix = fn(u64) -> u64;

    const MIXES: [(&str, Mix); 6] = [
        ("tiny", |_| 16),
        ("a page", |_| 4096),
        ("larger than the distance", |_| 64 << 10),
        ("tiny and huge", |nth| if nth.is_multiple_of(100) { 1 << 20 } else { 16 }),
        ("powers of two", |nth| 1 << (nth % 17)),
        ("a long tail", |nth| 24 + (1_000_000 / (1 + nth * 7919 % 1000))),
    ];

    /// The samples of one run: sizes, with the weights that the profiler gives them.
    fn samples(mix: Mix, seed: u64) -> Vec<(f64, f64)> {
        let slot = Slot::default();
        assert!(slot.claim(1, seed.wrapping_mul(0xd134_2543_de82_ef95), MEAN));
        let mut samples = Vec::new();
        for nth in 0..2000 {
            let bytes = mix(nth);
            if slot.allocated(bytes)
                && let Some(mean) = slot.look(MEAN)
            {
                samples.push((bytes as f64, weight(bytes, mean)));
            }
        }
        samples
    }

    /// How many standard errors the mean of the estimates is off the truth.
    fn z(truth: f64, estimate: impl Fn(u64) -> f64) -> f64 {
        let estimates: Vec<f64> = (0..SEEDS).map(estimate).collect();
        let n = SEEDS as f64;
        let mean = estimates.iter().sum::<f64>() / n;
        let variance = estimates.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / (n - 1.0);
        // Where every block is drawn there is no error at all.
        if variance == 0.0 { 0.0 } else { (mean - truth) / (variance / n).sqrt() }
    }

    #[test]
    fn the_estimates_of_bytes_and_blocks_are_unbiased() {
        for (name, mix) in MIXES {
            let bytes: f64 = (0..2000).map(|nth| mix(nth) as f64).sum();
            let of_bytes =
                z(bytes, |seed| samples(mix, seed).iter().map(|(size, w)| size * w).sum());
            let of_blocks = z(2000.0, |seed| samples(mix, seed).iter().map(|(_, w)| w).sum());
            println!("{name}: z = {of_bytes:.2} (bytes), {of_blocks:.2} (blocks)");
            assert!(of_bytes.abs() < 4.0 && of_blocks.abs() < 4.0, "{name}: a biased estimate");
        }
    }

    #[test]
    fn summing_first_and_correcting_the_sum_would_be_found_out() {
        let mix = MIXES[3].1;
        let truth = 2000.0;
        let summed_first = z(truth, |seed| {
            let samples = samples(mix, seed);
            let count = samples.len() as f64;
            let mean_size = samples.iter().map(|(size, _)| size).sum::<f64>() / count;
            count * weight(mean_size as u64, MEAN)
        });
        assert!(summed_first.abs() > 100.0, "z = {summed_first}");
    }

    #[test]
    fn a_thread_without_a_countdown_draws_as_often() {
        for bytes in [16, 4096, 64 << 10] {
            let (mut state, runs) = (bytes, 200_000);
            let drawn = (0..runs).filter(|_| is_drawn(next(&mut state), bytes, MEAN)).count();
            let chance = 1.0 / weight(bytes, MEAN);
            let error = (chance * (1.0 - chance) / f64::from(runs)).sqrt();
            let off = (drawn as f64 / f64::from(runs) - chance) / error.max(1e-9);
            assert!(off.abs() < 4.0, "{bytes} bytes: off by {off} standard errors");
        }
    }

    #[test]
    fn a_new_mean_holds_from_the_next_look_on_and_biases_nothing() {
        let truth = 200_000.0;
        let off = z(truth, |seed| {
            let slot = Slot::default();
            assert!(slot.claim(1, seed.wrapping_mul(0xd134_2543_de82_ef95), 1 << 10));
            let mut sum = 0.0;
            for nth in 0..2000 {
                let mean = if nth < 1000 { 1 << 10 } else { MEAN };
                if slot.allocated(100)
                    && let Some(drawn_with) = slot.look(mean)
                {
                    sum += 100.0 * weight(100, drawn_with);
                }
            }
            sum
        });
        assert!(off.abs() < 4.0, "off by {off} standard errors");
    }
}
