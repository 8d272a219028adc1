//! Rows of the area `queue`: ours beside other queues, pipes and channels.
//!
//! One JSON object a row on standard output; `--quick`, `--rounds N`, `--only NAME`.

mod channels;
mod ends;
mod iceoryx;
mod idle;
mod mpmc;
mod ours;
mod python;
mod recovery;
mod rings;
mod several;
mod streams;
mod work;

use std::fmt::Debug;

use iceoryx2::prelude::ZeroCopySend;
use ipc_queue::spsc::Element;
use method::{Arguments, Between, Calibration, Case, Outcome, Promise, Side, Target, Unit};

use channels::{Flume, Kanal};
use ends::{Message, Waiting};
use iceoryx::PublishSubscribe;
use ours::Spsc;
use python::Python;
use rings::{Crossbeam, Iceoryx, Rtrb, ShaqMpmc, ShaqSpsc};
use streams::{IpcChannel, KernelPipe, Ours, Socket};
use work::{round_trip_side, stream, stream_round_trip, throughput_side};

/// Room in every ring of a throughput case.
const CAPACITY: usize = 1024;

fn main() -> Outcome<()> {
    let arguments = Arguments::read()?;
    method::cores::allowed();
    let python = Python::start();
    awake(&arguments);
    asleep(&arguments, &python);
    let k = arguments.pick(1, 2);
    one_by_one::<u64>(&arguments, "8 B", 100_000 * k, Some(1.0));
    one_by_one::<[u64; 8]>(&arguments, "64 B", 50_000 * k, None);
    one_by_one::<[u64; 32]>(&arguments, "256 B", 20_000 * k, None);
    one_by_one::<[u64; 128]>(&arguments, "1 KiB", 8_000 * k, None);
    in_batches(&arguments);
    several(&arguments);
    slices_of_a_kibibyte(&arguments);
    depths(&arguments);
    pieces(&arguments, &python);
    beside_python(&arguments, &python);
    idle::run(&arguments);
    recovery::run(&arguments);
    Ok(())
}

fn awake(arguments: &Arguments) {
    let count = arguments.pick(3_000, 5_000);
    let inside = "8 bytes to the other thread and back, both looking again without sleeping";
    let (between, waiting) = (Between::Threads, Waiting::AsUsual);
    Case::new("queue", "round trip, awake", inside, Unit::NANOSECONDS, Calibration::CompareAndSwap)
        .side(round_trip_side::<Spsc>(between, waiting, count))
        .side(round_trip_side::<Rtrb>(between, waiting, count))
        .side(round_trip_side::<ShaqSpsc>(between, waiting, count))
        .side(round_trip_side::<ShaqMpmc>(between, waiting, count))
        .side(round_trip_side::<Crossbeam>(between, waiting, count))
        .side(round_trip_side::<Iceoryx>(between, waiting, count))
        .side(round_trip_side::<PublishSubscribe>(between, waiting, count))
        .side(processes_side(count))
        .target(Target::Calibrations(2.4))
        .run(arguments);
}

/// Ours once more, between two processes: what the cases between threads leave out.
fn processes_side<'a>(count: u64) -> Side<'a> {
    Side::new("ipc-queue spsc between two processes", ours::PROMISE, move || {
        work::round_trip::<Spsc>(Between::Processes, Waiting::AsUsual, count)
    })
}

fn asleep(arguments: &Arguments, python: &Python) {
    let count = arguments.pick(200, 500);
    let inside = "8 bytes to the other side and back, after a rest of 100 µs in which everybody falls asleep";
    let nanoseconds = |value| value;
    Case::new(
        "queue",
        "round trip, asleep",
        inside,
        Unit::NANOSECONDS,
        Calibration::CompareAndSwap,
    )
    .side(round_trip_side::<Spsc>(Between::Processes, Waiting::Asleep, count))
    .side(Side::limit("bare futex", move || work::bare_futex(count)))
    .side(stream_round_trip::<KernelPipe>(count))
    .side(stream_round_trip::<Socket>(count))
    .side(stream_round_trip::<IpcChannel>(count))
    .side(round_trip_side::<Kanal>(Between::Threads, Waiting::Asleep, count))
    .side(round_trip_side::<Flume>(Between::Threads, Waiting::Asleep, count))
    .side(python.side("pipe", format!("roundtrip pipe {count}"), nanoseconds))
    .side(python.side("queue", format!("roundtrip queue {count}"), nanoseconds))
    .target(Target::Times("bare futex", 1.1))
    .run(arguments);
}

