//! A recording: what was seen of a process tree, as a file.
//!
//! # The format
//!
//! One JSON object. `format` is `"memtree"`, `version` is [`VERSION`]; a reader refuses a version
//! that it does not know. The other members are those of [`Recording`] and what it holds, by the
//! names they have here: amounts are bytes, instants are `{"secs": …, "nanos": …}` since the start
//! of sampling. The file is replaced as a whole while a recording is under way, so that it can be
//! read at any time, and is there, some seconds old, when the recording process is killed.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::heap;
use crate::segment::SegmentId;
use crate::stacks::{Stacks, Symbols};
use crate::timeline::Timeline;

/// The version of the format that this crate reads and writes.
pub const VERSION: u32 = 1;

const FORMAT: &str = "memtree";

/// How the watched command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// It ended by itself, with this status.
    Exited(i32),
    /// A signal of this number ended it.
    Killed(i32),
    /// It was still running when watching ended.
    Running,
    /// It is gone; how it ended only its parent knows.
    Gone,
}

/// A segment with a name that was still there after the last process of the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftSegment {
    /// Its path.
    pub name: String,
    /// What of it exists in memory or swap, in bytes.
    pub resident: u64,
}

/// The heap profiles of one instant, of those processes that make them (see [`heap`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeapCapture {
    /// When, since the start of sampling.
    pub at: Duration,
    /// The memory of the whole tree in the sample just before.
    pub total: u64,
    /// One profile a process.
    pub profiles: Vec<heap::Snapshot>,
    /// Profiles that could not be read, and why.
    pub unreadable: Vec<String>,
}

impl HeapCapture {
    /// The live bytes of all profiles by stack, each under the title that `timeline` has for its
    /// process.
    pub fn stacks(&self, timeline: &Timeline, symbols: &Symbols) -> Stacks {
        Stacks::together(self.profiles.iter().map(|profile| {
            let process = &profile.process;
            let mut records = timeline.processes.iter();
            let record = records.find(|record| {
                (record.last.pid, record.last.start_ticks) == (process.pid, process.started_ticks)
            });
            let title = record.map_or_else(|| format!("process {}", process.pid), |it| it.title());
            Stacks::of_heap(&title, profile, symbols)
        }))
    }
}

/// What was seen of a process tree from one moment to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Recording {
    format: String,
    version: u32,
    /// The command that was run, or the words that tell what was attached to.
    pub command: Vec<String>,
    /// The process at the root of the tree.
    pub root: u32,
    /// When it began, in seconds since 1970 (UTC).
    pub began: u64,
    /// How the root ended; `None` in a recording that was cut off.
    pub ending: Option<Ending>,
    /// The tree over time.
    pub timeline: Timeline,
    /// Segments that outlived the tree. One that others use too is among them.
    pub left_segments: Vec<LeftSegment>,
    /// The heaps at the combined peak, or as near to it as they were looked at.
    pub heap_at_peak: Option<HeapCapture>,
    /// The heaps when watching ended: of a process that was gone by then, when it ended.
    pub heap_at_end: Option<HeapCapture>,
}

impl Recording {
    /// A recording of `timeline`; it is not yet known how the root ended.
    pub fn new(command: Vec<String>, root: u32, began: u64, timeline: Timeline) -> Self {
        let (format, version) = (FORMAT.to_owned(), VERSION);
        Self {
            format,
            version,
            command,
            root,
            began,
            ending: None,
            timeline,
            left_segments: Vec::new(),
            heap_at_peak: None,
            heap_at_end: None,
        }
    }

    /// Notes how the root ended, and looks which of the named segments that the tree used are
    /// still there.
    pub fn finish(&mut self, ending: Ending) {
        self.ending = Some(ending);
        let segments = self.timeline.segments.iter();
        self.left_segments = segments
            .filter_map(|record| {
                let found = fs::symlink_metadata(&record.last.name).ok()?;
                let same = SegmentId::of_device(found.dev(), found.ino()) == record.last.id;
                let resident = found.blocks().saturating_mul(512);
                same.then(|| LeftSegment { name: record.last.name.clone(), resident })
            })
            .collect();
    }

    /// The command as one line.
    pub fn title(&self) -> String {
        self.command.join(" ")
    }

    /// Reads a recording.
    ///
    /// # Errors
    ///
    /// [`Error::ReadRecording`] where the file cannot be read, [`Error::NoRecording`] where it is
    /// something else or cut short, [`Error::RecordingVersion`] where another version wrote it.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = fs::read(path)
            .map_err(|source| Error::ReadRecording { path: path.to_owned(), source })?;
        let broken = |reason: String| Error::NoRecording { path: path.to_owned(), reason };
        let head: Head =
            serde_json::from_slice(&text).map_err(|error| broken(error.to_string()))?;
        if head.format != FORMAT {
            return Err(broken(format!("its format is {:?}", head.format)));
        }
        if head.version != VERSION {
            let (path, found) = (path.to_owned(), head.version);
            return Err(Error::RecordingVersion { path, found, known: VERSION });
        }
        let json: Value =
            serde_json::from_slice(&text).map_err(|error| broken(error.to_string()))?;
        check_amounts(&json, "").map_err(&broken)?;
        let recording: Self =
            serde_json::from_value(json).map_err(|error| broken(error.to_string()))?;
        recording.check().map_err(|reason| broken(reason.to_owned()))?;
        Ok(recording)
    }

    /// Whether what refers to something leads somewhere: the file is not trusted.
    fn check(&self) -> std::result::Result<(), &'static str> {
        let timeline = &self.timeline;
        for sample in &timeline.samples {
            let in_range = |record: u32, records: usize| (record as usize) < records;
            let processes = timeline.processes.len();
            let segments = timeline.segments.len();
            if !sample.processes.iter().all(|charge| in_range(charge.record, processes))
                || !sample.segments.iter().all(|charge| in_range(charge.record, segments))
            {
                return Err("a sample names a process or segment that is not in it");
            }
        }
        Ok(())
    }

    /// Writes the recording, replacing what is there in one step.
    ///
    /// # Errors
    ///
    /// [`Error::WriteRecording`] with the path.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let failed = |source| Error::WriteRecording { path: path.to_owned(), source };
        let text = serde_json::to_vec(self).map_err(|error| failed(error.into()))?;
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return fs::write(path, text).map_err(failed); // a pipe or device is written to, not replaced
        }
        let beside = beside(path);
        let written = fs::File::create(&beside)
            .and_then(|mut file| file.write_all(&text))
            .and_then(|()| fs::rename(&beside, path));
        written.map_err(|source| {
            let _ = fs::remove_file(&beside);
            failed(source)
        })
    }
}

