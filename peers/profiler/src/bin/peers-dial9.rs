//! What dial9's memory profiler adds to the work: it samples at one rate for the life of a process,
//! so each rate has its own. Prints nanoseconds a step. Arguments: bytes a sample, how many threads.

use std::alloc::System;

use dial9_core::buffer::MemoryBuffer;
use dial9_core::recorder::recorder;
use dial9_perf_self_profile::memory_profiling::{
    Dial9Allocator, MemoryProfiler, MemoryProfilingConfig,
};
use method::Outcome;

#[global_allocator]
static WATCHED: Dial9Allocator = Dial9Allocator::system();

/// Room for the events that nobody fetches.
const ROOM: usize = 16 << 20;

fn main() -> Outcome<()> {
    let numbers: Vec<u64> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let [bytes, threads] = numbers[..] else {
        return Err("two numbers: bytes a sample, how many threads".into());
    };
    let recorder = recorder(MemoryBuffer::new(ROOM as _)?).build();
    // Live blocks are followed, as ours are.
    let config =
        MemoryProfilingConfig::builder().sample_rate_bytes(bytes).track_liveset(true).build();
    let _profiler = MemoryProfiler::from_config(config).install(recorder.handle().clone())?;
    let live = peers_profiler::LIVE;
    println!("{}", peers_profiler::added(&System, &WATCHED, threads as usize, live));
    Ok(())
}
