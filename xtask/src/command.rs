//! One command: printed as a person would type it, then run.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::error::{Error, Result};

/// Where the lines that a command prints go on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// To our standard output, as they come.
    Output,
    /// To our standard error: our output is for a program (`--json`).
    Error,
}

/// A command to run: program, arguments, environment, folder.
#[derive(Clone, Debug)]
pub struct Command {
    program: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    folder: PathBuf,
    echo: Echo,
}

impl Command {
    /// `program` with `arguments` separated by spaces, run in `folder`.
    pub fn new(folder: &Path, program: &str, arguments: &str) -> Self {
        Self {
            program: program.into(),
            arguments: arguments.split_whitespace().map(String::from).collect(),
            environment: Vec::new(),
            folder: folder.into(),
            echo: Echo::Output,
        }
    }

    /// `cargo` with `arguments` separated by spaces, run in `folder`.
    pub fn cargo(folder: &Path, arguments: &str) -> Self {
        Self::new(folder, "cargo", arguments)
    }

    /// Adds one argument, which may hold spaces.
    pub fn argument(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_string_lossy().into_owned());
        self
    }

    /// Sets an environment variable; it is printed too.
    pub fn environment(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Says where the lines go.
    pub fn echo(mut self, echo: Echo) -> Self {
        self.echo = echo;
        self
    }

    /// The command as a person would type it.
    pub fn line(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        for (name, value) in &self.environment {
            words.push(format!("{name}={}", quoted(value)));
        }
        words.push(quoted(&self.program));
        words.extend(self.arguments.iter().map(|argument| quoted(argument)));
        words.join(" ")
    }

    /// Prints and runs it, its output going to ours; `false` when it failed.
    pub fn run(&self) -> Result<bool> {
        self.announce();
        let mut command = self.build();
        if self.echo == Echo::Error {
            command.stdout(std::io::stderr());
        }
        Ok(command.status().map_err(|source| self.start_error(source))?.success())
    }

    /// Prints and runs it, hands over every line of its output, which is passed on as it comes.
    pub fn run_reading(&self, mut each_line: impl FnMut(&str)) -> Result<bool> {
        self.announce();
        let mut child = self
            .build()
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|source| self.start_error(source))?;
        if let Some(output) = child.stdout.take() {
            for line in BufReader::new(output).split(b'\n').map_while(|line| line.ok()) {
                let line = String::from_utf8_lossy(&line);
                self.pass_on(&line);
                each_line(&line);
            }
        }
        Ok(child.wait().map_err(|source| self.start_error(source))?.success())
    }

    /// Runs it without printing anything and gives what it wrote: exit, output, errors.
    pub fn output(&self) -> Result<std::process::Output> {
        self.build().output().map_err(|source| self.start_error(source))
    }

    fn announce(&self) {
        self.pass_on(&format!("$ {}", self.line()));
    }

    fn pass_on(&self, line: &str) {
        // A reader that went away (`| head`) is no reason to stop the work.
        let _ = match self.echo {
            Echo::Output => writeln!(std::io::stdout(), "{line}"),
            Echo::Error => writeln!(std::io::stderr(), "{line}"),
        };
    }

    fn build(&self) -> std::process::Command {
        let mut command = std::process::Command::new(&self.program);
        command.args(&self.arguments).current_dir(&self.folder);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn start_error(&self, source: std::io::Error) -> Error {
        Error::Start { line: self.line(), source }
    }
}

/// The word as a shell wants it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_what_a_person_would_type() {
        let command = Command::cargo(Path::new("."), "test -p shm-core")
            .argument("--test")
            .argument("kill_*")
            .environment("RUSTFLAGS", "--cfg loom");
        assert_eq!(command.line(), "RUSTFLAGS='--cfg loom' cargo test -p shm-core --test 'kill_*'");
    }

    #[test]
    fn every_line_is_read_and_a_failure_is_seen() {
        let command = Command::new(Path::new("."), "sh", "-c")
            .argument("echo one; echo two; exit 3")
            .echo(Echo::Error);
        let mut lines = Vec::new();
        let passed = command.run_reading(|line| lines.push(line.to_string())).unwrap();
        assert!(!passed);
        assert_eq!(lines, ["one", "two"]);
    }

    #[test]
    fn a_missing_program_is_an_error_that_names_it() {
        let error = Command::new(Path::new("."), "no-such-program-here", "").run().unwrap_err();
        assert!(error.to_string().contains("no-such-program-here"), "{error}");
    }
}