fn one_by_one<T: Message + Element + Debug + ZeroCopySend>(
    arguments: &Arguments,
    size: &str,
    count: u64,
    target: Option<f64>,
) {
    let between = Between::Threads;
    let name = format!("{size}, one by one");
    let inside = "a message sent and received, one call each, copied in and out";
    let mut case = Case::new("queue", name, inside, Unit::NANOSECONDS, Calibration::CompareAndSwap)
        .side(throughput_side::<T, Spsc>(between, CAPACITY, count))
        .side(throughput_side::<T, Rtrb>(between, CAPACITY, count))
        .side(throughput_side::<T, ShaqSpsc>(between, CAPACITY, count))
        .side(throughput_side::<T, Crossbeam>(between, CAPACITY, count))
        .side(throughput_side::<T, ShaqMpmc>(between, CAPACITY, count / 4))
        .side(throughput_side::<T, Kanal>(between, CAPACITY, count / 4))
        .side(throughput_side::<T, Flume>(between, CAPACITY, count / 4))
        .side(throughput_side::<T, Iceoryx>(between, CAPACITY, count))
        .side(throughput_side::<T, PublishSubscribe>(between, CAPACITY, count / 4))
        .at("queue-size", "bytes a message", size_of::<T>() as f64);
    if let Some(times) = target {
        case = case.target(Target::Times("rtrb", times));
    }
    case.run(arguments);
}

fn in_batches(arguments: &Arguments) {
    let count = arguments.pick(500_000, 1_000_000);
    let inside = "a message of 8 bytes, 64 of them a call on both sides, copied in and out";
    Case::new(
        "queue",
        "8 B, batches of 64",
        inside,
        Unit::NANOSECONDS,
        Calibration::CompareAndSwap,
    )
    .side(Side::new("ipc-queue spsc", ours::PROMISE, move || work::our_slices::<u64, 64>(count)))
    .side(Side::new("rtrb 0.4.1", Promise::ONE_PROCESS, move || {
        work::rtrb_slices::<u64, 64>(count)
    }))
    .side(Side::new("shaq spsc 4.0.0, read in place", Promise::ONE_PROCESS, move || {
        work::shaq_batches::<u64, 64>(count)
    }))
    .target(Target::Absolute(1.0))
    .run(arguments);
}

/// The queue for several producers and consumers, with one of each and with two.
fn several(arguments: &Arguments) {
    let (trips, count) = (arguments.pick(3_000, 5_000), arguments.pick(100_000, 200_000));
    let (between, waiting) = (Between::Threads, Waiting::AsUsual);
    let case = |name, inside| {
        Case::new("queue", name, inside, Unit::NANOSECONDS, Calibration::CompareAndSwap)
    };
    case("mpmc: round trip, awake", "8 bytes to the other thread and back, without sleeping")
        .side(mpmc::round_trip(trips))
        .side(round_trip_side::<ShaqMpmc>(between, waiting, trips))
        .side(round_trip_side::<Crossbeam>(between, waiting, trips))
        .target(Target::Calibrations(2.8))
        .run(arguments);
    case("mpmc: 8 B, one by one", "a message sent and received, one producer and one consumer")
        .side(mpmc::one_by_one(CAPACITY, count))
        .side(throughput_side::<u64, Crossbeam>(between, CAPACITY, count))
        .side(throughput_side::<u64, ShaqMpmc>(between, CAPACITY, count / 4))
        .side(throughput_side::<u64, Kanal>(between, CAPACITY, count / 4))
        .side(throughput_side::<u64, Flume>(between, CAPACITY, count / 4))
        .target(Target::Times("crossbeam", 0.7))
        .run(arguments);
    case("mpmc: 8 B, batches of 64", "a message, 64 of them a call on both sides")
        .side(mpmc::batched(count))
        .side(
            throughput_side::<u64, Crossbeam>(between, CAPACITY, count)
                .named("crossbeam ArrayQueue 0.3.12, one by one"),
        )
        .target(Target::Absolute(12.0))
        .run(arguments);
    case("mpmc: 8 B, leased", "a message sent, leased, and acknowledged, one by one")
        .side(mpmc::leased(CAPACITY, count))
        .side(
            throughput_side::<u64, Crossbeam>(between, CAPACITY, count)
                .named("crossbeam ArrayQueue 0.3.12, no leases"),
        )
        .target(Target::Times("crossbeam", 1.0))
        .run(arguments);
    let inside = "a message, all four threads at once, sums and counts checked; with two processors, \
                  who runs when is the scheduler's";
    for (name, sides) in [
        ("mpmc: 8 B, two producers and two consumers", several::plain(count)),
        ("mpmc: 8 B, leased, two producers and two consumers", several::leased(count)),
    ] {
        let four = case(name, inside).at_most(arguments.pick(5, 11));
        sides.into_iter().fold(four, Case::side).run(arguments);
    }
}

