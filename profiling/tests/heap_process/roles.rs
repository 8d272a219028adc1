//! Processes of this program that play a part: started with the part's name in the environment.

use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use profiling::heap::{self, DIRECTORY_VARIABLE, MODE_VARIABLE};

const ROLE: &str = "HEAP_TEST_ROLE";

/// Starts this program again in a role, its profile in `directory` if there is one.
pub fn start(role: &str, directory: Option<&Path>, mode: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "roles::plays_its_role", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).env(MODE_VARIABLE, mode).stdout(Stdio::piped());
    command.stdin(Stdio::piped()).stderr(Stdio::null());
    if let Some(directory) = directory {
        command.env(DIRECTORY_VARIABLE, directory);
    }
    command.spawn().unwrap()
}

/// Waits until the process has said that it is ready.
pub fn wait_ready(child: &mut Child) -> ChildStdout {
    let mut output = child.stdout.take().unwrap();
    let mut seen = String::new();
    let mut byte = [0];
    while !seen.ends_with("ready\n") {
        assert_eq!(output.read(&mut byte).unwrap(), 1, "it ended before it was ready: {seen}");
        seen.push(byte[0] as char);
    }
    output
}

fn say_ready() {
    let mut output = std::io::stdout().lock();
    output.write_all(b"ready\n").unwrap();
    output.flush().unwrap();
}

/// What a process of this program does when it was started in a role; else nothing.
#[test]
fn plays_its_role() {
    match std::env::var(ROLE).as_deref() {
        Ok("holds a megabyte") => {
            let scope = heap::scope("held");
            let held = black_box(vec![1u8; 1 << 20]);
            drop(scope);
            say_ready();
            churn();
            drop(held);
        }
        Ok("churns in two threads") => {
            say_ready();
            std::thread::spawn(churn);
            churn();
        }
        Ok("overflows its stack") => {
            let _scope = heap::scope("recursion");
            say_ready();
            println!("{}", recurse(&[]));
        }
        Ok("runs out of memory") => {
            say_ready();
            // Until the one who started it waits for its end.
            std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
            std::thread::spawn(grow);
            grow();
        }
        Ok("has a limit of its own") => {
            let most = libc::rlimit { rlim_cur: 256 << 20, rlim_max: 256 << 20 };
            // SAFETY: reads a limit of ours.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const most) }, 0);
            say_ready();
            grow();
        }
        Ok("execs") => {
            let held = black_box(vec![1u8; 3 << 20]);
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", "roles::plays_its_role", "--nocapture"]);
            let error = command.env(ROLE, "holds a megabyte").exec();
            panic!("{error} {}", held.len());
        }
        _ => {}
    }
}

/// Allocates and frees until it is killed.
fn churn() {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for round in 0usize.. {
        kept.push(vec![0; 1 + round * 37 % 3000]);
        if kept.len() > 500 {
            kept.swap_remove(round % kept.len());
            kept.swap_remove(round * 7 % kept.len());
        }
    }
}

/// Allocates, and writes to it, until there is no more.
fn grow() {
    let _scope = heap::scope("swallowed");
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for round in 0usize.. {
        kept.push(vec![1; 1 + round * 7919 % 50_000]);
    }
}

#[expect(unconditional_recursion, reason = "the end of the stack is what it is for")]
fn recurse(outer: &[u8]) -> usize {
    let block = black_box(vec![0u8; 100 + outer.len() / 1000]);
    block.len() + black_box(recurse(&block))
}
