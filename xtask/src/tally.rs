//! The sum of what all test runs reported.

use std::fmt;

use crate::command::Command;
use crate::error::Result;

/// How many tests passed, failed and were skipped, and which commands failed.
#[derive(Debug, Default)]
pub struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
    broken: Vec<String>,
}

impl Tally {
    /// Runs a test command and adds what its `test result:` lines say. A command that fails
    /// without a failed test (it did not compile, a test aborted) counts as one failure.
    pub fn run_tests(&mut self, command: &Command) -> Result<()> {
        self.run_tests_reading(command, |_| {})
    }

    /// The same, handing every line over.
    pub fn run_tests_reading(
        &mut self,
        command: &Command,
        mut each_line: impl FnMut(&str),
    ) -> Result<()> {
        let failed_before = self.failed;
        let passed = command.run_reading(|line| {
            self.read(line);
            each_line(line);
        })?;
        self.end(passed, failed_before, command);
        Ok(())
    }

    /// Runs a command that is no test run; its failure counts as one.
    pub fn run_check(&mut self, command: &Command) -> Result<()> {
        let failed_before = self.failed;
        let passed = command.run()?;
        self.end(passed, failed_before, command);
        Ok(())
    }

    /// Whether nothing failed.
    pub fn is_green(&self) -> bool {
        self.failed == 0 && self.broken.is_empty()
    }

    /// The commands that failed, to be typed again.
    pub fn broken(&self) -> &[String] {
        &self.broken
    }

    /// Prints the commands that failed, then the summary line.
    pub fn print(&self) {
        for line in &self.broken {
            println!("failed: {line}");
        }
        println!("{self}");
    }

    /// Notes how a command ended; one that failed counts as a failure at least.
    fn end(&mut self, passed: bool, failed_before: u64, command: &Command) {
        if !passed {
            self.broken.push(command.line());
            self.failed = self.failed.max(failed_before + 1);
        }
    }

    /// Adds what one line says, if it is a summary of the test harness.
    fn read(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result: ") else { return };
        let counts = counts.split_once(". ").map_or(counts, |(_, counts)| counts);
        for part in counts.split(';') {
            let mut words = part.split_whitespace();
            let (Some(count), Some(what)) = (words.next(), words.next()) else { continue };
            let Ok(count) = count.parse::<u64>() else { continue };
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.skipped += count,
                _ => {}
            }
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::command::Echo;

    /// What a run that printed these lines and ended so adds. Nothing is run: the output of this
    /// test must not look like the output of a test run.
    fn add(tally: &mut Tally, lines: &[&str], passed: bool) {
        let failed_before = tally.failed;
        lines.iter().for_each(|line| tally.read(line));
        tally.end(passed, failed_before, &Command::cargo(Path::new("."), "test"));
    }

    const GREEN: &str = "test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 2 filtered out; finished in 0s";
    const RED: &str =
        "test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out";

    #[test]
    fn the_lines_of_all_runs_are_summed() {
        let mut tally = Tally::default();
        add(&mut tally, &[GREEN, GREEN], true);
        assert_eq!(tally.to_string(), "10 passed, 0 failed");
        assert!(tally.is_green());
        add(&mut tally, &[RED], false);
        assert_eq!(tally.to_string(), "13 passed, 2 failed, 1 skipped");
        assert!(!tally.is_green());
        assert_eq!(tally.broken(), ["cargo test"]);
    }

    #[test]
    fn a_run_that_dies_without_a_failed_test_is_a_failure() {
        let mut tally = Tally::default();
        add(&mut tally, &[GREEN], false);
        assert_eq!(tally.to_string(), "5 passed, 1 failed");
        add(&mut tally, &[], false);
        assert_eq!(tally.to_string(), "5 passed, 2 failed");
    }

    #[test]
    fn a_command_that_is_no_test_run_counts_when_it_fails() {
        let mut tally = Tally::default();
        let shell = |script| Command::new(Path::new("."), "sh", "-c").argument(script);
        tally.run_check(&shell("exit 0").echo(Echo::Error)).unwrap();
        assert!(tally.is_green());
        tally.run_check(&shell("exit 1").echo(Echo::Error)).unwrap();
        assert_eq!(tally.to_string(), "0 passed, 1 failed");
    }

    #[test]
    fn a_test_that_prints_something_alike_is_not_counted() {
        let mut tally = Tally::default();
        tally.read("  test result: ok. 5 passed; 0 failed");
        tally.read("test result of mine: 5 passed");
        assert_eq!(tally.to_string(), "0 passed, 0 failed");
    }
}
