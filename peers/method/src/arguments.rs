//! What every program of an area understands on its command line.

use crate::Outcome;

/// How much to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// Rounds of each case.
    pub rounds: usize,
    /// Fewer sizes, fewer and shorter rounds.
    pub quick: bool,
    /// Only cases whose name holds this.
    pub only: String,
}

impl Arguments {
    const ROUNDS: usize = 21;
    const QUICK_ROUNDS: usize = 7;

    /// Those of this program.
    ///
    /// # Errors
    /// Names what it does not understand.
    pub fn read() -> Outcome<Arguments> {
        Self::parse(std::env::args().skip(1))
    }

    fn parse(words: impl Iterator<Item = String>) -> Outcome<Arguments> {
        let mut arguments = Arguments { rounds: 0, quick: false, only: String::new() };
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
