//! What a sampler saw: the memory of a process tree over time.

mod text;

use std::time::Duration;

use crate::process::ProcessMemory;
use crate::segment::SegmentMemory;
use crate::snapshot::Snapshot;

/// The memory of a process tree over time. Amounts are bytes, instants are counted from the start
/// of sampling.
///
/// A peak that comes and goes between two samples is not in here. What bounds it is the kernel's
/// own high-water mark of each process, see [`high_water_bound`](Self::high_water_bound).
#[derive(Debug, Clone, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Timeline {
    /// How long was sampled.
    pub duration: Duration,
    /// The samples that were kept, in order of time. Of a long run some are left out: of two
    /// neighbours the greater is kept, so that the peaks stay.
    pub samples: Vec<Sample>,
    /// Every process that was seen, dead ones too, in the order they were found.
    pub processes: Vec<ProcessRecord>,
    /// Every shared segment that was seen, those that are gone too, in the order they were found.
    pub segments: Vec<SegmentRecord>,
    /// The instants that the program marked.
    pub marks: Vec<Mark>,
    /// The greatest total seen, with everybody's state at that instant. `None` if nothing was
    /// sampled.
    pub peak: Option<Peak>,
    /// How many processes *and threads* the whole machine started while sampling, where that may
    /// be known (`/proc/stat`). It bounds how many processes of this tree came and went between
    /// two samples, and were never seen: no more than this, less [`processes`](Self::processes)
    /// that were first seen after the start.
    pub started_on_machine: Option<u64>,
    /// What the watching itself cost.
    pub overhead: Overhead,
}

/// One sample: who had how much.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Sample {
    /// When, since the start of sampling.
    pub at: Duration,
    /// The memory of the whole tree, as [`Snapshot::total`] defines it.
    pub total: u64,
    /// What each process alive was charged.
    pub processes: Vec<Charge>,
    /// The resident bytes of each segment, once.
    pub segments: Vec<Charge>,
}

/// So many bytes for one process or segment of a [`Timeline`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Charge {
    /// Its place in [`Timeline::processes`] or [`Timeline::segments`].
    pub record: u32,
    /// How much it had.
    pub bytes: u64,
}

/// A process as it was seen over time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ProcessRecord {
    /// What the program calls it, see [`Sampler::label`](crate::Sampler::label).
    pub label: Option<String>,
    /// When it was first seen.
    pub first_seen: Duration,
    /// When it was last seen with memory. Of a killed process this is its last sample.
    pub last_seen: Duration,
    /// Whether it was gone, or a zombie, when sampling stopped.
    pub ended: bool,
    /// The most it was charged in any sample.
    pub peak_charged: u64,
    /// The most that fork had copied for it in any sample, see [`ForkCopies`](crate::ForkCopies).
    pub peak_fork_copied: u64,
    /// Its state when it was last seen with memory.
    pub last: ProcessMemory,
}

impl ProcessRecord {
    /// Its label, or else its name and pid, such as `nansum 4242`.
    pub fn title(&self) -> String {
        match &self.label {
            Some(label) => label.clone(),
            None => format!("{} {}", self.last.name, self.last.pid),
        }
    }
}

/// A shared segment as it was seen over time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SegmentRecord {
    /// When it was first seen.
    pub first_seen: Duration,
    /// When it was last seen.
    pub last_seen: Duration,
    /// Whether it was gone when sampling stopped.
    pub ended: bool,
    /// The most of it that was resident in any sample.
    pub peak_resident: u64,
    /// Its last state; mappers, holders and touchers are all that there ever were.
    pub last: SegmentMemory,
}

/// An instant that the program gave a name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Mark {
    /// When, since the start of sampling.
    pub at: Duration,
    /// What happened then.
    pub name: String,
}

/// The greatest total of the tree, with the state of everybody *at that instant*. It is not the
/// sum of everybody's own peaks, which may lie at different times.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Peak {
    /// When, since the start of sampling.
    pub at: Duration,
    /// The memory of the whole tree, as [`Snapshot::total`] defines it.
    pub total: u64,
    /// Every process and segment at that instant.
    pub state: Snapshot,
}

/// What the watching itself cost the program that was watched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Overhead {
    /// Quick samples taken.
    pub quick_samples: u64,
    /// Full samples taken.
    pub full_samples: u64,
    /// Processor time spent in quick samples, all together.
    pub quick_time: Duration,
    /// Processor time spent in full samples, all together.
    pub full_time: Duration,
    /// Bytes of anonymous memory that the record took in the sampling process at the end (an
    /// estimate). If that process is part of the tree they are in its figures, and not taken off.
    pub record_bytes: u64,
}

