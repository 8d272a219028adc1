//! One line of the result: ours beside one rival.

use serde_json::{Value, json};

use crate::stats::{median, spread};
use crate::{Axis, Calibration, Promise};

/// Rounds that a row needs to say anything about its spread.
pub const FEWEST: usize = 5;

/// What a case is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// As it is written behind a number.
    pub name: &'static str,
    /// Whether a larger number is the better one.
    pub more_is_better: bool,
}

impl Unit {
    /// Times.
    pub const NANOSECONDS: Unit = Unit { name: "ns", more_is_better: false };
    /// Times.
    pub const MICROSECONDS: Unit = Unit { name: "µs", more_is_better: false };
    /// Times.
    pub const MILLISECONDS: Unit = Unit { name: "ms", more_is_better: false };
    /// Bandwidth, 10⁹ bytes a second.
    pub const GIGABYTES: Unit = Unit { name: "GB/s", more_is_better: true };
    /// A share of one processor.
    pub const PROCESSORS: Unit = Unit { name: "% of a processor", more_is_better: false };

    /// The spread above which a row is unstable.
    fn limit(self) -> f64 {
        if self.more_is_better { 0.10 } else { 0.15 }
    }
}

/// What a case is meant to reach.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// Ours takes at most (or moves at least) this many times what the named rival does.
    Times(&'static str, f64),
    /// Ours takes at most (or moves at least) this, in the unit of the case.
    Absolute(f64),
    /// Ours takes at most this many times the calibration.
    Calibrations(f64),
}

/// The samples of one row: those of the rounds that count, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pairs {
    /// Ours.
    pub ours: Vec<f64>,
    /// The rival's, of the same rounds.
    pub theirs: Vec<f64>,
    /// Rounds that were disturbed.
    pub dropped: usize,
    /// Whether too many were, so that all rounds count.
    pub disturbed: bool,
}

/// One line of the result.
#[derive(Clone, Debug)]
pub struct Row {
    pub(crate) area: &'static str,
    pub(crate) case: String,
    pub(crate) inside: String,
    pub(crate) unit: Unit,
    pub(crate) calibration: Calibration,
    pub(crate) rival: String,
    pub(crate) promise: Promise,
    pub(crate) is_limit: bool,
    pub(crate) pairs: Pairs,
    /// Medians of the calibrations around ours.
    pub(crate) floor: f64,
    /// The number of the target, and what it is counted in.
    pub(crate) target: Option<(f64, TargetIs)>,
    pub(crate) axis: Option<Axis>,
    /// Why there is no figure of ours or of the rival's.
    pub(crate) missing: Option<String>,
}

/// What the number of a target is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TargetIs {
    Times,
    Absolute,
}

impl Row {
    /// How many times ours is ahead: above 1 it is.
    fn ratios(&self) -> Vec<f64> {
        let both = self.pairs.ours.iter().zip(&self.pairs.theirs);
        let ahead = |ours: &f64, theirs: &f64| {
            if self.unit.more_is_better { ours / theirs } else { theirs / ours }
        };
        both.map(|(ours, theirs)| ahead(ours, theirs)).collect()
    }

    fn spread(&self) -> f64 {
        if self.pairs.theirs.is_empty() { spread(&self.pairs.ours) } else { spread(&self.ratios()) }
    }

    fn is_unstable(&self) -> bool {
        // Written so that a spread that is not a number is unstable too.
        let is_steady = self.spread() <= self.unit.limit();
        self.pairs.disturbed || self.pairs.ours.len() < FEWEST || !is_steady
    }

    fn is_met(&self) -> Option<bool> {
        let (target, is) = self.target?;
        if self.missing.is_some() {
            return Some(false);
        }
        Some(match is {
            // A ratio says how far ours is ahead; a target how much it may take of the rival's.
            TargetIs::Times if self.unit.more_is_better => median(&self.ratios()) >= target,
            TargetIs::Times => median(&self.ratios()) >= 1.0 / target,
            TargetIs::Absolute if self.unit.more_is_better => median(&self.pairs.ours) >= target,
            TargetIs::Absolute => median(&self.pairs.ours) <= target,
        })
    }

    /// The row as programs read it.
    pub fn to_json(&self) -> Value {
        let figure = |value: f64| if value.is_finite() { json!(value) } else { Value::Null };
        let ours = median(&self.pairs.ours);
        json!({
            "area": self.area,
            "case": self.case,
            "inside": self.inside,
            "unit": self.unit.name,
            "more_is_better": self.unit.more_is_better,
            "ours": figure(ours),
            "rival": self.rival,
            "value": figure(median(&self.pairs.theirs)),
            "ratio": figure(median(&self.ratios())),
            "spread": figure(self.spread()),
            "target": self.target.map(|(number, _)| number),
            "target_is": self.target.map(|(_, is)| match is {
                TargetIs::Times => "× rival",
                TargetIs::Absolute => self.unit.name,
            }),
            "met": self.is_met(),
            "unstable": self.missing.is_none() && self.is_unstable(),
            "missing": self.missing,
            "limit": self.is_limit,
            "rival_delivers": self.promise.delivery,
            "rival_may_lose_when_killed": self.promise.may_lose,
            "calibration": self.calibration.name(),
            "calibration_value": figure(self.floor),
            "calibration_unit": self.calibration.unit(),
            "rounds": self.pairs.ours.len(),
            "rounds_dropped": self.pairs.dropped,
            "disturbed": self.pairs.disturbed,
            "axis": self.axis.as_ref().map(Axis::to_json),
            "ours_samples": self.pairs.ours,
            "rival_samples": self.pairs.theirs,
        })
    }
}

