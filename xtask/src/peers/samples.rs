//! Repeated measurements of one thing: median, range, spread.

/// A spread above this marks a row as unstable.
pub const UNSTABLE: f64 = 0.15;

/// Fewer measurements than this have no spread to speak of.
pub const FEWEST: usize = 3;

/// Measurements of one side, in the order in which they were taken. Never empty when asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    seconds: Vec<f64>,
}

impl Samples {
    /// Adds one measurement.
    pub fn push(&mut self, seconds: f64) {
        self.seconds.push(seconds);
    }

    /// All of them, in order.
    pub fn all(&self) -> &[f64] {
        &self.seconds
    }

    /// The middle one; the mean of the two middle ones of an even number.
    pub fn median(&self) -> f64 {
        let sorted = self.sorted();
        match sorted.len() {
            0 => f64::NAN,
            count if count % 2 == 1 => sorted[count / 2],
            count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
        }
    }

    /// The smallest.
    pub fn min(&self) -> f64 {
        self.sorted().first().copied().unwrap_or(f64::NAN)
    }

    /// The largest.
    pub fn max(&self) -> f64 {
        self.sorted().last().copied().unwrap_or(f64::NAN)
    }

    /// Half of the range, as a share of the median: 0.15 reads ±15 %.
    pub fn spread(&self) -> f64 {
        (self.max() - self.min()) / 2.0 / self.median()
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(seconds: &[f64]) -> Samples {
        let mut samples = Samples::default();
        seconds.iter().for_each(|sample| samples.push(*sample));
        samples
    }

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert_eq!(of(&[3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        assert!(of(&[]).median().is_nan());
    }

    #[test]
    fn the_spread_is_half_of_the_range() {
        let samples = of(&[0.9, 1.0, 1.2]);
        assert_eq!((samples.min(), samples.max()), (0.9, 1.2));
        assert!((samples.spread() - 0.15).abs() < 1e-12);
    }
}
