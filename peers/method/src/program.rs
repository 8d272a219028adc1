//! A rival that is a program of its own: asked for one sample a line, it answers one line of JSON.
//!
//! It stays alive between the rounds, so that it is as warm as everybody else. The line is the name
//! of a case with its arguments; the answer `{"value": 1.5}` or `{"error": "why"}`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

use crate::{Outcome, Sample};

/// An answer that takes longer than this is none.
const PATIENCE: Duration = Duration::from_secs(120);

/// A rival's process. Ended and waited for when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    input: Option<ChildStdin>,
    answers: Receiver<String>,
}

impl Program {
    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Outcome<Program> {
        let line = format!("{command:?}");
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = started.map_err(|error| format!("cannot run {line}: {error}"))?;
        let input = child.stdin.take().ok_or("no input of the program")?;
        let output = child.stdout.take().ok_or("no output of the program")?;
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Program { child, input: Some(input), answers })
    }

    /// Asks for one sample.
    ///
    /// # Errors
    /// What the program said went wrong, that it ended, or that it did not answer in two minutes.
    pub fn ask(&mut self, request: &str) -> Outcome<Sample> {
        let input = self.input.as_mut().ok_or("the program was ended")?;
        writeln!(input, "{request}").map_err(|error| format!("the program ended: {error}"))?;
        let answer = self.answers.recv_timeout(PATIENCE);
        let line = answer.map_err(|_| format!("no answer to `{request}`"))?;
        let json: Value = serde_json::from_str(&line)
            .map_err(|_| format!("`{request}` was answered by `{line}`"))?;
        if let Some(error) = json["error"].as_str() {
            return Err(error.into());
        }
        let value = json["value"].as_f64().ok_or("an answer without a value")?;
        Ok(Sample::from(value))
    }
}

impl Drop for Program {
    /// Its input ends, upon which it ends by itself and takes what it made with it; who does not
    /// within some seconds is killed.
    fn drop(&mut self) {
        drop(self.input.take());
        for _ in 0..500 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_answers_and_its_complaint_is_an_error() {
        let script = r#"read a; echo '{"value": 2.5}'; read a; echo '{"error": "no such thing"}'"#;
        let mut program = Program::start(Command::new("sh").args(["-c", script])).unwrap();
        assert_eq!(program.ask("something").unwrap().value, 2.5);
        assert_eq!(program.ask("else").unwrap_err().to_string(), "no such thing");
        assert!(program.ask("more").is_err());
    }
}
