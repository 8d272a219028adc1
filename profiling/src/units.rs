//! Bytes and times as people read them.

use std::time::Duration;

const UNITS: [(u64, &str); 4] =
    [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];

/// Bytes in the unit that suits their size, with one decimal: `229.6 MiB`.
///
/// ```
/// assert_eq!(profiling::units::bytes(240_762_880), "229.6 MiB");
/// ```
pub fn bytes(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0 => return "0".to_owned(),
        1..1024 => return format!("{bytes} B"),
        _ => UNITS.into_iter().find(|(unit, _)| bytes >= *unit).unwrap_or((1024, "KiB")),
    };
    let tenths = (u128::from(bytes) * 10 + u128::from(unit) / 2) / u128::from(unit);
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

/// The exact number: `240,762,880 bytes`.
pub(crate) fn exact(bytes: u64) -> String {
    format!("{} bytes", grouped(bytes))
}

/// A number with its thousands set apart by commas.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time with three digits: `1.23 s`, `340 ms`, `12.0 µs`.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(profiling::units::time(Duration::from_millis(340)), "340 ms");
/// ```
pub fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let (value, unit) = match seconds {
        0.0 => return "0 s".to_owned(),
        0.9995.. => (seconds, "s"),
        0.000_999_5.. => (seconds * 1e3, "ms"),
        _ => (seconds * 1e6, "µs"),
    };
    match value {
        99.95.. => format!("{value:.0} {unit}"),
        9.995.. => format!("{value:.1} {unit}"),
        _ => format!("{value:.2} {unit}"),
    }
}

/// A step between the lines of a scale, such that at most `lines` of them reach `greatest`: one,
/// two or four of a power-of-two unit.
pub(crate) fn step_of_bytes(greatest: u64, lines: u64) -> u64 {
    let wanted = greatest.div_ceil(lines.max(1)).max(4096);
    wanted.checked_next_power_of_two().unwrap_or(1 << 63)
}

/// A step of 1, 2 or 5 times a power of ten, such that at most `lines` of them fit in `whole`.
pub(crate) fn step_of_time(whole: Duration, lines: u32) -> Duration {
    let wanted = (whole / lines.max(1)).as_nanos().max(1000);
    let mut power = 1u128;
    loop {
        for factor in [1, 2, 5] {
            if power * factor >= wanted {
                return Duration::from_nanos(u64::try_from(power * factor).unwrap_or(u64::MAX));
            }
        }
        power *= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_rounded_in_their_unit() {
        assert_eq!(bytes(0), "0");
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(240_000_000), "228.9 MiB");
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
        assert_eq!(exact(240_000_000), "240,000,000 bytes");
        assert_eq!(exact(999), "999 bytes");
    }

    #[test]
    fn times_have_three_digits() {
        assert_eq!(time(Duration::ZERO), "0 s");
        assert_eq!(time(Duration::from_micros(12)), "12.0 µs");
        assert_eq!(time(Duration::from_millis(340)), "340 ms");
        assert_eq!(time(Duration::from_millis(1234)), "1.23 s");
        assert_eq!(time(Duration::from_secs(61)), "61.0 s");
    }

    #[test]
    fn scales_have_round_steps() {
        assert_eq!(step_of_bytes(262 << 20, 5), 64 << 20);
        assert_eq!(step_of_bytes(u64::MAX, 1), 1 << 63);
        assert_eq!(step_of_time(Duration::from_millis(1900), 4), Duration::from_millis(500));
        assert_eq!(step_of_time(Duration::ZERO, 4), Duration::from_micros(1));
    }
}
