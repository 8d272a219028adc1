//! Turns snapshots into a timeline of bounded size.

use std::collections::HashMap;
use std::time::Duration;

use crate::process::{ProcessMemory, ProcessState};
use crate::segment::{SegmentId, SegmentMemory, insert};
use crate::snapshot::Snapshot;
use crate::timeline::{Charge, Peak, ProcessRecord, Sample, SegmentRecord, Timeline};

/// As many processes and as many segments get a record of their own; later ones are taken into the
/// last record, so that the sums stay right and the memory bounded.
const MAX_RECORDS: usize = 4096;

/// Collects snapshots into a [`Timeline`].
#[derive(Debug)]
pub(super) struct Recorder {
    timeline: Timeline,
    processes: HashMap<(u32, u64), u32>,
    segments: HashMap<SegmentId, u32>,
    /// The samples may hold so many charges together before half of them are let go.
    max_charges: usize,
    charges: usize,
    /// One sample is kept out of so many that are taken.
    stride: u32,
    /// How many samples of the present stride were seen.
    seen: u32,
}

impl Recorder {
    /// A recorder whose samples take at most about `max_bytes`.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            timeline: Timeline::default(),
            processes: HashMap::new(),
            segments: HashMap::new(),
            max_charges: (max_bytes / size_of::<Charge>()).max(256),
            charges: 0,
            stride: 1,
            seen: 0,
        }
    }

    pub(super) fn timeline(&mut self) -> &mut Timeline {
        &mut self.timeline
    }

    /// Takes one snapshot into the record; says whether it is the greatest so far.
    pub(super) fn record(&mut self, at: Duration, snapshot: Snapshot) -> bool {
        let total = snapshot.total();
        let processes = snapshot.processes.iter().map(|process| self.process(at, process));
        let processes: Vec<Charge> = processes.collect();
        let segments = snapshot.segments.iter().map(|segment| self.segment(at, segment));
        let segments: Vec<Charge> = segments.collect();
        self.timeline.duration = at;
        self.keep(Sample { at, total, processes, segments });
        let is_peak = self.timeline.peak.as_ref().is_none_or(|peak| total > peak.total);
        if is_peak {
            self.timeline.peak = Some(Peak { at, total, state: snapshot });
        }
        is_peak
    }

    /// Updates the record of a process, and says what it is charged.
    fn process(&mut self, at: Duration, memory: &ProcessMemory) -> Charge {
        let records = &mut self.timeline.processes;
        let identity = (memory.pid, memory.start_ticks);
        let index = match self.processes.get(&identity) {
            Some(index) => *index,
            None if records.len() == MAX_RECORDS => last_index(records.len()),
            None => {
                records.push(new_process_record(at, memory));
                let index = last_index(records.len());
                self.processes.insert(identity, index);
                index
            }
        };
        let bytes = memory.charged();
        if let Some(record) = records.get_mut(index as usize) {
            record.peak_charged = record.peak_charged.max(bytes);
            record.peak_fork_copied = record.peak_fork_copied.max(memory.fork.copied);
            if memory.high_water > 0 {
                // A process that is ending has no memory any more, well before it is a zombie.
                record.last_seen = at;
                record.last.clone_from(memory);
            }
        }
        Charge { record: index, bytes }
    }

    /// Updates the record of a segment, and says how much of it is resident.
    fn segment(&mut self, at: Duration, memory: &SegmentMemory) -> Charge {
        let records = &mut self.timeline.segments;
        let index = match self.segments.get(&memory.id) {
            Some(index) => *index,
            None if records.len() == MAX_RECORDS => last_index(records.len()),
            None => {
                records.push(new_segment_record(at, memory));
                let index = last_index(records.len());
                self.segments.insert(memory.id, index);
                index
            }
        };
        let bytes = memory.resident;
        if let Some(record) = records.get_mut(index as usize) {
            record.peak_resident = record.peak_resident.max(bytes);
            record.last_seen = at;
            record.last.size = memory.size;
            record.last.resident = bytes;
            memory.mapped_by.iter().for_each(|pid| insert(&mut record.last.mapped_by, *pid));
            memory.touched_by.iter().for_each(|pid| insert(&mut record.last.touched_by, *pid));
            memory.held_by.iter().for_each(|pid| insert(&mut record.last.held_by, *pid));
        }
        Charge { record: index, bytes }
    }

    /// Keeps a sample, the greatest of each stride.
    fn keep(&mut self, sample: Sample) {
        let samples = &mut self.timeline.samples;
        if self.seen.is_multiple_of(self.stride) {
            self.charges += charges(&sample);
            samples.push(sample);
        } else if let Some(last) = samples.last_mut().filter(|last| last.total < sample.total) {
            self.charges = self.charges + charges(&sample) - charges(last);
            *last = sample;
        }
        self.seen = self.seen.wrapping_add(1);
        if self.charges > self.max_charges && self.timeline.samples.len() > 2 {
            self.halve();
        }
    }

    /// Of each two neighbours, keeps the greater.
    fn halve(&mut self) {
        let samples = std::mem::take(&mut self.timeline.samples);
        let mut samples = samples.into_iter();
        while let Some(first) = samples.next() {
            let kept = match samples.next() {
                Some(second) if second.total > first.total => second,
                _ => first,
            };
            self.timeline.samples.push(kept);
        }
        self.charges = self.timeline.samples.iter().map(charges).sum();
        self.stride = self.stride.saturating_mul(2);
        self.seen = 0;
    }

    /// A copy of the timeline as it is.
    pub(super) fn so_far(&self) -> Timeline {
        let mut timeline = self.timeline.clone();
        timeline.overhead.record_bytes = record_bytes(&timeline);
        timeline
    }

    /// The timeline, given who was there in the last snapshot.
    pub(super) fn finish(&mut self, duration: Duration, last: &Snapshot) -> Timeline {
        let mut timeline = std::mem::take(&mut self.timeline);
        timeline.duration = duration;
        for record in &mut timeline.processes {
            record.ended = !last.processes.iter().any(|process| {
                let same = process.pid == record.last.pid
                    && process.start_ticks == record.last.start_ticks;
                same && process.state != ProcessState::Zombie
            });
        }
        for record in &mut timeline.segments {
            record.ended = !last.segments.iter().any(|segment| segment.id == record.last.id);
        }
        timeline.overhead.record_bytes = record_bytes(&timeline);
        timeline
    }
}

