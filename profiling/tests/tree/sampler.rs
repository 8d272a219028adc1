//! Timelines of trees that do known things at known steps.

use std::time::Duration;

use profiling::{Error, Sampler, Timeline};

use crate::load::Load;

const MIB: u64 = 1 << 20;

/// Samples only when asked: the first interval outlasts the test.
fn by_hand(pid: u32) -> Sampler {
    Sampler::builder(pid).interval(Duration::from_secs(3600)).start().unwrap()
}

fn charged_at_peak(timeline: &Timeline, pid: u32) -> u64 {
    let state = &timeline.peak.as_ref().unwrap().state;
    state.processes.iter().find(|process| process.pid == pid).unwrap().charged()
}

#[test]
fn the_combined_peak_is_that_of_one_instant_and_not_the_sum_of_peaks() {
    let mut root = Load::start();
    let first: u32 = root.tell("spawn").parse().unwrap();
    let second: u32 = root.tell("spawn").parse().unwrap();
    let sampler = by_hand(root.pid());
    root.tell("to 0 private 25165824");
    sampler.sample_now();
    root.tell("to 0 release");
    root.tell("to 1 private 33554432");
    root.tell("to 0 private 4194304");
    sampler.mark("second is full");
    sampler.sample_now();
    root.tell("to 1 release");
    sampler.sample_now();
    let timeline = sampler.stop();

    let small = 2 * MIB;
    let peak = timeline.peak_bytes();
    assert!((36 * MIB..36 * MIB + 3 * small).contains(&peak), "{peak}");
    let of_first = charged_at_peak(&timeline, first);
    let of_second = charged_at_peak(&timeline, second);
    assert!((4 * MIB..4 * MIB + small).contains(&of_first), "{of_first}");
    assert!((32 * MIB..32 * MIB + small).contains(&of_second), "{of_second}");
    assert!(timeline.sum_of_peaks() >= 56 * MIB, "{}", timeline.sum_of_peaks());
    assert!(timeline.high_water_bound() >= peak);
    assert!(timeline.peak.as_ref().unwrap().at >= timeline.marks[0].at);
    assert_eq!(timeline.samples.len(), 5);
}

#[test]
fn a_killed_process_keeps_its_last_sample_in_the_record() {
    let mut root = Load::start();
    let child: u32 = root.tell("spawn").parse().unwrap();
    let sampler = by_hand(root.pid());
    sampler.label(child, "worker 1");
    root.tell("to 0 private 8388608");
    sampler.sample_now();
    root.tell("kill-unreaped 0");
    sampler.sample_now(); // a zombie
    root.tell("kill 0");
    sampler.sample_now(); // gone
    let timeline = sampler.stop();
    let record = timeline.processes.iter().find(|record| record.last.pid == child).unwrap();
    assert!(record.ended);
    assert_eq!(record.title(), "worker 1");
    assert!(record.last.anonymous >= 8 * MIB);
    assert!(record.last_seen < timeline.duration);
    let root_record = &timeline.processes[0];
    assert!(!root_record.ended && root_record.last.pid == root.pid());
    let last = timeline.samples.last().unwrap();
    assert!(last.processes.iter().all(|charge| charge.record == 0));
}

#[test]
fn the_sampler_goes_on_when_the_whole_tree_is_killed() {
    let mut root = Load::start();
    let sampler = Sampler::builder(root.pid()).interval(Duration::from_millis(1)).start().unwrap();
    root.tell("private 8388608");
    sampler.sample_now();
    root.kill();
    sampler.sample_now();
    let timeline = sampler.stop();
    assert!(timeline.processes[0].ended);
    assert!(timeline.peak_bytes() >= 8 * MIB);
    assert_eq!(timeline.samples.last().unwrap().total, 0);
}

#[test]
fn an_inherited_sampler_does_nothing_in_a_forked_child() {
    // The child's status, whether the parent has samples, and the parent's marks.
    assert_eq!(Load::start().tell("fork-sampling"), "0 true 0");
}

