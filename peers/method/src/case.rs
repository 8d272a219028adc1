//! One piece of work and everybody who does it, measured in alternating rounds.

use std::ops::Range;

use serde_json::{Value, json};

use crate::row::{FEWEST, Pairs, TargetIs};
use crate::stats::median;
use crate::{
    Arguments, Calibration, DRIFT, Outcome, Promise, Row, Sample, Side, Target, UNDISTURBED, Unit,
    describe,
};

/// Where a case lies on a chart that shows how a cost grows.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// The chart: cases with the same one are its points.
    pub chart: &'static str,
    /// What grows, with its unit.
    pub what: &'static str,
    /// How much of it there is here.
    pub x: f64,
}

impl Axis {
    pub(crate) fn to_json(&self) -> Value {
        json!({"chart": self.chart, "what": self.what, "x": self.x})
    }
}

/// One piece of work; the first side added is ours.
#[derive(Debug)]
pub struct Case<'a> {
    area: &'static str,
    name: String,
    inside: String,
    unit: Unit,
    calibration: Calibration,
    sides: Vec<Side<'a>>,
    targets: Vec<Target>,
    axis: Option<Axis>,
    rounds: Option<usize>,
}

impl<'a> Case<'a> {
    /// A case of `area`; `inside` says what lies inside the time.
    pub fn new(
        area: &'static str,
        name: impl Into<String>,
        inside: impl Into<String>,
        unit: Unit,
        calibration: Calibration,
    ) -> Case<'a> {
        Case {
            area,
            name: name.into(),
            inside: inside.into(),
            unit,
            calibration,
            sides: Vec::new(),
            targets: Vec::new(),
            axis: None,
            rounds: None,
        }
    }

    /// Adds a side; the first one is ours.
    #[must_use]
    pub fn side(mut self, side: Side<'a>) -> Self {
        self.sides.push(side);
        self
    }

    /// Adds a side if there is one.
    #[must_use]
    pub fn maybe(mut self, side: Option<Side<'a>>) -> Self {
        self.sides.extend(side);
        self
    }

    /// Adds what ours is meant to reach.
    #[must_use]
    pub fn target(mut self, target: Target) -> Self {
        self.targets.push(target);
        self
    }

    /// Makes it a point of a chart.
    #[must_use]
    pub fn at(mut self, chart: &'static str, what: &'static str, x: f64) -> Self {
        self.axis = Some(Axis { chart, what, x });
        self
    }

    /// At most this many rounds, for what takes long.
    #[must_use]
    pub fn at_most(mut self, rounds: usize) -> Self {
        self.rounds = Some(rounds);
        self
    }

    /// Measures it, unless it was not asked for, and prints one JSON object a row; people read
    /// along on standard error.
    pub fn run(self, arguments: &Arguments) {
        if !self.name.contains(&arguments.only) {
            return;
        }
        for row in self.measure(arguments).into_iter().flatten() {
            println!("{}", row.to_json());
            eprintln!("{}", describe(&row));
        }
    }

    /// Measures it and gives the rows; `None` in a process that is not the first of a run.
    pub fn measure(mut self, arguments: &Arguments) -> Option<Vec<Row>> {
        let rounds = arguments.rounds.min(self.rounds.unwrap_or(usize::MAX));
        let taken = arguments.parts.take(rounds, |rounds| self.take(rounds))?;
        Some(self.rows(&taken))
    }

    /// Takes these rounds.
    fn take(&mut self, rounds: Range<usize>) -> Vec<Taken> {
        let calibration = self.calibration;
        let mut taken: Vec<Taken> = self.sides.iter_mut().map(Taken::warm).collect();
        let count = self.sides.len();
        for round in rounds {
            let mut before = calibration.run();
            for place in 0..count {
                // Nobody always runs first, nor always in the wake of the same side.
                let place = if round % 2 == 0 { place } else { count - 1 - place };
                let index = (place + round / 2) % count;
                if taken[index].missing.is_some() {
                    continue;
                }
                let sample = (self.sides[index].run)();
                let after = calibration.run();
                taken[index].add(sample, &before, &after);
                before = after;
            }
        }
        taken
    }

    fn rows(&self, taken: &[Taken]) -> Vec<Row> {
        let Some((ours, rivals)) = taken.split_first() else { return Vec::new() };
        let mut rows: Vec<Row> = rivals
            .iter()
            .zip(&self.sides[1..])
            .map(|(theirs, side)| {
                let mut row = self.row(ours, &side.name, side.promise, pairs(ours, theirs));
                row.is_limit = side.is_limit;
                row.missing = row.missing.or_else(|| theirs.missing.clone());
                row.target = self.targets.iter().find_map(|target| match target {
                    Target::Times(rival, times) if side.name.starts_with(rival) => {
                        Some((*times, TargetIs::Times))
                    }
                    _ => None,
                });
                row
            })
            .collect();
        for target in &self.targets {
            let (rival, target, theirs) = match *target {
                Target::Times(..) => continue,
                Target::Absolute(number) => ("absolute", (number, TargetIs::Absolute), false),
                Target::Calibrations(times) => {
                    (self.calibration.name(), (times, TargetIs::Times), true)
                }
            };
            let mut row = self.row(ours, rival, Promise::LIMIT, alone(ours, theirs));
            row.is_limit = true;
            row.target = Some(target);
            rows.push(row);
        }
        rows
    }

    fn row(&self, ours: &Taken, rival: &str, promise: Promise, pairs: Pairs) -> Row {
        Row {
            area: self.area,
            case: self.name.clone(),
            inside: self.inside.clone(),
            unit: self.unit,
            calibration: self.calibration,
            rival: rival.into(),
            promise,
            is_limit: false,
            pairs,
            floor: ours.floor(),
            target: None,
            axis: self.axis.clone(),
            missing: ours.missing.as_ref().map(|why| format!("ours: {why}")),
        }
    }
}

