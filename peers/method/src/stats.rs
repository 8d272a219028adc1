//! Medians and quartiles.

/// The middle one, or the mean of the two middle ones; not a number when there is none.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// How far the quartiles lie from the median, the farther one, as a share of it: 0.15 is ±15 %.
pub fn spread(values: &[f64]) -> f64 {
    let middle = median(values);
    let (low, high) = (quantile(values, 0.25), quantile(values, 0.75));
    (high - middle).max(middle - low) / middle
}

/// The value below which a `part` of the values lies, between two of them where it falls there.
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = part * last as f64;
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    sorted[low] + (sorted[high] - sorted[low]) * (place - low as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn the_spread_is_the_farther_quartile_and_forgets_a_single_outlier() {
        let spread = spread(&[1.0, 1.0, 1.0, 1.2, 1.2, 1.0, 1.0, 9.0, 1.0]);
        assert!((spread - 0.2).abs() < 1e-12, "{spread}");
    }
}
