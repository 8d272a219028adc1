//! Where the profiles of processes are.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::super::FILE_NAME;
use super::super::format::header;
use super::Profile;
use crate::error::{Error, Result};
use crate::process;

pub(super) fn of_process(pid: u32) -> Result<Profile> {
    let directory = PathBuf::from(format!("/proc/{pid}/fd"));
    let (own_pid, started) = identity(pid).ok_or(Error::NoSuchProcess { pid })?;
    let unreadable = |source: std::io::Error| match source.kind() {
        ErrorKind::NotFound => Error::NoSuchProcess { pid },
        _ => Error::HeapProfileUnreadable { path: directory.clone(), source },
    };
    let mut refused = None;
    for entry in fs::read_dir(&directory).map_err(unreadable)? {
        // A descriptor that is closed meanwhile is none of ours.
        let Ok(entry) = entry else { continue };
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        if !is_profile(&target) {
            continue;
        }
        let opened = File::open(entry.path())
            .map_err(unreadable)
            .and_then(|file| Profile::new(file, entry.path()));
        match opened {
            // A forked child has its parent's profile open until its own first record.
            Ok(profile) if profile.belongs_to(own_pid, started)? => return Ok(profile),
            Ok(_) => {}
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.unwrap_or(Error::NoHeapProfile { pid }))
}

pub(super) fn in_directory(directory: &Path) -> Result<Vec<(PathBuf, Result<Profile>)>> {
    let unreadable = |source| Error::HeapProfileUnreadable { path: directory.to_owned(), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if is_profile(&path) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths.into_iter().map(|path| (path.clone(), Profile::open(path))).collect())
}

/// Does a file have a profile's name: that of the memfd, or that of one in a folder?
fn is_profile(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_memfd = name.strip_prefix("memfd:").is_some_and(|name| {
        name == FILE_NAME || name.strip_suffix(" (deleted)").is_some_and(|name| name == FILE_NAME)
    });
    is_memfd || (name.starts_with("heap-") && name.ends_with(".profile"))
}

/// The pid as the process itself sees it, and its start in clock ticks.
fn identity(pid: u32) -> Option<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let own = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let own = own.and_then(|pids| pids.split_whitespace().next_back()?.parse().ok());
    let started = process::start_ticks(pid)?;
    Some((own.unwrap_or(u64::from(pid)), started))
}

impl Profile {
    fn belongs_to(&self, pid: u64, started: u64) -> Result<bool> {
        let its_pid = self.bytes.word(header::PID)?;
        Ok(its_pid == pid && self.bytes.word(header::STARTED)? == started)
    }
}