/// One sample with what surrounded it.
#[derive(Clone, Copy, Debug)]
struct Measured {
    value: f64,
    /// Mean of the calibrations before and after.
    floor: f64,
    is_disturbed: bool,
}

/// Everything that was taken of one side, one entry a round.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    rounds: Vec<Measured>,
    missing: Option<String>,
}

impl Taken {
    /// Runs the side once, so that everybody starts warm and who cannot run is known.
    fn warm(side: &mut Side<'_>) -> Taken {
        let missing = (side.run)().err().map(|error| error.to_string());
        Taken { rounds: Vec::new(), missing }
    }

    fn add(&mut self, sample: Outcome<Sample>, before: &Outcome<Sample>, after: &Outcome<Sample>) {
        match (sample, before, after) {
            (Ok(sample), Ok(before), Ok(after)) => {
                self.rounds.push(measured(sample, *before, *after));
            }
            (Err(error), ..) => self.missing = Some(error.to_string()),
            (_, Err(error), _) | (.., Err(error)) => self.missing = Some(error.to_string()),
        }
    }

    /// Puts what another process took behind it.
    pub(crate) fn join(&mut self, more: Taken) {
        self.rounds.extend(more.rounds);
        self.missing = self.missing.take().or(more.missing);
    }

    /// As one process tells it another.
    pub(crate) fn to_json(&self) -> Value {
        let rounds = self.rounds.iter();
        let rounds: Vec<_> =
            rounds.map(|round| json!([round.value, round.floor, round.is_disturbed])).collect();
        json!({"rounds": rounds, "missing": self.missing})
    }

    /// What was told; `None` if it is not that.
    pub(crate) fn from_json(json: &Value) -> Option<Taken> {
        let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
        let round = |round: &Value| {
            let is_disturbed = round[2].as_bool()?;
            Some(Measured { value: number(&round[0]), floor: number(&round[1]), is_disturbed })
        };
        let rounds = json["rounds"].as_array()?.iter().map(round).collect::<Option<_>>()?;
        Some(Taken { rounds, missing: json["missing"].as_str().map(String::from) })
    }

    fn floor(&self) -> f64 {
        median(&self.rounds.iter().map(|measured| measured.floor).collect::<Vec<_>>())
    }
}

fn measured(sample: Sample, before: Sample, after: Sample) -> Measured {
    let drift = before.value.max(after.value) / before.value.min(after.value);
    let was_alone = |sample: Sample| sample.busy.is_none_or(|busy| busy >= UNDISTURBED);
    let is_quiet = was_alone(sample) && was_alone(before) && was_alone(after);
    Measured {
        value: sample.value,
        floor: f64::midpoint(before.value, after.value),
        is_disturbed: drift > DRIFT || !is_quiet,
    }
}

/// The rounds in which neither side was disturbed; all, when that leaves too few.
fn pairs(ours: &Taken, theirs: &Taken) -> Pairs {
    if ours.missing.is_some() {
        // Ours does not run: the rival's figures stand alone.
        let theirs: Vec<f64> = theirs.rounds.iter().map(|theirs| theirs.value).collect();
        return Pairs { theirs, ..Pairs::default() };
    }
    let both = || ours.rounds.iter().zip(&theirs.rounds);
    gather(both().map(|(a, b)| (a.value, Some(b.value), a.is_disturbed || b.is_disturbed)))
}

/// Ours alone, or beside its own calibration.
fn alone(ours: &Taken, beside_floor: bool) -> Pairs {
    let theirs = |measured: &Measured| beside_floor.then_some(measured.floor);
    gather(ours.rounds.iter().map(|ours| (ours.value, theirs(ours), ours.is_disturbed)))
}

