//! The sum of a column of 240 MB of records in four processes: ours and Python's, in turn.

use std::path::Path;

use serde_json::{Value, json};

use super::samples::{FEWEST, Samples, UNSTABLE};
use super::{Options, machine};
use crate::command::Command;
use crate::error::{Error, Result};
use crate::python;
use crate::workspace::Workspace;

/// The scopes that each side runs once a round; both programs know them by these names.
const SCOPES: [&str; 4] = ["own", "shared", "generated", "copied"];

/// Ours, as seen from the folder that cargo builds in.
pub const PROGRAM: &str = "release/examples/nansum";

/// What builds it.
pub const BUILD: &str = "build --release -p proc-pool --example nansum";

/// One comparison: which scope of ours stands beside which scope of the rival.
struct Case {
    name: &'static str,
    ours: &'static str,
    theirs: &'static str,
    inside: &'static str,
    /// How many times faster ours is meant to be, where the design says so.
    target: Option<f64>,
}

const CASES: [Case; 5] = [
    Case {
        name: "own",
        ours: "own",
        theirs: "own",
        inside: "make shared memory, copy the data in, start the pool, four whole-column sums, close",
        target: Some(1.8),
    },
    Case {
        name: "shared",
        ours: "shared",
        theirs: "shared",
        inside: "the data is shared already: start the pool, four whole-column sums, close the pool",
        target: Some(4.0),
    },
    Case {
        name: "generated",
        ours: "generated",
        theirs: "generated",
        inside: "make shared memory, start the pool, each worker fills its quarter and sums it, close",
        target: Some(4.0),
    },
    Case {
        name: "shared beside copied",
        ours: "own",
        theirs: "copied",
        inside: "from data in private memory to four whole-column sums: ours makes it shared \
                 (scope `own`), the rival sends each worker a copy",
        target: Some(12.0),
    },
    Case {
        name: "copied",
        ours: "copied",
        theirs: "copied",
        inside: "start the pool, send each worker a copy, four whole-column sums, close: both copy",
        target: None,
    },
];

/// Everything that one run of `peers nansum` found out.
#[derive(Debug)]
pub struct Run {
    /// Machine, versions, commit.
    pub machine: Value,
    /// The exact commands, rounds, and the order of the sides.
    pub setting: Value,
    /// One row a comparison.
    pub rows: Vec<Row>,
}

/// One comparison, both sides.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What is compared.
    pub case: String,
    /// What lies inside the time.
    pub inside: String,
    /// Our measurements.
    pub ours: Samples,
    /// The rival's.
    pub theirs: Samples,
    /// How many times faster ours is meant to be, if the design says so.
    pub target: Option<f64>,
}

impl Row {
    /// The rival's median over ours: how many times faster ours is.
    pub fn ratio(&self) -> f64 {
        self.theirs.median() / self.ours.median()
    }

    /// The larger of the two sides' spreads.
    pub fn spread(&self) -> f64 {
        self.ours.spread().max(self.theirs.spread())
    }

    /// Whether the measurements lie too far apart, or are too few, to trust the ratio.
    pub fn is_unstable(&self) -> bool {
        self.spread() > UNSTABLE || self.ours.all().len() < FEWEST
    }

    /// Whether ours is as many times faster as it is meant to be; `None` without a target.
    pub fn is_met(&self) -> Option<bool> {
        self.target.map(|target| self.ratio() >= target)
    }

    /// The row as tools read it. `ours` and `value` (the rival's) are medians in `unit`.
    pub fn to_json(&self) -> Value {
        json!({
            "area": "nansum",
            "case": self.case,
            "inside": self.inside,
            "unit": "s",
            "ours": self.ours.median(),
            "rival": "python: SharedMemoryManager, ProcessPoolExecutor, numpy",
            "value": self.theirs.median(),
            "ratio": self.ratio(),
            "spread": self.spread(),
            "target": self.target,
            "met": self.is_met(),
            "unstable": self.is_unstable(),
            "ours_samples": self.ours.all(),
            "rival_samples": self.theirs.all(),
        })
    }