impl Timeline {
    /// A bound from above for the processes of the tree that no sample saw; see
    /// [`started_on_machine`](Self::started_on_machine).
    pub fn unseen_at_most(&self) -> Option<u64> {
        let start = self.processes.first()?.first_seen;
        let new = self.processes.iter().filter(|record| record.first_seen > start).count();
        Some(self.started_on_machine?.saturating_sub(new as u64))
    }

    /// The greatest total seen, in bytes; 0 if nothing was sampled.
    pub fn peak_bytes(&self) -> u64 {
        self.peak.as_ref().map_or(0, |peak| peak.total)
    }

    /// What adding up everyone's own peak gives, in bytes: more than the tree ever had at once,
    /// unless all peaked together. Only for comparison with [`peak_bytes`](Self::peak_bytes).
    pub fn sum_of_peaks(&self) -> u64 {
        let processes = self.processes.iter().map(|process| process.peak_charged);
        processes.chain(self.segments.iter().map(|segment| segment.peak_resident)).sum()
    }

    /// A bound from above that no instant exceeded, not even between samples, in bytes: everyone's
    /// high-water mark of resident memory (`VmHWM`) and of page tables, and every segment's peak.
    ///
    /// The kernel keeps these marks, so that a short spike is in them; yet a process that spiked
    /// and died after it was last seen took its mark along, one that ran `exec` began a new one,
    /// and a segment that came and went between two samples was never seen. It is a loose bound:
    /// shared pages are in everyone's mark, and so is program text.
    pub fn high_water_bound(&self) -> u64 {
        let processes = self.processes.iter().map(|process| {
            process
                .last
                .high_water
                .max(process.peak_charged)
                .saturating_add(process.last.page_tables)
        });
        processes.chain(self.segments.iter().map(|segment| segment.peak_resident)).sum()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::process::ProcessState;
    use crate::segment::SegmentId;

    fn process(pid: u32, name: &str, anonymous: u64) -> ProcessMemory {
        ProcessMemory {
            pid,
            parent: 1,
            start_ticks: u64::from(pid),
            name: name.to_owned(),
            state: ProcessState::from_letter(b'S'),
            anonymous,
            file: 0,
            shmem: 0,
            swap: 0,
            page_tables: 0,
            high_water: anonymous,
            copy_on_write: 0,
            borrows_parent: false,
            fork: crate::process::ForkCopies::default(),
            detail: None,
            denied: crate::process::Denied::default(),
        }
    }

    /// One second: 16 MiB in the first half, 48 MiB (32 of them a segment) in the second.
    pub(crate) fn two_halves() -> Timeline {
        let mib = 1 << 20;
        let mut segment =
            SegmentMemory::new(SegmentId { major: 0, minor: 1, inode: 9 }, "/memfd:column");
        (segment.size, segment.resident) = (32 * mib, 32 * mib);
        segment.mapped_by = vec![10, 11];
        let processes = vec![
            process(10, "main", 6 * mib),
            ProcessMemory { parent: 10, ..process(11, "worker", 10 * mib) },
        ];
        let state = Snapshot { processes: processes.clone(), segments: vec![segment.clone()] };
        let charges = |bytes: &[u64]| -> Vec<Charge> {
            (0..).zip(bytes).map(|(record, bytes)| Charge { record, bytes: *bytes }).collect()
        };
        let sample = |at, segment: u64| Sample {
            at: Duration::from_millis(at),
            total: 16 * mib + segment,
            processes: charges(&[6 * mib, 10 * mib]),
            segments: charges(&[segment]),
        };
        let (first_seen, last_seen) = (Duration::ZERO, Duration::from_secs(1));
        Timeline {
            duration: Duration::from_secs(1),
            samples: vec![sample(0, 0), sample(500, 0), sample(750, 32 * mib), sample(1000, mib)],
            processes: processes
                .into_iter()
                .map(|process| ProcessRecord {
                    label: (process.pid == 11).then(|| "worker <1>".to_owned()),
                    first_seen,
                    last_seen,
                    ended: false,
                    peak_charged: process.anonymous,
                    peak_fork_copied: 0,
                    last: process,
                })
                .collect(),
            segments: vec![SegmentRecord {
                first_seen,
                last_seen,
                ended: false,
                peak_resident: 32 * mib,
                last: segment,
            }],
            marks: vec![Mark { at: Duration::from_millis(600), name: "data & made".to_owned() }],
            peak: Some(Peak { at: Duration::from_millis(750), total: 48 * mib, state }),
            started_on_machine: Some(3),
            overhead: Overhead::default(),
        }
    }

    #[test]
    fn sums_of_peaks_add_everyones_own() {
        assert_eq!(two_halves().peak_bytes(), 48 << 20);
        assert_eq!(two_halves().sum_of_peaks(), 48 << 20);
        assert!(two_halves().high_water_bound() >= 48 << 20);
    }
}
