//! The work on the system's allocator alone, for profilers that watch a whole program from outside:
//! prints nanoseconds a step. Argument: how many threads.

use std::alloc::System;

fn main() {
    let threads = std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(1);
    println!("{}", peers_profiler::plain(&System, threads, peers_profiler::LIVE));
}
