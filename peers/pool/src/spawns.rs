//! A bare start of this same program, without which no worker is ready: the limit of a pool's start.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use method::{Outcome, Sample};

/// The argument at which this program answers a byte and ends.
pub const ANSWER: &str = "answer-a-byte";

/// Answers, if that was asked for. Before anything of a pool's, as in a program that knows of none.
pub fn answer_if_asked() -> Outcome<bool> {
    if std::env::args().nth(1).as_deref() != Some(ANSWER) {
        return Ok(false);
    }
    std::io::stdout().write_all(b"x")?;
    std::io::stdout().flush()?;
    // Lives until it is told to go, as a worker does.
    let _ = std::io::stdin().read(&mut [0]);
    Ok(true)
}

/// Milliseconds until these many programs have answered, all started at once by `posix_spawn`.
pub fn until_answered(processes: usize) -> Outcome<Sample> {
    let start = Instant::now();
    let spawn = || {
        Command::new("/proc/self/exe")
            .arg(ANSWER)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
    };
    let mut children = (0..processes).map(|_| spawn()).collect::<Result<Vec<_>, _>>()?;
    for child in &mut children {
        child.stdout.as_mut().ok_or("no output")?.read_exact(&mut [0])?;
    }
    let time = start.elapsed();
    for mut child in children {
        drop(child.stdin.take());
        child.wait()?;
    }
    Ok(Sample::from(time.as_secs_f64() * 1e3))
}
