//! Automation of this repository, as plain Rust.
//!
//! Every command prints the plain command that it runs before it runs it, so nobody needs this
//! program to build, test or measure anything here. `cargo xtask help` lists the commands.

mod bench;
mod book;
mod ci;
mod command;
mod error;
mod kill;
mod loom;
mod mutants;
mod peers;
mod python;
mod tally;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use error::{Error, Result};
use workspace::Workspace;

const HELP: &str = "\
cargo xtask COMMAND

  test                 everything that must pass: units, integration, docs, each crate alone,
                       the short forms of loom and kill; ends with `N passed, N failed`
  loom [--short|--long]
                       the models under loom: 2 preemptions (short), 3, or 4 (long)
  mutants [--html FOLDER]
                       the mutation matrices: every ordering weakened, every statement of a
                       recovery left out, in turn; pages in target/mutants
  kill [--long] [--json]
                       the kill-at-every-instruction checks, as a table or as JSON lines
  bench                the benchmarks of our own crates
  peers [shm|heap|queue|pool|profiler|nansum] [--json] [--quick] [--rounds N] [--write | --compare A B]
                       ours beside the rivals, in one run; --write makes the book's pages of it
  tidy                 the part of the style that a machine can see
  book [--install]     the book in docs/, built by mdBook
  ci                   test, tidy, clippy, formatting and docs, with warnings denied
  miri, tsan           say why they do not run here
  help                 this text

Each command prints the plain command that it runs.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one command; `Ok(false)` when it ran and something in it failed.
fn dispatch(arguments: &[String]) -> Result<bool> {
    let (name, options) = match arguments.split_first() {
        Some((name, options)) => (name.as_str(), options),
        None => ("help", arguments),
    };
    match name {
        "test" => test::command(&Workspace::load()?, &only(options, &[])?),
        "loom" => loom::command(&Workspace::load()?, &only(options, &["--short", "--long"])?),
        "kill" => kill::command(&Workspace::load()?, &only(options, &["--long", "--json"])?),
        "mutants" => mutants::command(&Workspace::load()?, options),
        "bench" => bench::command(&Workspace::load()?, &only(options, &[])?),
        "peers" => peers::command(&Workspace::load()?, options),
        "tidy" => tidy::command(&Workspace::load()?, &only(options, &[])?),
        "book" => book::command(&Workspace::load()?, &only(options, &["--install"])?),
        "ci" => ci::command(&Workspace::load()?, &only(options, &[])?),
        "miri" | "tsan" => {
            println!("{}", needs_another_toolchain(name));
            Ok(true)
        }
        "help" | "--help" | "-h" => {
            println!("{HELP}");
            Ok(true)
        }
        other => Err(Error::Usage(format!("no command `{other}`; `cargo xtask help` lists them"))),
    }
}

/// The options of a command that takes flags only; refuses what it does not know.
fn only<'a>(options: &'a [String], known: &[&str]) -> Result<Vec<&'a str>> {
    for option in options {
        if !known.contains(&option.as_str()) {
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            return Err(Error::Usage(format!("unknown option `{option}`; known here: {known}")));
        }
    }
    Ok(options.iter().map(String::as_str).collect())
}

fn needs_another_toolchain(name: &str) -> String {
    let why = match name {
        "miri" => "the interpreter, and the standard library built for it, ship with nightly only",
        _ => "ThreadSanitizer needs `-Zsanitizer=thread` and `-Zbuild-std`, which are nightly only",
    };
    format!("{name}: skipped; {why}, and this repository builds with the stable toolchain alone")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_unknown_option_is_refused_by_name() {
        let error = only(&strings(&["--lnog"]), &["--long"]).unwrap_err().to_string();
        assert!(error.contains("--lnog") && error.contains("--long"), "{error}");
    }

    #[test]
    fn an_unknown_command_points_to_the_help() {
        let error = dispatch(&strings(&["tset"])).unwrap_err().to_string();
        assert!(error.contains("tset") && error.contains("cargo xtask help"), "{error}");
    }

    #[test]
    fn what_needs_another_toolchain_says_so_and_is_no_failure() {
        for name in ["miri", "tsan"] {
            assert!(dispatch(&strings(&[name])).unwrap());
            assert!(needs_another_toolchain(name).contains("nightly"));
        }
    }

    #[test]
    fn the_help_names_every_command() {
        for name in
            ["test", "loom", "mutants", "kill", "bench", "peers", "tidy", "book", "ci", "miri"]
        {
            assert!(HELP.lines().any(|line| line.trim_start().starts_with(name)), "{name}");
        }
    }
}
