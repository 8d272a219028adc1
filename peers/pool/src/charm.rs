//! charm4py: a program of its own for each sample, since its runtime starts and ends with it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use method::{Outcome, Promise, Sample, Side};

const PROMISE: Promise = Promise::may_lose("one killed process ends the whole program");

/// Calls of a chare in the other of two processes: `what` is `call` or `calls`.
pub fn side<'a>(what: &'static str, count: u32) -> Side<'a> {
    Side::new("charm4py 1.1", PROMISE, move || run(what, count))
}

fn run(what: &str, count: u32) -> Outcome<Sample> {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../python/charm_sides.py");
    let mut command = Command::new("python3");
    command.args(["-m", "charmrun.start", "+p2"]).arg(script).args([what, &count.to_string()]);
    let output = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr).into_owned();
    let answer = said.lines().find_map(|line| {
        serde_json::from_str::<serde_json::Value>(line.trim()).ok()?.as_object().cloned()
    });
    let answer = answer.ok_or_else(|| {
        let last = complained.lines().last().unwrap_or("it gave no figure").to_owned();
        format!("charm4py: {last}")
    })?;
    match answer.get("value").and_then(serde_json::Value::as_f64) {
        Some(value) => Ok(Sample::from(value)),
        None => Err(format!("charm4py: {answer:?}").into()),
    }
}