    /// The row as it was stored.
    pub fn from_json(json: &Value) -> Option<Self> {
        let samples = |key: &str| {
            let mut samples = Samples::default();
            json.get(key)?
                .as_array()?
                .iter()
                .filter_map(Value::as_f64)
                .for_each(|s| samples.push(s));
            Some(samples)
        };
        Some(Self {
            case: json.get("case")?.as_str()?.into(),
            inside: json.get("inside")?.as_str()?.into(),
            ours: samples("ours_samples")?,
            theirs: samples("rival_samples")?,
            target: json.get("target")?.as_f64(),
        })
    }
}

/// Runs both sides alternately; `None` when one of them cannot run, which is then said.
pub fn measure(workspace: &Workspace, options: &Options) -> Result<Option<Run>> {
    let echo = options.echo();
    let Some(numpy) = python::numpy(workspace, echo)? else {
        eprintln!("peers: the rival needs Python 3 with numpy; nothing was measured");
        return Ok(None);
    };
    let build = Command::cargo(&workspace.root, BUILD);
    if !build.clone().echo(echo).run()? {
        eprintln!("peers: ours does not build; nothing was measured");
        return Ok(None);
    }
    let numpy = workspace.relative(&numpy).to_path_buf();
    let mut measured = SCOPES.map(Measured::new);
    let mut versions = Value::Null;
    for round in 0..options.nansum_rounds() {
        for measured in &mut measured {
            let scope = measured.scope;
            let ours = ours(workspace, scope).echo(echo);
            let theirs = theirs(workspace, &numpy, scope).echo(echo);
            // Neither side always runs in the wake of the other.
            let (ours, theirs) = if round % 2 == 0 {
                let theirs = sample(&theirs)?;
                (sample(&ours)?, theirs)
            } else {
                (sample(&ours)?, sample(&theirs)?)
            };
            agree(scope, &ours, &theirs)?;
            measured.ours.push(ours.seconds);
            measured.theirs.push(theirs.seconds);
            versions = json!({"python": theirs.json["python"], "numpy": theirs.json["numpy"]});
        }
    }
    let mut machine = machine::describe(workspace);
    machine["rival"] = versions;
    let setting = json!({
        "build": build.line(),
        "ours": SCOPES.map(|scope| format!("target/{PROGRAM} {}", our_arguments(scope))),
        "rival": SCOPES.map(|scope| theirs(workspace, &numpy, scope).line()),
        "rounds": options.nansum_rounds(),
    });
    let rows = CASES.iter().map(|case| case.row(&measured)).collect();
    Ok(Some(Run { machine, setting, rows }))
}

/// What both sides took in one scope.
struct Measured {
    scope: &'static str,
    ours: Samples,
    theirs: Samples,
}

impl Measured {
    fn new(scope: &'static str) -> Self {
        Self { scope, ours: Samples::default(), theirs: Samples::default() }
    }
}

impl Case {
    fn row(&self, measured: &[Measured]) -> Row {
        let of = |scope: &str| measured.iter().find(|measured| measured.scope == scope);
        Row {
            case: self.name.into(),
            inside: self.inside.into(),
            ours: of(self.ours).map(|measured| measured.ours.clone()).unwrap_or_default(),
            theirs: of(self.theirs).map(|measured| measured.theirs.clone()).unwrap_or_default(),
            target: self.target,
        }
    }
}

fn ours(workspace: &Workspace, scope: &str) -> Command {
    let program = workspace.target.join(PROGRAM);
    Command::new(&workspace.root, &program.to_string_lossy(), &our_arguments(scope))
}

fn our_arguments(scope: &str) -> String {
    format!("--scope {scope} --json")
}

