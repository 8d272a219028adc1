//! `memtree run`: a command from its start to its end.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode, ExitStatus};

use profiling::recording::Ending;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGTERM};

use crate::RecordingOptions;
use crate::failure::{Failure, Result};
use crate::heaps::{Folder, Source};
use crate::signals::{self, Signals};
use crate::watch::{Watch, Woken, check_places};

/// Runs the command, records its tree, and ends as it ended.
pub fn run(options: &RecordingOptions, words: Vec<String>) -> Result<ExitCode> {
    check_places(options)?;
    let signals = Signals::catch(signals::OF_A_RECORDING)?;
    let folder = Folder::for_a_tree()?;
    let mut child = start(&words, &folder)?;
    let pid = child.id();
    let profiles = Source::Folder(folder);
    let watched = Watch::start(options, words, pid, signals, profiles).and_then(|mut watch| {
        while let Woken::Signal(signal) = watch.wait(None)? {
            pass_on(&child, signal);
        }
        Ok(watch)
    });
    // Whatever happened to the watching, the command's own end is waited for.
    let mut status = None;
    let mut wait = || {
        let ended = child.wait().map_err(|source| Failure::Wait { pid, source })?;
        status = Some(ended);
        Ok(ending_of(ended))
    };
    match watched {
        Ok(watch) => watch.finish(wait)?,
        Err(failure) => {
            wait()?;
            return Err(failure);
        }
    }
    Ok(status.map_or(ExitCode::FAILURE, exit_code))
}

fn start(words: &[String], folder: &Folder) -> Result<Child> {
    let (variable, path) = folder.variable();
    let (command, arguments) =
        words.split_first().ok_or(Failure::NotFound { command: String::new() })?;
    Command::new(command).args(arguments).env(variable, path).spawn().map_err(|source| {
        let command = command.clone();
        match source.kind() {
            io::ErrorKind::NotFound => Failure::NotFound { command },
            _ => Failure::NotRunnable { command, source },
        }
    })
}

/// What a terminal sends goes to the command too, by itself; the others come to us alone.
fn pass_on(child: &Child, signal: i32) {
    if let (SIGHUP | SIGTERM, Some(signal)) = (signal, Signal::from_named_raw(signal)) {
        let _ = kill_process(Pid::from_child(child), signal); // it may have ended just now
    }
}

fn ending_of(status: ExitStatus) -> Ending {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ending::Exited(code),
        (None, Some(signal)) => Ending::Killed(signal),
        (None, None) => Ending::Gone,
    }
}

/// The command's status; 128 and the signal's number where a signal ended it, as in a shell.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    ExitCode::from(u8::try_from(code & 0xff).unwrap_or(1))
}
