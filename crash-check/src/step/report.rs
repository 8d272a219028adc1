//! What a run says.

use std::fmt::{self, Write as _};

use super::finding::{Change, FailureKind, Finding, Outcome, Phase, Place};
use super::locate::Locator;
use super::replay::VARIABLE;
use super::scenario::Scenario;

/// Instructions that a failure lists, and that a replay lists.
const LISTED: usize = 10;
const LISTED_VERBOSE: usize = 64;
/// Changed words that a failure lists.
const CHANGES_LISTED: usize = 16;

/// Did the structure keep its promises?
#[derive(Clone, Debug)]
pub enum Verdict {
    /// At every point, under every victim that was tried.
    Clean,
    /// Not at this one.
    Broken(Box<Failure>),
}

/// The numbers and the verdict of a run; printed, it is one row of a table.
#[derive(Clone, Debug)]
pub struct Report {
    /// The scenario's name.
    pub operation: String,
    /// The state that the operation starts from.
    pub state: String,
    /// Instructions of the operation that were stepped, each a kill point.
    pub instructions: u64,
    /// Distinct images of the memory, those left by killed recoveries included.
    pub images: u64,
    /// Recoveries run, each with the checks behind it, in a process of its own.
    pub recoveries: u64,
    /// Points that were left by a real `SIGKILL`.
    pub real_kills: u64,
    /// Schedules of two processes; 0 for a run of one.
    pub schedules: u64,
    /// All schedules within the bound were run, not only as many as the budget allows.
    pub exhausted: bool,
    /// The operation slept in a system call and nobody woke it: it was killed there, and what it
    /// would have done next was not seen.
    pub left_asleep: bool,
    /// The result.
    pub verdict: Verdict,
}

impl Report {
    pub(super) fn new(scenario: &Scenario, outcome: Outcome) -> Report {
        let tally = outcome.tally;
        let verdict = match outcome.finding {
            None => Verdict::Clean,
            Some(finding) => {
                Verdict::Broken(Box::new(Failure::new(&scenario.full_name(), finding)))
            }
        };
        Report {
            operation: scenario.name.clone(),
            state: scenario.state.clone(),
            instructions: tally.instructions,
            images: tally.images,
            recoveries: tally.recoveries,
            real_kills: tally.real_kills,
            schedules: tally.schedules,
            exhausted: tally.exhausted != 0,
            left_asleep: tally.asleep != 0,
            verdict,
        }
    }

    /// Nothing was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failure().is_none()
    }

    /// What was found, if anything.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match &self.verdict {
            Verdict::Clean => None,
            Verdict::Broken(failure) => Some(failure),
        }
    }

    /// Prints the row as JSON behind the mark `kill-row: `, for tools that read a test's output.
    pub fn print_row(&self) {
        println!("kill-row: {}", self.to_json());
    }

    /// For tests: prints the row, for people and for tools.
    ///
    /// # Panics
    ///
    /// If something was found, with the whole failure as the message.
    #[track_caller]
    pub fn assert_clean(&self) {
        println!("{self}");
        self.print_row();
        if let Some(failure) = self.failure() {
            panic!("{failure}");
        }
    }

    /// `Ok` when clean, else the failure as text.
    ///
    /// # Errors
    ///
    /// The failure, as it would be printed.
    pub fn into_result(self) -> Result<(), String> {
        match self.verdict {
            Verdict::Clean => Ok(()),
            Verdict::Broken(failure) => Err(failure.to_string()),
        }
    }

    /// The header of the table that reports are rows of.
    #[must_use]
    pub fn table_header() -> &'static str {
        "| operation | state | instructions | images | recoveries | real kills | verdict |\n\
         |---|---|---:|---:|---:|---:|---|"
    }

    /// One JSON object with the keys `operation`, `state`, `instructions`, `images`,
    /// `recoveries`, `real_kills`, `schedules`, `verdict` (`clean` or the failure's first line).
    #[must_use]
    pub fn to_json(&self) -> String {
        format!(
            "{{\"operation\":{},\"state\":{},\"instructions\":{},\"images\":{},\
             \"recoveries\":{},\"real_kills\":{},\"schedules\":{},\"verdict\":{}}}",
            json_string(&self.operation),
            json_string(&self.state),
            self.instructions,
            self.images,
            self.recoveries,
            self.real_kills,
            self.schedules,
            json_string(&self.verdict_line()),
        )
    }

    fn verdict_line(&self) -> String {
        match &self.verdict {
            Verdict::Clean if self.schedules > 0 => {
                let all = if self.exhausted { "all " } else { "" };
                format!("clean ({all}{} schedules)", self.schedules)
            }
            Verdict::Clean if self.left_asleep => "clean (left asleep)".to_owned(),
            Verdict::Clean => "clean".to_owned(),
            Verdict::Broken(failure) => failure.headline(),
        }
    }

    /// The row and, after a failure, everything that is known of it.
    pub(super) fn verbose(&self) -> String {
        let mut text = self.to_string();
        if let Some(failure) = self.failure() {
            // Writing to a String does not fail.
            let _ = write!(text, "\n{}\n{}", failure, failure.long_listing);
        }
        text
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "| {} | {} | {} | {} | {} | {} | {} |",
            self.operation,
            self.state,
            self.instructions,
            self.images,
            self.recoveries,
            self.real_kills,
            self.verdict_line()
        )
    }
}

