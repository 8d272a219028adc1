//! `peers`: ours beside the rivals, on the same work, in one run.

mod machine;
mod nansum;
mod report;
mod samples;

use crate::command::Echo;
use crate::error::{Error, Result};
use crate::workspace::Workspace;

/// What to run and how to show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How often each side runs in each scope.
    rounds: usize,
    /// One JSON object a row on standard output; everything else on standard error.
    json: bool,
    /// Write the book's page from the last stored run, without a new one.
    write: bool,
}

impl Options {
    const ROUNDS: usize = 7;
    const QUICK_ROUNDS: usize = 3;

    fn parse(words: &[String]) -> Result<Self> {
        let mut options = Self { rounds: Self::ROUNDS, json: false, write: false };
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            match word {
                "nansum" => {}
                "--json" => options.json = true,
                "--write" => options.write = true,
                "--quick" => options.rounds = Self::QUICK_ROUNDS,
                "--rounds" => {
                    let rounds = words.next().and_then(|number| number.parse().ok());
                    let rounds = rounds.filter(|rounds| *rounds > 0);
                    options.rounds = rounds.ok_or_else(|| {
                        Error::Usage("--rounds wants a number from 1, as in `--rounds 7`".into())
                    })?;
                }
                other => {
                    return Err(Error::Usage(format!(
                        "unknown `{other}`; known here: nansum, --json, --quick, --rounds N, --write"
                    )));
                }
            }
        }
        Ok(options)
    }

    fn echo(self) -> Echo {
        if self.json { Echo::Error } else { Echo::Output }
    }
}

/// Measures, stores and shows; succeeds when every side ran and the results agree. A missed
/// target is a row, not a failure.
pub fn command(workspace: &Workspace, words: &[String]) -> Result<bool> {
    let options = Options::parse(words)?;
    if options.write {
        return report::write_page(workspace);
    }
    let Some(run) = nansum::measure(workspace, options)? else { return Ok(false) };
    report::store(workspace, &run)?;
    if options.json {
        run.rows.iter().for_each(|row| println!("{}", row.to_json()));
    } else {
        print!("{}", report::table(&run));
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read_in_any_order() {
        let options = parse("--json nansum --quick").unwrap();
        assert_eq!(options, Options { rounds: 3, json: true, write: false });
        assert_eq!(parse("nansum --rounds 11").unwrap().rounds, 11);
        assert_eq!(parse("").unwrap().rounds, 7);
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        assert!(parse("nansun").unwrap_err().to_string().contains("nansun"));
        assert!(parse("--rounds none").unwrap_err().to_string().contains("--rounds"));
        assert!(parse("--rounds 0").is_err());
    }
}
