//! One run in several processes. Where a process's memory happens to lie decides some figures for as
//! long as it lives; rounds within one process do not show it, and a second run then seems to
//! disagree. So a program starts itself some times more, and each case's rounds are divided among
//! these processes, one at a time.
//!
//! The first process says when: a line to the next one's standard input lets it go on to the case,
//! measure its part and answer with a line of what it took; then it waits for the next line.

use std::io::{BufRead, BufReader, Write, stdin};
use std::ops::Range;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::Outcome;
use crate::case::Taken;

/// How many processes share the rounds.
const PROCESSES: usize = 3;

/// The argument that makes a program the `nth` of them.
pub const PART: &str = "--part";

/// Which of the processes this is, and the way to the others.
#[derive(Clone, Debug, Default)]
pub struct Parts(Arc<Mutex<Role>>);

#[derive(Debug, Default)]
enum Role {
    /// The only one.
    #[default]
    Alone,
    /// Begins each case, and asks the others.
    First(Vec<Other>),
    /// Measures when it is told to.
    Nth(usize),
    /// One of the others, when the first one has ended.
    Over,
}

#[derive(Debug)]
struct Other {
    process: Child,
    /// `None` once it is to end.
    ask: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Parts {
    /// The first process, which starts the others with the same arguments.
    pub fn first(words: &[String]) -> Outcome<Parts> {
        let others = (1..PROCESSES).map(|nth| Other::start(words, nth)).collect::<Outcome<_>>()?;
        Ok(Parts::of(Role::First(others)))
    }

    /// One of the others.
    pub fn nth(nth: usize) -> Parts {
        Parts::of(Role::Nth(nth))
    }

    fn of(role: Role) -> Parts {
        Parts(Arc::new(Mutex::new(role)))
    }

    /// Takes `rounds` rounds of a case, all processes together: `measure` takes some of them here.
    /// `None` in a process that is not the first.
    pub(crate) fn take(
        &self,
        rounds: usize,
        measure: impl FnOnce(Range<usize>) -> Vec<Taken>,
    ) -> Option<Vec<Taken>> {
        let share = |nth| rounds * nth / PROCESSES..rounds * (nth + 1) / PROCESSES;
        let mut role = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *role {
            Role::Alone => Some(measure(0..rounds)),
            Role::First(others) => {
                let mut taken = measure(share(0));
                // One that ended is missed by its rounds only.
                others.retain_mut(|other| match other.ask(taken.len()) {
                    Ok(more) => {
                        taken.iter_mut().zip(more).for_each(|(taken, more)| taken.join(more));
                        true
                    }
                    Err(error) => {
                        eprintln!("one of the processes that share the rounds is lost: {error}");
                        false
                    }
                });
                Some(taken)
            }
            Role::Nth(nth) => {
                if is_told() {
                    let taken: Vec<Value> =
                        measure(share(*nth)).iter().map(Taken::to_json).collect();
                    println!("{}", Value::Array(taken));
                } else {
                    *role = Role::Over;
                }
                None
            }
            Role::Over => None,
        }
    }
}

/// Waits for the word of the first process; false when there will be none.
fn is_told() -> bool {
    let mut line = String::new();
    stdin().lock().read_line(&mut line).is_ok_and(|bytes| bytes > 0)
}

impl Other {
    fn start(words: &[String], nth: usize) -> Outcome<Other> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(words)
            .args([PART, &nth.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let ask = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().ok_or("no way out")?);
        Ok(Other { process, ask, answers })
    }

    /// What it takes of the case that comes next, which has so many sides.
    fn ask(&mut self, sides: usize) -> Outcome<Vec<Taken>> {
        self.ask.as_mut().ok_or("no way in")?.write_all(b"go\n")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let json: Value = serde_json::from_str(&line)?;
        let taken: Vec<Taken> =
            json.as_array().into_iter().flatten().filter_map(Taken::from_json).collect();
        if taken.len() == sides { Ok(taken) } else { Err("it has other sides".into()) }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // It waits for a word, and ends when nobody is left who could say one.
        drop(self.ask.take());
        let _ = self.process.wait();
    }
}
