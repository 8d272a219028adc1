//! A timeline reduced to what a chart can show: a few hundred instants, a dozen bands.

use std::time::Duration;

use crate::timeline::{Charge, Sample, Timeline};

/// At most so many instants are drawn.
const COLUMNS: usize = 320;
/// At most so many segments have a band of their own.
const SEGMENT_BANDS: usize = 6;
/// At most so many processes have a band of their own.
const PROCESS_BANDS: usize = 10;
/// What never reaches one part in so many of the peak has no band of its own: nobody would see it.
const VISIBLE: u64 = 300;

/// One band of a stacked chart.
#[derive(Debug)]
pub(super) struct Band {
    pub(super) title: String,
    /// The class that colours it: `s0`… for segments, `p0`… for processes.
    pub(super) class: String,
    /// Bytes at each instant.
    pub(super) values: Vec<u64>,
}

/// The bands of a chart from the bottom up: segments first, then processes.
#[derive(Debug)]
pub(super) struct Stack {
    pub(super) instants: Vec<Duration>,
    pub(super) bands: Vec<Band>,
    /// The class of each segment's band, by record.
    segment_classes: Vec<String>,
    /// The class of each process's band, by record.
    process_classes: Vec<String>,
}

/// What the charges of a sample are about.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Segment,
    Process,
}

impl Stack {
    pub(super) fn of(timeline: &Timeline) -> Self {
        let samples = thinned(timeline);
        let visible = timeline.peak_bytes() / VISIBLE;
        let segments: Vec<(u64, String)> = timeline
            .segments
            .iter()
            .map(|record| (record.peak_resident, format!("{} (shared, once)", record.last.title())))
            .collect();
        let processes: Vec<(u64, String)> =
            timeline.processes.iter().map(|record| (record.peak_charged, record.title())).collect();
        let (mut all, segment_classes) = bands(&samples, &segments, visible, Kind::Segment);
        let (of_processes, process_classes) = bands(&samples, &processes, visible, Kind::Process);
        all.extend(of_processes);
        let instants = samples.iter().map(|sample| sample.at).collect();
        Self { instants, bands: all, segment_classes, process_classes }
    }

    pub(super) fn segment_class(&self, record: usize) -> &str {
        self.segment_classes.get(record).map_or("rest", String::as_str)
    }

    pub(super) fn process_class(&self, record: usize) -> &str {
        self.process_classes.get(record).map_or("rest", String::as_str)
    }
}

/// The greatest sample of each column of the chart.
fn thinned(timeline: &Timeline) -> Vec<&Sample> {
    let width = (timeline.duration.as_nanos() / COLUMNS as u128).max(1);
    let mut kept: Vec<&Sample> = Vec::new();
    for sample in &timeline.samples {
        let column = sample.at.as_nanos() / width;
        match kept.last_mut() {
            Some(last) if last.at.as_nanos() / width == column => {
                if sample.total > last.total {
                    *last = sample;
                }
            }
            _ => kept.push(sample),
        }
    }
    kept
}

/// A band for each of the greatest records, and one for all others together. Also says which class
/// each record was given.
fn bands(
    samples: &[&Sample],
    records: &[(u64, String)],
    visible: u64,
    kind: Kind,
) -> (Vec<Band>, Vec<String>) {
    let (letter, most, plural) = match kind {
        Kind::Segment => ('s', SEGMENT_BANDS, "segments"),
        Kind::Process => ('p', PROCESS_BANDS, "processes"),
    };
    let shown = greatest(records, most, visible);
    let mut classes = vec!["rest".to_owned(); records.len()];
    let mut bands: Vec<Band> = Vec::new();
    let mut band_of = vec![shown.len(); records.len()];
    for (place, record) in shown.iter().enumerate() {
        let class = format!("{letter}{place}");
        classes[*record].clone_from(&class);
        band_of[*record] = place;
        let title = records[*record].1.clone();
        bands.push(Band { title, class, values: vec![0; samples.len()] });
    }
    if shown.len() < records.len() {
        let title = format!("{} small {plural}", records.len() - shown.len());
        bands.push(Band { title, class: "rest".to_owned(), values: vec![0; samples.len()] });
    }
    for (column, sample) in samples.iter().enumerate() {
        let charges: &[Charge] = match kind {
            Kind::Segment => &sample.segments,
            Kind::Process => &sample.processes,
        };
        for charge in charges {
            let band = band_of.get(charge.record as usize).and_then(|band| bands.get_mut(*band));
            if let Some(band) = band {
                band.values[column] = band.values[column].saturating_add(charge.bytes);
            }
        }
    }
    (bands, classes)
}

/// The places of the greatest records that are great enough to see, in their own order.
fn greatest(records: &[(u64, String)], most: usize, visible: u64) -> Vec<usize> {
    let mut places: Vec<usize> =
        (0..records.len()).filter(|place| records[*place].0 >= visible).collect();
    places.sort_by_key(|place| std::cmp::Reverse(records[*place].0));
    places.truncate(most);
    places.sort_unstable();
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::tests::two_halves;

    #[test]
    fn segments_lie_below_processes() {
        let stack = Stack::of(&two_halves());
        let titles: Vec<&str> = stack.bands.iter().map(|band| band.title.as_str()).collect();
        assert_eq!(titles, ["memfd:column (shared, once)", "main 10", "worker <1>"]);
        assert_eq!(stack.bands[0].values, [0, 0, 32 << 20, 1 << 20]);
        assert_eq!((stack.segment_class(0), stack.process_class(1)), ("s0", "p1"));
    }

    #[test]
    fn the_small_ones_share_a_band_and_nothing_is_lost() {
        let records: Vec<(u64, String)> = (0..20).map(|size| (size, size.to_string())).collect();
        let charges = (0..20).map(|record| Charge { record, bytes: 1 }).collect();
        let sample =
            Sample { at: Duration::ZERO, total: 20, processes: charges, segments: Vec::new() };
        let (bands, classes) = bands(&[&sample], &records, 0, Kind::Process);
        assert_eq!(bands.len(), PROCESS_BANDS + 1);
        assert_eq!(bands.iter().map(|band| band.values[0]).sum::<u64>(), 20);
        assert_eq!(bands[0].title, "10");
        assert_eq!(bands.last().unwrap().title, "10 small processes");
        assert_eq!((classes[0].as_str(), classes[19].as_str()), ("rest", "p9"));
    }

    #[test]
    fn a_crowded_timeline_keeps_the_greatest_of_each_column() {
        let mut timeline = two_halves();
        let model = timeline.samples[0].clone();
        timeline.samples = (0..10_000u64)
            .map(|step| Sample {
                at: Duration::from_micros(100 * step),
                total: if step == 7777 { 99 } else { 1 },
                ..model.clone()
            })
            .collect();
        let kept = thinned(&timeline);
        assert!(kept.len() <= COLUMNS + 1);
        assert!(kept.iter().any(|sample| sample.total == 99));
    }
}