fn new_process_record(at: Duration, memory: &ProcessMemory) -> ProcessRecord {
    ProcessRecord {
        label: None,
        first_seen: at,
        last_seen: at,
        ended: false,
        peak_charged: 0,
        peak_fork_copied: 0,
        last: memory.clone(),
    }
}

fn new_segment_record(at: Duration, memory: &SegmentMemory) -> SegmentRecord {
    SegmentRecord {
        first_seen: at,
        last_seen: at,
        ended: false,
        peak_resident: 0,
        last: memory.clone(),
    }
}

/// The index of the last of `length` records.
fn last_index(length: usize) -> u32 {
    u32::try_from(length.saturating_sub(1)).unwrap_or(u32::MAX)
}

fn charges(sample: &Sample) -> usize {
    // The sample itself takes the room of about five charges.
    sample.processes.len() + sample.segments.len() + size_of::<Sample>() / size_of::<Charge>()
}

/// About how many bytes a timeline takes.
fn record_bytes(timeline: &Timeline) -> u64 {
    let samples: usize = timeline.samples.iter().map(charges).sum();
    let bytes = samples * size_of::<Charge>()
        + timeline.processes.capacity() * size_of::<ProcessRecord>()
        + timeline.segments.capacity() * size_of::<SegmentRecord>();
    bytes as u64
}
