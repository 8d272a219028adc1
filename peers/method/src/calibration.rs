//! What a sample is bracketed by: the same machine doing nothing but its floor.

use std::sync::atomic::{AtomicU32, Ordering::AcqRel, Ordering::Acquire};
use std::thread;
use std::time::Instant;

use crate::{Between, Gate, Outcome, Sample, together};

/// Two calibrations around one sample that differ more than this many times: the machine changed
/// in between, and the sample counts for nothing.
pub const DRIFT: f64 = 1.5;

/// Two sides that never sleep keep two processors busy; with fewer than this many, somebody else
/// took one away.
pub const UNDISTURBED: f64 = 1.7;

/// What a sample is set beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calibration {
    /// A cache line going to the other processor and back, by compare-and-swap: for latencies.
    CompareAndSwap,
    /// Copying 16 MiB inside memory: for bandwidths.
    Memcpy,
    /// A fixed count of dependent multiplications: for work inside one processor.
    Compute,
}

impl Calibration {
    /// How rows name it.
    pub fn name(self) -> &'static str {
        match self {
            Calibration::CompareAndSwap => "compare-and-swap ping-pong",
            Calibration::Memcpy => "memcpy",
            Calibration::Compute => "arithmetic",
        }
    }

    /// In what it is counted.
    pub fn unit(self) -> &'static str {
        match self {
            Calibration::CompareAndSwap => "ns",
            Calibration::Memcpy => "GB/s",
            Calibration::Compute => "ns",
        }
    }

    /// Runs it once.
    ///
    /// # Errors
    /// When there are no two processors to run on.
    pub fn run(self) -> Outcome<Sample> {
        match self {
            Calibration::CompareAndSwap => cas_round_trip(),
            Calibration::Memcpy => Ok(memcpy()),
            Calibration::Compute => Ok(compute()),
        }
    }
}

/// Nanoseconds for a round trip of one cache line.
fn cas_round_trip() -> Outcome<Sample> {
    const ROUNDS: u32 = 5_000;
    // One word in the middle of its own lines.
    let line = [const { AtomicU32::new(0) }; 64];
    let turn = |from: u32| {
        for _ in 0..ROUNDS {
            let mut looks = 0_u32;
            // AcqRel and Acquire: each turn sees the other's; only the word itself matters.
            while line[32].compare_exchange(from, 1 - from, AcqRel, Acquire).is_err() {
                std::hint::spin_loop();
                looks += 1;
                if looks.is_multiple_of(4096) {
                    // The other side is not running: somebody else is on its processor.
                    thread::yield_now();
                }
            }
        }
        Ok(())
    };
    let there = |gate: &mut Gate<'_>| gate.pass().and_then(|()| turn(1));
    let here = |gate: &mut Gate<'_>| gate.pass().and_then(|()| turn(0));
    together(Between::Threads, ROUNDS.into(), there, here)
}

/// Gigabytes a second inside memory that is there already.
fn memcpy() -> Sample {
    const SIZE: usize = 16 << 20;
    thread_local! {
        static BUFFERS: std::cell::RefCell<(Vec<u8>, Vec<u8>)> =
            std::cell::RefCell::new((vec![1; SIZE], vec![2; SIZE]));
    }
    BUFFERS.with_borrow_mut(|(from, to)| {
        let start = Instant::now();
        for _ in 0..2 {
            to.copy_from_slice(std::hint::black_box(from));
            std::hint::black_box(&to);
        }
        Sample::from(2.0 * SIZE as f64 / start.elapsed().as_nanos() as f64)
    })
}

/// Nanoseconds for a chain of a thousand multiplications.
fn compute() -> Sample {
    const CHAINS: u32 = 200;
    let mut value = std::hint::black_box(3_u64);
    let start = Instant::now();
    for _ in 0..CHAINS * 1000 {
        value = std::hint::black_box(value.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    }
    std::hint::black_box(value);
    Sample::from(start.elapsed().as_nanos() as f64 / f64::from(CHAINS))
}