fn slices_of_a_kibibyte(arguments: &Arguments) {
    let count = arguments.pick(8_000, 16_000);
    let gigabytes =
        |sample: method::Sample| method::Sample { value: 1024.0 / sample.value, busy: sample.busy };
    let inside = "messages of 1 KiB, one a call, copied from a slice and into one";
    Case::new("queue", "1 KiB, slices of 1", inside, Unit::GIGABYTES, Calibration::Memcpy)
        .side(Side::new("ipc-queue spsc", ours::PROMISE, move || {
            work::our_slices::<[u64; 128], 1>(count).map(gigabytes)
        }))
        .side(Side::new("rtrb 0.4.1", Promise::ONE_PROCESS, move || {
            work::rtrb_slices::<[u64; 128], 1>(count).map(gigabytes)
        }))
        .target(Target::Absolute(18.0))
        .run(arguments);
}

/// How the cost of a small message depends on the room in the ring.
fn depths(arguments: &Arguments) {
    let count = arguments.pick(50_000, 100_000);
    let inside = "a message of 8 bytes, one by one, through a ring of this many places";
    for depth in [2, 8, 64, 512, 4096] {
        Case::new(
            "queue",
            format!("8 B, ring of {depth}"),
            inside,
            Unit::NANOSECONDS,
            Calibration::CompareAndSwap,
        )
        .side(throughput_side::<u64, Spsc>(Between::Threads, depth, count))
        .side(throughput_side::<u64, Rtrb>(Between::Threads, depth, count))
        .side(throughput_side::<u64, Crossbeam>(Between::Threads, depth, count))
        .at("queue-depth", "places in the ring", depth as f64)
        .at_most(arguments.pick(5, 11))
        .run(arguments);
    }
}

fn pieces(arguments: &Arguments, python: &Python) {
    let inside = "bytes copied into the stream and out of it, between two processes";
    for (name, size, target) in [
        ("stream in pieces of 64 B", 64, None),
        ("stream in pieces of 1 KiB", 1 << 10, None),
        ("stream in pieces of 64 KiB", 64 << 10, Some(12.0)),
        ("stream in pieces of 1 MiB", 1 << 20, None),
    ] {
        let most = arguments.pick(100 << 20, 200 << 20);
        let total = most.min(size as u64 * 20_000);
        let count = (total / size as u64 / 8).max(8);
        let request = format!("throughput pipe {size} {count}");
        let mut case = Case::new("queue", name, inside, Unit::GIGABYTES, Calibration::Memcpy)
            .side(stream::<Ours>(size, total))
            .side(Side::limit("memcpy of a piece", move || work::memcpy(size)))
            .side(stream::<KernelPipe>(size, total / 4))
            .side(stream::<Socket>(size, total / 4))
            .side(stream::<IpcChannel>(size, total / 4))
            .side(python.side("pipe", request, move |value| size as f64 / value))
            .at("stream-size", "bytes a piece", size as f64);
        if let Some(gigabytes) = target {
            case = case.target(Target::Absolute(gigabytes));
        }
        case.run(arguments);
    }
}

/// Small messages beside Python's queues, both between two processes.
fn beside_python(arguments: &Arguments, python: &Python) {
    python_case::<u64>(arguments, python, "8 B");
    python_case::<[u64; 8]>(arguments, python, "64 B");
    python_case::<[u64; 128]>(arguments, python, "1 KiB");
}

fn python_case<T: Message + Element>(arguments: &Arguments, python: &Python, size: &str) {
    let (count, theirs) = (arguments.pick(20_000, 50_000), arguments.pick(2_000, 5_000));
    let name = format!("{size}, between processes");
    let inside = "a message sent and received, one call each, between two processes";
    let request = |kind| format!("throughput {kind} {} {theirs}", size_of::<T>());
    let nanoseconds = |value| value;
    Case::new("queue", name, inside, Unit::NANOSECONDS, Calibration::CompareAndSwap)
        .side(throughput_side::<T, Spsc>(Between::Processes, CAPACITY, count))
        .side(python.side("queue", request("queue"), nanoseconds))
        .side(python.side("simplequeue", request("simplequeue"), nanoseconds))
        .side(python.side("pipe", request("pipe"), nanoseconds))
        .at_most(arguments.pick(5, 11))
        .run(arguments);
}
