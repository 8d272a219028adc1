//! How a worker ended, and what is known of why.

use std::fmt;

use crate::link::Link;
use crate::options::TaskOptions;

/// How a worker process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Death {
    /// Killed by this signal; 9 is SIGKILL, which is also what the out-of-memory killer sends.
    Signal(i32),
    /// Ended itself with this exit code, `std::process::exit` inside a task, say.
    Exit(i32),
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Death::Signal(number) => match name(*number) {
                Some(name) => write!(f, "was killed by signal {number} ({name})"),
                None => write!(f, "was killed by signal {number}"),
            },
            Death::Exit(code) => write!(f, "exited with code {code}"),
        }
    }
}

fn name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGILL => "SIGILL",
        libc::SIGFPE => "SIGFPE",
        libc::SIGTERM => "SIGTERM",
        libc::SIGINT => "SIGINT",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGSYS => "SIGSYS",
        _ => return None,
    })
}

/// What is known of a worker's end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeathNotice {
    /// Its process id, which somebody else may have by now.
    pub pid: u32,
    /// Signal or exit code.
    pub death: Death,
    /// The most memory that it had resident at once, in bytes, shared memory included: the
    /// kernel's account (`ru_maxrss`).
    pub peak_memory: u64,
    /// Whether the kernel's out-of-memory killer struck meanwhile, in the memory cgroup of this
    /// process where that can be read, else anywhere on the machine; only ever after a SIGKILL. It
    /// is strong evidence, no proof: the killer may have struck another.
    pub out_of_memory: bool,
    /// What its panics said, if it aborted: with `panic = "abort"`, after a panic in a drop during
    /// another, or after one that would have crossed into C.
    pub last_words: Option<String>,
}

impl DeathNotice {
    pub(crate) fn new(pid: u32, death: Death, peak_memory: u64, out_of_memory: bool) -> Self {
        DeathNotice { pid, death, peak_memory, out_of_memory, last_words: None }
    }

    /// Adds what the worker left in shared memory.
    pub(crate) fn complete(&mut self, link: &Link) {
        if self.death == Death::Signal(libc::SIGABRT) {
            self.last_words = link.last_words();
        }
    }

    /// Whether it died because its task came to the end of its memory: by an abort without a panic,
    /// which is what an allocation that fails leads to.
    pub(crate) fn ran_out_of(&self, options: &TaskOptions) -> bool {
        options.memory.is_some()
            && self.death == Death::Signal(libc::SIGABRT)
            && self.last_words.is_none()
    }
}

impl fmt::Display for DeathNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.death)?;
        if self.out_of_memory {
            f.write_str("; the kernel's out-of-memory killer was at work")?;
        }
        if let Some(words) = &self.last_words {
            write!(f, "; its last words: {words}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_says_what_is_known() {
        let mut notice = DeathNotice::new(7, Death::Signal(9), 1 << 20, true);
        assert_eq!(
            notice.to_string(),
            "was killed by signal 9 (SIGKILL); the kernel's out-of-memory killer was at work"
        );
        notice = DeathNotice::new(7, Death::Exit(3), 0, false);
        notice.last_words = Some("good bye".to_owned());
        assert_eq!(notice.to_string(), "exited with code 3; its last words: good bye");
    }
}
