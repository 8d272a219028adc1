//! Rows of the area `profiler`: what our heap profiler adds to an allocation, beside its rivals.
//!
//! One JSON object a row on standard output; `--quick`, `--rounds N`, `--only NAME`.

mod job;
mod ours;
mod outside;
mod rivals;
mod tree;

use method::{Arguments, Calibration, Case, Outcome, Target, Unit};
use ours::Recording;
use peers_profiler::LIVE;

fn main() -> Outcome<()> {
    if tree::hold_if_asked()? || ours::be_a_worker_if_asked() {
        return Ok(());
    }
    let arguments = Arguments::read()?;
    for threads in [1, 2] {
        sampled(&arguments, threads);
        exact(&arguments, threads);
        counters(&arguments, threads);
    }
    live_blocks(&arguments);
    reading(&arguments);
    tree::run(&arguments);
    job::run(&arguments);
    Ok(())
}

fn case<'a>(what: &str, threads: usize) -> Case<'a> {
    let inside = "what it adds to the release of one block and the allocation of another, five frames \
                  deep, 1,024 blocks alive; of two threads the slower one's";
    let name = format!("{what}, threads: {threads}");
    Case::new("profiler", name, inside, Unit::NANOSECONDS, Calibration::Compute)
}

fn sampled(arguments: &Arguments, threads: usize) {
    for (kib, log, target) in [(512, 19, 6.0), (16, 14, 20.0)] {
        case(&format!("one sample in {kib} KiB"), threads)
            .side(ours::added(Recording::Sampled(kib << 10), threads, LIVE))
            .side(rivals::jemalloc(log, threads))
            .side(outside::dial9(kib, threads))
            .target(Target::Absolute(target))
            .run(arguments);
    }
}

fn exact(arguments: &Arguments, threads: usize) {
    case("every block", threads)
        .side(ours::added(Recording::Exact, threads, LIVE))
        .side(rivals::dhat(threads))
        .side(outside::heaptrack(threads))
        .side(outside::valgrind(threads))
        .target(Target::Absolute(100.0))
        .at_most(arguments.pick(5, 7))
        .run(arguments);
}

fn counters(arguments: &Arguments, threads: usize) {
    case("counters", threads)
        .side(ours::added(Recording::Counters, threads, LIVE))
        .side(rivals::counters(threads))
        .target(Target::Absolute(3.0))
        .run(arguments);
    case("switched off", threads)
        .side(ours::added(Recording::Off, threads, LIVE))
        .target(Target::Absolute(0.5))
        .run(arguments);
}

/// How the cost of exact recording grows with the blocks alive.
fn live_blocks(arguments: &Arguments) {
    for live in [1 << 10, 1 << 13, 1 << 16] {
        case(&format!("every block, {live} alive"), 1)
            .side(ours::added(Recording::Exact, 1, live))
            .side(ours::added(Recording::Sampled(16 << 10), 1, live).named("one sample in 16 KiB"))
            .at("profiler-live", "blocks alive", live as f64)
            .at_most(7)
            .run(arguments);
    }
}

/// What a reader costs those whose profile it reads, and itself.
fn reading(arguments: &Arguments) {
    let inside = "what a step takes longer while another thread reads the whole profile again and again; \
                  no pause means that nothing but cache lines is shared";
    Case::new(
        "profiler",
        "being read while at work",
        inside,
        Unit::NANOSECONDS,
        Calibration::Compute,
    )
    .side(ours::while_read())
    .target(Target::Absolute(5.0))
    .at_most(7)
    .run(arguments);
    let inside =
        "from nothing until the profiles of eight processes at work have been found and read";
    Case::new("profiler", "eight processes read", inside, Unit::MILLISECONDS, Calibration::Compute)
        .side(ours::eight_read())
        .target(Target::Absolute(50.0))
        .at_most(7)
        .run(arguments);
}