/// No amount is greater: 64 TiB, and for times two million years.
const GREATEST: u64 = 1 << 46;
/// No list of things with amounts is longer, so that sums stay within 64 bits.
const LONGEST: usize = 1 << 16;
/// Numbers that are no amounts.
const NAMES: [&str; 8] =
    ["inode", "start_ticks", "started_ticks", "created_ns", "frames", "start", "end", "bias"];

/// Whether all amounts can be true. What is summed up later must not overflow.
fn check_amounts(json: &Value, key: &str) -> std::result::Result<(), String> {
    match json {
        Value::Object(members) => {
            members.iter().try_for_each(|(key, member)| check_amounts(member, key))
        }
        Value::Array(_) if NAMES.contains(&key) => Ok(()),
        Value::Array(items) if items.len() > LONGEST && key != "samples" => {
            Err(format!("{key} is a list of {}", items.len()))
        }
        Value::Array(items) => items.iter().try_for_each(|item| check_amounts(item, key)),
        Value::Number(number) if !NAMES.contains(&key) => match number.as_f64() {
            Some(amount) if amount.abs() <= GREATEST as f64 => Ok(()),
            _ => Err(format!("{key} is {number}")),
        },
        _ => Ok(()),
    }
}

/// What every version begins with.
#[derive(Deserialize)]
struct Head {
    format: String,
    version: u32,
}

/// A name in the same folder, for the file until it is whole.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::timeline::tests::two_halves;

    fn recording() -> Recording {
        Recording::new(vec!["job".to_owned()], 10, 0, two_halves())
    }

    fn read_changed(change: impl Fn(&mut serde_json::Value)) -> String {
        let mut json = serde_json::to_value(recording()).unwrap();
        change(&mut json);
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), json.to_string()).unwrap();
        Recording::read(file.path()).unwrap_err().to_string()
    }

    #[test]
    fn a_recording_reads_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let mut written = recording();
        written.finish(Ending::Killed(9));
        written.write(&path).unwrap();
        assert_eq!(Recording::read(&path).unwrap(), written);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_later_version_is_refused_by_its_number() {
        let error = read_changed(|json| json["version"] = 77.into());
        assert!(error.contains("version 77"), "{error}");
    }

    #[test]
    fn another_file_is_refused() {
        let error = read_changed(|json| json["format"] = "else".into());
        assert!(error.contains("\"else\""), "{error}");
    }

    #[test]
    fn a_sample_of_a_process_that_is_not_there_is_refused() {
        let error = read_changed(|json| {
            json["timeline"]["samples"][0]["processes"][0]["record"] = 9.into()
        });
        assert!(error.contains("not in it"), "{error}");
    }

    #[test]
    fn an_amount_that_cannot_be_is_refused_by_its_name() {
        let error = read_changed(|json| json["timeline"]["peak"]["total"] = u64::MAX.into());
        assert!(error.contains("total is 18446744073709551615"), "{error}");
    }

    proptest! {
        /// Whatever a file holds: an error, or a recording that a report can be made of.
        #[test]
        fn a_damaged_recording_never_panics(
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            digits in any::<bool>(),
        ) {
            let mut text = serde_json::to_vec(&recording()).unwrap();
            for (place, byte) in damage {
                let place = place.index(text.len());
                if !digits {
                    text[place] = byte;
                } else if text[place].is_ascii_digit() {
                    text[place] = b'0' + byte % 10;
                    text.insert(place, b'9');
                }
            }
            let file = tempfile::NamedTempFile::new().unwrap();
            fs::write(file.path(), text).unwrap();
            if let Ok(recording) = Recording::read(file.path()) {
                crate::Report::of_recordings(&[recording]).to_html();
            }
        }
    }

    #[test]
    fn a_recording_cut_short_is_refused() {
        let text = serde_json::to_string(&recording()).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &text[..text.len() / 2]).unwrap();
        let error = Recording::read(file.path()).unwrap_err().to_string();
        assert!(error.contains("is no recording"), "{error}");
    }

    #[test]
    fn a_named_segment_that_is_still_there_is_noted() {
        let file = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
        file.as_file().set_len(4096).unwrap();
        let found = file.as_file().metadata().unwrap();
        let mut recording = recording();
        let segment = &mut recording.timeline.segments[0].last;
        segment.name = file.path().to_str().unwrap().to_owned();
        recording.finish(Ending::Exited(0));
        assert!(recording.left_segments.is_empty(), "another file of that name is not it");
        recording.timeline.segments[0].last.id = SegmentId::of_device(found.dev(), found.ino());
        recording.finish(Ending::Exited(0));
        assert_eq!(recording.left_segments.len(), 1);
    }
}