/// A kill point at which a promise was broken; printed, it is everything that helps to see why.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which promise.
    pub kind: FailureKind,
    /// What was said: by `validate`, by a panic, or by the watchdog.
    pub message: String,
    /// The operation's kill point, then those of its recoveries.
    pub path: Vec<Place>,
    /// Source position of the last instruction that was executed: `file:line in function`.
    pub source: Option<String>,
    /// Words changed by the last instruction that changed the memory.
    pub changes: Vec<Change>,
    /// The instructions around the kill: `>` was the last, `x` came no more.
    pub listing: String,
    /// A command that runs this point alone.
    pub replay: String,
    scenario: String,
    how: String,
    is_pair: bool,
    long_listing: String,
}

impl Failure {
    fn new(scenario: &str, finding: Finding) -> Failure {
        let mut locator = Locator::new();
        let source = locator.author_line(&finding.trail).map(|line| {
            let text = line.text().map(|text| format!(": `{text}`")).unwrap_or_default();
            format!("{}:{} in {}{text}", line.file, line.line, line.function)
        });
        let tail = |len: usize| finding.trail.len().saturating_sub(len);
        let recent = finding.trail.get(tail(LISTED)..).unwrap_or_default();
        let long = finding.trail.get(tail(LISTED_VERBOSE)..).unwrap_or_default();
        Failure {
            kind: finding.kind,
            source,
            listing: locator.listing(recent, finding.next),
            long_listing: locator.listing(long, finding.next),
            is_pair: finding.replay.starts_with(['i', 'k']),
            replay: replay_command(scenario, &finding.replay),
            message: finding.message,
            path: finding.path,
            changes: finding.changes,
            scenario: scenario.to_owned(),
            how: finding.how,
        }
    }

    fn headline(&self) -> String {
        let first = self.message.lines().next().unwrap_or("");
        let at: Vec<String> = self.path.iter().map(|at| at.instruction.to_string()).collect();
        format!("{:?} broken at instruction {}: {first}", self.kind, at.join("/"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.scenario, self.headline())?;
        for line in self.message.lines().skip(1) {
            writeln!(f, "    {line}")?;
        }
        for (nth, place) in self.path.iter().enumerate().filter(|_| self.is_pair) {
            let who = ["operation", "against"].get(nth).unwrap_or(&"");
            writeln!(f, "  {who} stood after {} instructions", place.instruction)?;
        }
        for (depth, place) in self.path.iter().enumerate().filter(|_| !self.is_pair) {
            let who = if depth == 0 { "the operation" } else { "the recovery" };
            let phase = match place.phase {
                Phase::Running => "",
                Phase::Asleep => ", asleep in a system call",
                Phase::Woken => ", woken by the waker",
            };
            write!(f, "  killed after {} instructions of {who}{phase}", place.instruction)?;
            match place.after_call {
                Some(after) => writeln!(f, ", after its {} system calls", after.calls)?,
                None => writeln!(f)?,
            }
        }
        writeln!(f, "  how: {}", self.how)?;
        if let Some(source) = &self.source {
            writeln!(f, "  at {source}")?;
        }
        if !self.changes.is_empty() {
            writeln!(f, "  last change of the memory (offset: old -> new):")?;
        }
        for change in self.changes.iter().take(CHANGES_LISTED) {
            let Change { offset, old, new } = change;
            writeln!(f, "    {offset:#06x}: {old:#018x} -> {new:#018x}")?;
        }
        if self.changes.len() > CHANGES_LISTED {
            writeln!(f, "    and {} words more", self.changes.len() - CHANGES_LISTED)?;
        }
        writeln!(f, "  code (> executed last, x not executed):")?;
        f.write_str(&self.listing)?;
        write!(f, "  replay: {}", self.replay)
    }
}

/// The test harness names a test's thread after it; with one thread it does not, but then the
/// scenario's name in the variable picks the run.
fn replay_command(scenario: &str, point: &str) -> String {
    let value = format!("{scenario}@{point}").replace('\'', "'\\''");
    let program = std::env::args().next().unwrap_or_default();
    let package = std::env::var("CARGO_PKG_NAME").map(|name| format!(" -p {name}"));
    // Counts of instructions are those of this build.
    let release = if program.contains("/release/deps/") { " --release" } else { "" };
    let package = format!("{release}{}", package.unwrap_or_default());
    let command = match std::thread::current().name() {
        Some(test) if test != "main" => {
            format!("cargo test{package} {test} -- --exact --nocapture")
        }
        _ if program.contains("/deps/") => format!("cargo test{package} -- --nocapture"),
        _ => program.rsplit('/').next().unwrap_or("").to_owned(),
    };
    format!("{VARIABLE}='{value}' {command}")
}

fn json_string(text: &str) -> String {
    let mut out = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            letter if u32::from(letter) < 0x20 => {
                // Writing to a String does not fail.
                let _ = write!(out, "\\u{:04x}", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}
