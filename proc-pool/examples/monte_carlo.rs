//! A Monte-Carlo simulation: what an option on a share is worth.
//!
//! `cargo run --release -p proc-pool --example monte_carlo [BATCHES]`
//!
//! Each task simulates one batch of prices from a seed of its own, so the result is the same
//! however many workers there are, and a batch whose worker is killed is simply run again. Checked
//! against the closed formula of Black and Scholes.

use proc_pool::{Pool, task};

/// Prices in one batch: some milliseconds of work.
const BATCH: u64 = 100_000;

/// What the share costs now, and what may be paid for it in a year.
const NOW: f64 = 100.0;
const STRIKE: f64 = 105.0;
/// Interest and volatility, a year.
const RATE: f64 = 0.03;
const SIGMA: f64 = 0.2;

/// The formula's value for these numbers.
const EXACT: f64 = 7.1281;

/// SplitMix64 (Steele, Lea, Flood 2014): good enough here, and every seed gives another sequence.
struct Random(u64);

impl Random {
    /// Between 0 and 1, never 0.
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((z ^ (z >> 31)) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// Normally distributed (Box and Muller 1958).
    fn normal(&mut self) -> f64 {
        let (u, v) = (self.uniform(), self.uniform());
        (-2.0 * u.ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos()
    }
}

/// Sum and sum of squares of what the option is worth in each simulated future.
#[task(pure)]
fn simulate(seed: u64) -> (f64, f64) {
    let mut random = Random(seed.wrapping_mul(0x5851_f42d_4c95_7f2d));
    let drift = RATE - SIGMA * SIGMA / 2.0;
    (0..BATCH).fold((0.0, 0.0), |(sum, squares), _| {
        let price = NOW * (drift + SIGMA * random.normal()).exp();
        let worth = (price - STRIKE).max(0.0) * (-RATE).exp();
        (sum + worth, squares + worth * worth)
    })
}

#[proc_pool::main]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let batches: u64 = std::env::args().nth(1).map_or(Ok(200), |batches| batches.parse())?;
    let pool = Pool::new()?;
    let (mut sum, mut squares) = (0.0, 0.0);
    // In order, so that rounding is the same each time.
    for result in pool.imap(simulate, 0..batches) {
        let (batch, batch_squares) = result?;
        sum += batch;
        squares += batch_squares;
    }
    pool.close()?;
    let paths = (batches * BATCH) as f64;
    let mean = sum / paths;
    let error = ((squares / paths - mean * mean) / paths).sqrt();
    println!("worth: {mean:.3} (standard error {error:.3}, exact {EXACT:.3})");
    let is_right = (mean - EXACT).abs() < 5.0 * error;
    println!("right: {is_right}");
    if is_right { Ok(()) } else { Err("more than five standard errors off".into()) }
}