/// The row as people read it, in one line.
pub fn describe(row: &Row) -> String {
    let name = format!("{} | {}", row.case, row.rival);
    if let Some(missing) = &row.missing {
        return format!("{name}: no figure: {missing}");
    }
    let (ours, theirs) = (median(&row.pairs.ours), median(&row.pairs.theirs));
    let ratio = median(&row.ratios());
    let met = match row.is_met() {
        Some(true) => ", met",
        Some(false) => ", MISSED",
        None => "",
    };
    let unstable = if row.is_unstable() { ", unstable" } else { "" };
    let (unit, spread, dropped) = (row.unit.name, row.spread() * 100.0, row.pairs.dropped);
    format!(
        "{name}: {ours:.2} / {theirs:.2} {unit}, ratio {ratio:.2} ±{spread:.0} %{met}{unstable} \
         ({dropped} dropped)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(unit: Unit, ours: &[f64], theirs: &[f64], target: Option<(f64, TargetIs)>) -> Row {
        Row {
            area: "queue",
            case: "a case".into(),
            inside: String::new(),
            unit,
            calibration: Calibration::Memcpy,
            rival: "a rival".into(),
            promise: Promise::ONE_PROCESS,
            is_limit: false,
            pairs: Pairs { ours: ours.into(), theirs: theirs.into(), ..Pairs::default() },
            floor: 1.0,
            target,
            axis: None,
            missing: None,
        }
    }

    const FIVE: [f64; 5] = [1.0; 5];

    #[test]
    fn a_ratio_above_one_says_that_ours_is_ahead_whatever_the_unit() {
        let times = row(Unit::NANOSECONDS, &FIVE, &[2.0; 5], None).to_json();
        assert_eq!(times["ratio"], 2.0);
        let rates = row(Unit::GIGABYTES, &FIVE, &[2.0; 5], None).to_json();
        assert_eq!(rates["ratio"], 0.5);
    }

    #[test]
    fn a_target_is_what_ours_may_take_of_the_rival() {
        let met = |theirs: f64, target| {
            let target = Some((target, TargetIs::Times));
            row(Unit::NANOSECONDS, &FIVE, &[theirs; 5], target).is_met()
        };
        assert_eq!(met(2.0, 0.7), Some(true));
        assert_eq!(met(1.2, 0.7), Some(false));
        let absolute = Some((0.5, TargetIs::Absolute));
        assert_eq!(row(Unit::NANOSECONDS, &FIVE, &[], absolute).is_met(), Some(false));
        assert_eq!(row(Unit::GIGABYTES, &FIVE, &[], absolute).is_met(), Some(true));
        assert_eq!(row(Unit::NANOSECONDS, &FIVE, &FIVE, None).is_met(), None);
    }

    #[test]
    fn what_could_not_run_is_a_row_that_misses_its_target() {
        let target = Some((1.0, TargetIs::Times));
        let mut row = row(Unit::NANOSECONDS, &[], &[], target);
        row.missing = Some("not written yet".into());
        let json = row.to_json();
        assert_eq!((&json["met"], &json["ours"]), (&json!(false), &Value::Null));
        assert_eq!(json["missing"], "not written yet");
    }

    #[test]
    fn rounds_that_scatter_or_are_few_make_a_row_unstable() {
        let steady = row(Unit::NANOSECONDS, &FIVE, &FIVE, None);
        assert!(!steady.is_unstable());
        assert!(row(Unit::NANOSECONDS, &FIVE[1..], &FIVE[1..], None).is_unstable());
        let scattered = [1.0, 1.0, 1.0, 1.5, 1.5, 1.5];
        assert!(row(Unit::NANOSECONDS, &scattered, &[1.0; 6], None).is_unstable());
    }

    #[test]
    fn every_key_of_a_row_is_there() {
        let json = row(Unit::NANOSECONDS, &FIVE, &FIVE, Some((1.0, TargetIs::Times))).to_json();
        for key in
            ["area", "case", "unit", "ours", "rival", "value", "ratio", "spread", "target", "met"]
        {
            assert!(json.get(key).is_some_and(|value| !value.is_null()), "{key}");
        }
    }
}
