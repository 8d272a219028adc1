//! `peers`: ours beside the rivals, on the same work, in one run.
//!
//! The areas are programs of the workspace `peers/`; this builds them, gets what their rivals need,
//! runs them, keeps what they found in `target/peers`, and writes the book's pages from that.

mod area;
mod compare;
mod machine;
mod nansum;
mod page;
mod report;
mod rivals;
mod samples;
mod targets;

use crate::command::Echo;
use crate::error::{Error, Result};
use crate::workspace::Workspace;

/// What can be asked for: the areas of the workspace `peers/`, and the sum of a column.
const NAMES: [&str; 6] = ["shm", "heap", "queue", "pool", "profiler", "nansum"];

/// What to run and how to show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which of [`NAMES`], in that order.
    names: Vec<&'static str>,
    /// How often each side runs in each case, if that was said.
    rounds: Option<usize>,
    /// Fewer sizes, fewer and shorter rounds.
    quick: bool,
    /// One JSON object a row on standard output; everything else on standard error.
    json: bool,
    /// Write the book's pages from the last stored runs, without new ones.
    write: bool,
    /// Compare two stored runs, without new ones: two files, or two folders of them.
    compare: Option<[String; 2]>,
}

impl Options {
    /// Rounds of the sum of a column, unless their number is given.
    const ROUNDS: usize = 7;
    const QUICK_ROUNDS: usize = 3;

    fn parse(words: &[String]) -> Result<Self> {
        let mut options = Self {
            names: Vec::new(),
            rounds: None,
            quick: false,
            json: false,
            write: false,
            compare: None,
        };
        let mut asked: Vec<&str> = Vec::new();
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            match word {
                "--json" => options.json = true,
                "--write" => options.write = true,
                "--quick" => options.quick = true,
                "--compare" => {
                    let runs = words.next().zip(words.next());
                    let (first, second) = runs.ok_or_else(|| {
                        Error::Usage("--compare wants two stored runs: files or folders".into())
                    })?;
                    options.compare = Some([first.into(), second.into()]);
                }
                "--rounds" => {
                    let rounds = words.next().and_then(|number| number.parse().ok());
                    options.rounds =
                        Some(rounds.filter(|rounds| *rounds > 0).ok_or_else(|| {
                            Error::Usage(
                                "--rounds wants a number from 1, as in `--rounds 7`".into(),
                            )
                        })?);
                }
                name if NAMES.contains(&name) => asked.push(name),
                other => {
                    let names = NAMES.join(", ");
                    return Err(Error::Usage(format!(
                        "unknown `{other}`; known here: {names}, --json, --quick, --rounds N, --write, \
                         --compare A B"
                    )));
                }
            }
        }
        let wanted = |name: &&str| asked.is_empty() || asked.contains(name);
        options.names = NAMES.into_iter().filter(wanted).collect();
        Ok(options)
    }

    fn echo(&self) -> Echo {
        if self.json { Echo::Error } else { Echo::Output }
    }

    /// Rounds of the sum of a column.
    fn nansum_rounds(&self) -> usize {
        let usual = if self.quick { Self::QUICK_ROUNDS } else { Self::ROUNDS };
        self.rounds.unwrap_or(usual)
    }
}

/// Measures, stores and shows; succeeds when every area ran and every target has its row. A missed target is a row, not a
/// failure, and so is a rival that cannot be installed.
pub fn command(workspace: &Workspace, words: &[String]) -> Result<bool> {
    let options = Options::parse(words)?;
    if let Some([first, second]) = &options.compare {
        return compare::command(first, second);
    }
    if options.write {
        return write(workspace, &options);
    }
    let rivals = rivals::prepare(workspace, &options)?;
    let mut all_ran = true;
    for name in &options.names {
        all_ran &= match *name {
            "nansum" => sum_of_a_column(workspace, &options)?,
            area => area::measure(workspace, area, &rivals, &options)?,
        };
    }
    Ok(all_ran)
}

fn sum_of_a_column(workspace: &Workspace, options: &Options) -> Result<bool> {
    let Some(run) = nansum::measure(workspace, options)? else { return Ok(false) };
    report::store(workspace, &run)?;
    if options.json {
        run.rows.iter().for_each(|row| println!("{}", row.to_json()));
    } else {
        print!("{}", report::table(&run));
    }
    let rows: Vec<_> = run.rows.iter().map(nansum::Row::to_json).collect();
    Ok(targets::complain("nansum", &rows))
}

fn write(workspace: &Workspace, options: &Options) -> Result<bool> {
    let mut all_written = true;
    for name in &options.names {
        all_written &= match *name {
            "nansum" => report::write_page(workspace)?,
            area => page::write(workspace, area)?,
        };
    }
    page::charts(workspace, &options.names)?;
    page::write_index(workspace)?;
    Ok(all_written)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read_in_any_order() {
        let options = parse("--json nansum --quick queue").unwrap();
        assert_eq!(options.names, ["queue", "nansum"]);
        assert!(options.json && options.quick && !options.write);
        assert_eq!(options.nansum_rounds(), 3);
        assert_eq!(parse("nansum --rounds 11").unwrap().nansum_rounds(), 11);
    }

    #[test]
    fn without_a_name_everything_is_meant() {
        assert_eq!(parse("").unwrap().names, NAMES);
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        assert!(parse("nansun").unwrap_err().to_string().contains("nansun"));
        assert!(parse("--rounds none").unwrap_err().to_string().contains("--rounds"));
        assert!(parse("--rounds 0").is_err());
        assert!(parse("--compare one").unwrap_err().to_string().contains("two stored runs"));
        assert_eq!(parse("--compare a b").unwrap().compare, Some(["a".into(), "b".into()]));
    }
}
