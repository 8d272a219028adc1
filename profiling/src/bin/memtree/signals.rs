//! Signals as descriptors to wait on.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1};

use crate::failure::{Failure, Result};

/// The signals that ask a program to end.
pub const ENDING: &[i32] = &[SIGHUP, SIGINT, SIGQUIT, SIGTERM];
/// Those, and the one that asks a recording to take a sample and save at once.
pub const OF_A_RECORDING: &[i32] = &[SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1];

/// Signals, caught from now on.
///
/// They are handled and not ignored: a command that is run later gets the usual ones.
#[derive(Debug)]
pub struct Signals {
    ends: Vec<(i32, UnixStream)>,
}

impl Signals {
    /// Catches these.
    pub fn catch(signals: &[i32]) -> Result<Self> {
        let catch = |signal: &i32| {
            let signal = *signal;
            let (end, other) = UnixStream::pair()?;
            end.set_nonblocking(true)?;
            signal_hook::low_level::pipe::register(signal, other)?;
            Ok((signal, end))
        };
        let ends: std::io::Result<Vec<(i32, UnixStream)>> = signals.iter().map(catch).collect();
        Ok(Self { ends: ends.map_err(|source| Failure::Signals { source })? })
    }

    /// What to wait on.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.ends.iter().map(|(_, end)| end.as_fd())
    }

    /// The signals that came since the last call.
    pub fn taken(&mut self) -> Vec<i32> {
        let came = |(signal, end): &mut (i32, UnixStream)| {
            let mut some = false;
            while matches!(end.read(&mut [0; 64]), Ok(1..)) {
                some = true;
            }
            some.then_some(*signal)
        };
        self.ends.iter_mut().filter_map(came).collect()
    }
}
