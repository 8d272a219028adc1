//! Heap profiles of the processes of a tree, where their programs make them.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use profiling::heap::{DIRECTORY_VARIABLE, Profile, Snapshot};
use profiling::recording::HeapCapture;
use profiling::{Seen, start_ticks};

use crate::failure::{Failure, Result};

/// Looking at heaps may take one part in so many of the time…
const SHARE: u32 = 10;
/// …of which so much may be saved up, for a tree that grows fast.
const BURST: Duration = Duration::from_millis(200);

/// The names of our folders begin so; pid and start time of their owner follow.
const PREFIX: &str = "memtree-heap-";

/// A process, by its pid and its start in clock ticks.
type Identity = (u32, u64);

/// Where the profiles of a tree are.
#[derive(Debug)]
pub enum Source {
    /// In a folder that was in the environment when the tree was started.
    Folder(Folder),
    /// With the processes themselves.
    Processes(Found),
}

/// The profiles of running processes, each held open from when it was found.
#[derive(Debug, Default)]
pub struct Found {
    open: HashMap<Identity, Profile>,
    /// Whose profile was looked for at first sight.
    looked_for: HashSet<Identity>,
}

/// A folder for profiles.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Whether we made it, and take it away.
    ours: bool,
}

impl Folder {
    /// The folder that the environment names already, or else one made for this tree.
    pub fn for_a_tree() -> Result<Self> {
        if let Some(path) = std::env::var_os(DIRECTORY_VARIABLE) {
            return Ok(Self { path: path.into(), ours: false });
        }
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        sweep(&parent);
        let pid = std::process::id();
        let path = parent.join(format!("{PREFIX}{pid}-{}", start_ticks(pid).unwrap_or(0)));
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        match made {
            Ok(()) => Ok(Self { path, ours: true }),
            Err(source) => Err(Failure::HeapFolder { path, source }),
        }
    }

    /// What to put into the environment of the tree.
    pub fn variable(&self) -> (&'static str, &Path) {
        (DIRECTORY_VARIABLE, &self.path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.ours {
            let _ = fs::remove_dir_all(&self.path); // the next of us sweeps what is left
        }
    }
}

/// Takes away the folders of those of us that were killed.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split_once('-'));
        let Some((pid, start)) = owner else { continue };
        let (Ok(pid), Ok(start)) = (pid.parse(), start.parse()) else { continue };
        if start_ticks(pid) != Some(start) {
            let _ = fs::remove_dir_all(entry.path()); // somebody else's is refused
        }
    }
}

/// Looks at the heaps of a tree, near its peak and at its end.
#[derive(Debug, Clone)]
pub struct Heaps(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    source: Source,
    at_peak: Option<HeapCapture>,
    /// What may be spent on looking…
    saved: Duration,
    /// …and when it was last added to.
    refilled: Instant,
}

impl Heaps {
    /// Has not looked yet.
    pub fn new(source: Source) -> Self {
        let (saved, refilled) = (BURST, Instant::now());
        Self(Arc::new(Mutex::new(State { source, at_peak: None, saved, refilled })))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Is shown each sample; looks at the heaps when the tree has grown by a fiftieth since it last
    /// did.
    pub fn observe(&self, seen: &Seen<'_>) {
        let state = &mut *self.state();
        let processes = seen.snapshot.processes.iter();
        let alive: Vec<Identity> =
            processes.map(|process| (process.pid, process.start_ticks)).collect();
        if let Source::Processes(found) = &mut state.source {
            let new = alive.iter().filter(|it| found.looked_for.insert(**it)).copied().collect();
            found.look_for(new);
        }
        let total = seen.snapshot.total();
        let last = state.at_peak.as_ref().map_or(0, |capture| capture.total);
        let now = Instant::now();
        state.saved = (state.saved + now.duration_since(state.refilled) / SHARE).min(BURST);
        state.refilled = now;
        if total <= last.saturating_add(last / 50) || state.saved.is_zero() {
            return;
        }
        if let Source::Processes(found) = &mut state.source {
            found.look_for(alive.clone()); // some may have one by now
        }
        let capture = state.capture(seen.at, total, |identity| alive.contains(&identity));
        state.saved = state.saved.saturating_sub(now.elapsed());
        if !capture.profiles.is_empty() {
            state.at_peak = Some(capture);
        }
    }

    /// What was seen near the peak.
    pub fn at_peak(&self) -> Option<HeapCapture> {
        self.state().at_peak.clone()
    }

    /// Looks a last time, at everybody who ever made a profile.
    pub fn at_end(&self, at: Duration, total: u64) -> Option<HeapCapture> {
        let capture = self.state().capture(at, total, |_| true);
        (!capture.profiles.is_empty() || !capture.unreadable.is_empty()).then_some(capture)
    }
}

impl State {
    fn capture(&self, at: Duration, total: u64, wanted: impl Fn(Identity) -> bool) -> HeapCapture {
        let mut latest: HashMap<Identity, Snapshot> = HashMap::new();
        let mut unreadable = Vec::new();
        let mut take = |snapshot: profiling::Result<Snapshot>| match snapshot {
            Ok(snapshot) => keep_the_latest(&mut latest, snapshot),
            Err(error) => unreadable.push(error.to_string()),
        };
        match &self.source {
            Source::Folder(folder) => {
                let found = Profile::in_directory(&folder.path).unwrap_or_default();
                found.into_iter().for_each(|(_, profile)| {
                    take(profile.and_then(|profile| profile.snapshot()));
                });
            }
            Source::Processes(found) => {
                found.open.values().for_each(|profile| take(profile.snapshot()))
            }
        }
        let mut profiles: Vec<Snapshot> =
            latest.into_iter().filter(|(identity, _)| wanted(*identity)).map(|it| it.1).collect();
        profiles.sort_by_key(|profile| (profile.process.started_ticks, profile.process.pid));
        HeapCapture { at, total, profiles, unreadable }
    }
}

/// A process that ran `exec` leaves the profile of its former program behind.
fn keep_the_latest(latest: &mut HashMap<Identity, Snapshot>, snapshot: Snapshot) {
    let process = &snapshot.process;
    let identity = (process.pid, process.started_ticks);
    let newer = latest.get(&identity).is_none_or(|it| it.process.created_ns < process.created_ns);
    if newer {
        latest.insert(identity, snapshot);
    }
}

impl Found {
    /// Opens the profiles of those processes that have one.
    fn look_for(&mut self, processes: Vec<Identity>) {
        for identity in processes {
            if self.open.contains_key(&identity) {
                continue;
            }
            // An error: it makes none, has made none yet, is gone, or is not ours to read.
            if let Ok(profile) = Profile::of_process(identity.0) {
                self.open.insert(identity, profile);
            }
        }
    }
}