fn gather(rounds: impl Iterator<Item = (f64, Option<f64>, bool)> + Clone) -> Pairs {
    let total = rounds.clone().count();
    let quiet = rounds.clone().filter(|round| !round.2).count();
    let disturbed = quiet < FEWEST || quiet * 2 < total;
    let mut pairs = Pairs { dropped: total - quiet, disturbed, ..Pairs::default() };
    for (ours, theirs, is_disturbed) in rounds {
        if disturbed || !is_disturbed {
            pairs.ours.push(ours);
            pairs.theirs.extend(theirs);
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn arguments(rounds: usize) -> Arguments {
        Arguments { rounds, ..Arguments::default() }
    }

    fn case<'a>() -> Case<'a> {
        Case::new("queue", "a case", "nothing", Unit::NANOSECONDS, Calibration::Compute)
    }

    #[test]
    fn sides_take_turns_and_nobody_always_begins() {
        let order = RefCell::new(Vec::new());
        let side = |name: &'static str| {
            let order = &order;
            Side::new(name, Promise::ONE_PROCESS, move || {
                order.borrow_mut().push(name);
                Ok(Sample::from(1.0))
            })
        };
        case().side(side("ours")).side(side("theirs")).measure(&arguments(4)).unwrap();
        let order = order.into_inner();
        // The first of each is the warm-up.
        let first: Vec<_> = order[2..].chunks(2).map(|round| round[0]).collect();
        assert!(first.contains(&"ours") && first.contains(&"theirs"), "{order:?}");
        assert_eq!(order.iter().filter(|name| **name == "ours").count(), 5);
    }

    #[test]
    fn a_side_that_cannot_run_is_named_and_the_others_go_on() {
        let rows = case()
            .side(Side::new("ours", Promise::ONE_PROCESS, || Ok(Sample::from(1.0))))
            .side(Side::missing("absent", Promise::ONE_PROCESS, "not installed"))
            .side(Side::new("present", Promise::ONE_PROCESS, || Ok(Sample::from(2.0))))
            .measure(&arguments(6))
            .unwrap();
        assert_eq!(rows[0].to_json()["missing"], "not installed");
        assert_eq!(rows[1].to_json()["ratio"], 2.0);
    }

    #[test]
    fn what_another_process_took_counts_as_if_it_had_been_taken_here() {
        let side =
            |value: f64| Side::new("a side", Promise::ONE_PROCESS, move || Ok(Sample::from(value)));
        let mut here = case().side(side(1.0)).side(side(2.0));
        let mut taken = here.take(0..3);
        for (taken, more) in taken.iter_mut().zip(here.take(3..6)) {
            taken.join(Taken::from_json(&more.to_json()).unwrap());
        }
        let row = here.rows(&taken)[0].to_json();
        assert_eq!(row["rival_samples"].as_array().unwrap().len(), 6);
        assert_eq!(row["ratio"], 2.0);
        assert!(Taken::from_json(&json!({"rounds": [[1.0]]})).is_none());
    }

    #[test]
    fn disturbed_rounds_do_not_count_unless_few_are_left() {
        let round = |disturbed| (1.0, Some(1.0), disturbed);
        let mostly_quiet: Vec<_> = (0..9).map(|n| round(n < 2)).collect();
        let kept = gather(mostly_quiet.into_iter());
        assert_eq!((kept.ours.len(), kept.dropped, kept.disturbed), (7, 2, false));
        let mostly_disturbed: Vec<_> = (0..9).map(|n| round(n < 6)).collect();
        let all = gather(mostly_disturbed.into_iter());
        assert_eq!((all.ours.len(), all.dropped, all.disturbed), (9, 6, true));
    }

    #[test]
    fn a_sample_between_unlike_calibrations_is_disturbed() {
        let quiet = measured(1.0.into(), 1.0.into(), 1.4.into());
        let drifted = measured(1.0.into(), 1.0.into(), 1.6.into());
        assert!(!quiet.is_disturbed && drifted.is_disturbed);
        let starved = Sample { value: 1.0, busy: Some(1.5) };
        assert!(measured(starved, 1.0.into(), 1.0.into()).is_disturbed);
    }

    #[test]
    fn a_target_in_calibrations_has_a_row_of_its_own() {
        let rows = case()
            .side(Side::new("ours", Promise::ONE_PROCESS, || Ok(Sample::from(1.0))))
            .target(Target::Calibrations(1e9))
            .target(Target::Absolute(0.5))
            .measure(&arguments(5))
            .unwrap();
        assert_eq!(rows[0].to_json()["met"], true);
        assert_eq!(rows[1].to_json()["met"], false);
    }
}
