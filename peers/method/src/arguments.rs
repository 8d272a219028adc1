//! What every program of an area understands on its command line.

use crate::Outcome;
use crate::parts::{PART, Parts};

/// How much to measure.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    /// Rounds of each case.
    pub rounds: usize,
    /// Fewer sizes, fewer and shorter rounds.
    pub quick: bool,
    /// Only cases whose name holds this.
    pub only: String,
    /// The processes that share the rounds.
    pub(crate) parts: Parts,
}

impl Arguments {
    const ROUNDS: usize = 21;
    const QUICK_ROUNDS: usize = 9;

    /// Those of this program, which starts itself some times more: see `parts`.
    ///
    /// # Errors
    /// Names what it does not understand.
    pub fn read() -> Outcome<Arguments> {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let (words, parts) = match words.iter().position(|word| word == PART) {
            Some(place) => (&words[..place], Parts::nth(words[place + 1..].concat().parse()?)),
            None => {
                Self::parse(words.iter().cloned())?;
                (&words[..], Parts::first(&words)?)
            }
        };
        Ok(Arguments { parts, ..Self::parse(words.iter().cloned())? })
    }

    fn parse(words: impl Iterator<Item = String>) -> Outcome<Arguments> {
        let mut arguments = Arguments::default();
        let mut words = words;
        while let Some(word) = words.next() {
            match word.as_str() {
                "--quick" => arguments.quick = true,
                "--rounds" => {
                    arguments.rounds = words.next().ok_or("--rounds wants a number")?.parse()?;
                }
                "--only" => arguments.only = words.next().ok_or("--only wants a name")?,
                other => {
                    let known = "--quick, --rounds N, --only PART OF A CASE'S NAME";
                    return Err(format!("unknown `{other}`; known here: {known}").into());
                }
            }
        }
        if arguments.rounds == 0 {
            arguments.rounds = if arguments.quick { Self::QUICK_ROUNDS } else { Self::ROUNDS };
        }
        Ok(arguments)
    }

    /// One of two, by whether time is short.
    pub fn pick<T>(&self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Outcome<Arguments> {
        Arguments::parse(line.split_whitespace().map(String::from))
    }

    #[test]
    fn quick_means_fewer_rounds_unless_their_number_is_given() {
        assert_eq!(parse("--quick").unwrap().rounds, Arguments::QUICK_ROUNDS);
        assert_eq!(parse("--quick --rounds 3").unwrap().rounds, 3);
        assert_eq!(parse("").unwrap().rounds, Arguments::ROUNDS);
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        assert!(parse("--quik").unwrap_err().to_string().contains("--quik"));
    }
}