#[test]
fn a_segment_that_is_gone_stays_in_the_record() {
    let mut root = Load::start();
    let sampler = by_hand(root.pid());
    root.tell("memfd short 4194304");
    root.tell("touch 4194304");
    sampler.sample_now();
    root.tell("unmap");
    root.tell("close");
    let timeline = sampler.stop();
    let [segment] = timeline.segments.as_slice() else { panic!("{:?}", timeline.segments) };
    assert!(segment.ended);
    assert_eq!(
        (segment.peak_resident, segment.last.touched_by.as_slice()),
        (4 * MIB, &[root.pid()][..])
    );
}

#[test]
fn a_long_run_is_thinned_out_and_keeps_its_peak() {
    let mut root = Load::start();
    let sampler = Sampler::builder(root.pid())
        .interval(Duration::from_secs(3600))
        .history_bytes(0) // as few as there can be
        .start()
        .unwrap();
    for step in 0..200 {
        if step == 77 {
            root.tell("private 8388608");
            sampler.sample_now();
            root.tell("release");
        }
        sampler.sample_now();
    }
    let timeline = sampler.stop();
    assert_eq!(timeline.overhead.full_samples, 203);
    assert!(timeline.samples.len() < 64, "{}", timeline.samples.len());
    let greatest = timeline.samples.iter().map(|sample| sample.total).max().unwrap();
    assert_eq!(greatest, timeline.peak_bytes());
    assert!(timeline.samples.is_sorted_by_key(|sample| sample.at));
}

#[test]
fn what_watching_costs_is_counted() {
    let root = Load::start();
    let sampler = Sampler::builder(root.pid()).interval(Duration::from_millis(1)).start().unwrap();
    sampler.sample_now();
    let overhead = sampler.stop().overhead;
    assert!(overhead.full_samples >= 3);
    assert!(!overhead.full_time.is_zero());
    assert!(overhead.record_bytes > 0);
}

#[test]
fn an_interval_of_zero_is_refused() {
    let started = Sampler::builder(std::process::id()).interval(Duration::ZERO).start();
    assert!(matches!(started, Err(Error::ZeroInterval)));
}

#[test]
fn an_observer_is_told_of_each_peak_with_the_state_at_that_instant() {
    let mut root = Load::start();
    let (sender, peaks) = std::sync::mpsc::channel();
    let sampler = Sampler::builder(root.pid())
        .interval(Duration::from_secs(3600))
        .observer(move |seen| {
            if seen.is_peak {
                sender.send(seen.snapshot.total()).unwrap();
            }
        })
        .start()
        .unwrap();
    root.tell("private 8388608");
    sampler.sample_now();
    root.tell("release");
    sampler.sample_now();
    let so_far = sampler.timeline();
    let peaks: Vec<u64> = peaks.try_iter().collect();
    assert_eq!(peaks.last(), Some(&so_far.peak_bytes()));
    assert!(peaks.len() >= 2 && so_far.samples.len() > peaks.len());
    assert_eq!(sampler.stop().peak_bytes(), so_far.peak_bytes());
}

#[test]
fn what_fork_copied_stays_in_the_record_when_the_child_is_dead() {
    let mut root = Load::start();
    root.tell("private 16777216");
    let sampler = by_hand(root.pid());
    root.tell("fork");
    sampler.sample_now();
    root.tell("forked-writes");
    sampler.sample_now();
    root.tell("forked-ends");
    let timeline = sampler.stop();
    let record = &timeline.processes[1];
    assert!(record.ended);
    assert!((16 * MIB..18 * MIB).contains(&record.peak_fork_copied), "{record:?}");
    assert!((16 * MIB..18 * MIB).contains(&record.last.fork.inherited), "{record:?}");
}

#[test]
fn processes_that_no_sample_saw_are_bounded() {
    let mut root = Load::start();
    let sampler = by_hand(root.pid());
    root.tell("churn 20");
    let timeline = sampler.stop();
    assert_eq!(timeline.processes.len(), 1);
    assert!(timeline.unseen_at_most() >= Some(20), "{timeline:?}");
}