fn theirs(workspace: &Workspace, numpy: &Path, scope: &str) -> Command {
    let arguments = format!("peers/python/nansum.py --scope {scope}");
    Command::new(&workspace.root, "python3", &arguments)
        .environment("PYTHONPATH", numpy.to_string_lossy())
}

/// What one program printed about one run.
struct Sample {
    seconds: f64,
    sum: f64,
    json: Value,
}

/// Runs one side once; its last line is the result.
fn sample(command: &Command) -> Result<Sample> {
    let mut last = String::new();
    let passed = command.run_reading(|line| {
        if !line.trim().is_empty() {
            last = line.into();
        }
    })?;
    let unusable = |why: &str| Error::Output(format!("`{}` {why}", command.line()));
    if !passed {
        return Err(unusable("failed: see above"));
    }
    parse(&last).ok_or_else(|| unusable("did not end with a JSON object with `seconds` and `sum`"))
}

fn parse(line: &str) -> Option<Sample> {
    let json: Value = serde_json::from_str(line).ok()?;
    let number = |key: &str| json.get(key).and_then(Value::as_f64);
    Some(Sample { seconds: number("seconds")?, sum: number("sum")?, json: json.clone() })
}

/// Both sides summed the same numbers: these sums are whole, so they are equal, not close.
fn agree(scope: &str, ours: &Sample, theirs: &Sample) -> Result<()> {
    if ours.sum == theirs.sum {
        return Ok(());
    }
    let (ours, theirs) = (ours.sum, theirs.sum);
    Err(Error::Output(format!("scope {scope}: the sums differ, ours {ours}, the rival's {theirs}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ours: &[f64], theirs: &[f64]) -> Row {
        let mut measured = Measured::new("own");
        ours.iter().for_each(|seconds| measured.ours.push(*seconds));
        theirs.iter().for_each(|seconds| measured.theirs.push(*seconds));
        CASES[0].row(&[measured])
    }

    #[test]
    fn every_comparison_finds_both_of_its_sides() {
        for case in &CASES {
            assert!(SCOPES.contains(&case.ours) && SCOPES.contains(&case.theirs), "{}", case.name);
        }
    }

    #[test]
    fn a_row_says_how_many_times_faster_and_whether_that_is_enough() {
        let met = row(&[1.0, 1.0, 1.1], &[2.0, 2.0, 2.1]);
        assert_eq!((met.ratio(), met.is_met(), met.is_unstable()), (2.0, Some(true), false));
        let missed = row(&[1.0], &[1.7]);
        assert_eq!(missed.is_met(), Some(false));
        let aimless = Row { target: None, ..missed };
        assert_eq!(aimless.is_met(), None);
        let unstable = row(&[1.0, 1.0, 1.0], &[1.0, 2.0, 3.0]);
        assert!(unstable.is_unstable());
        let too_few = row(&[1.0, 1.0], &[2.0, 2.0]);
        assert!(too_few.is_unstable());
    }

    #[test]
    fn a_row_survives_being_stored() {
        let row = row(&[1.0, 1.5], &[2.0, 2.5]);
        assert_eq!(Row::from_json(&row.to_json()).unwrap(), row);
    }

    #[test]
    fn every_key_of_a_row_is_there() {
        let json = row(&[1.0], &[2.0]).to_json();
        for key in
            ["area", "case", "unit", "ours", "rival", "value", "ratio", "spread", "target", "met"]
        {
            assert!(json.get(key).is_some_and(|value| !value.is_null()), "{key}");
        }
    }

    #[test]
    fn sides_that_disagree_are_an_error_and_no_row() {
        let sample = |sum: f64| parse(&format!(r#"{{"seconds": 1.0, "sum": {sum}}}"#)).unwrap();
        assert!(agree("own", &sample(2.0), &sample(2.0)).is_ok());
        assert!(agree("own", &sample(2.0), &sample(2.5)).is_err());
        assert!(parse("done").is_none() && parse(r#"{"seconds": 1.0}"#).is_none());
    }
}
