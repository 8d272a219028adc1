//! Three processes under the heap profiler, one of which is killed: something to watch.
//!
//! ```text
//! cargo build --release -p profiling --examples
//! memtree run --report report.html -- target/release/examples/workers
//! ```
//!
//! The parent reads a table; two workers, which are this program again, index it, and one of them
//! is killed by SIGKILL while it holds everything. Its heap is in the report all the same.

use std::alloc::System;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use profiling::heap::{Mode, Profiler, scope};

#[global_allocator]
static HEAP: Profiler<System> = Profiler::new(System, Mode::SAMPLED);

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let rows = read_table();
    if std::env::args().nth(1).as_deref() == Some("worker") {
        return work(&rows);
    }
    let mut killed = start()?;
    let mut ended = start()?;
    killed.kill()?;
    killed.wait()?;
    drop(ended.stdin.take());
    ended.wait()?;
    println!("{} rows, and one worker of two was killed", rows.len());
    Ok(())
}

/// A worker that has indexed the table by the time this returns.
fn start() -> Outcome<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("worker").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let answers = child.stdout.take().ok_or("no pipe")?;
    BufReader::new(answers).read_line(&mut String::new())?;
    Ok(child)
}

/// 100,000 rows of some 100 bytes.
fn read_table() -> Vec<String> {
    let _scope = scope("read table");
    (0..100_000).map(|row| format!("{row:0100}")).collect()
}

/// Indexes the rows, says so, and waits until its input ends.
fn work(rows: &[String]) -> Outcome<()> {
    let _scope = scope("index");
    let index: HashMap<String, usize> = index(rows);
    println!("{} keys", index.len());
    std::io::stdout().flush()?;
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

fn index(rows: &[String]) -> HashMap<String, usize> {
    rows.iter().enumerate().map(|(place, row)| (row.clone(), place)).collect()
}
