//! What the guide sets beside `tracemalloc`: snapshots, groups, differences, peaks, assertions.
//!
//! ```text
//! RUSTFLAGS="-C force-frame-pointers=yes" cargo run --release -p profiling --example guide_traced
//! ```

use std::alloc::System;

use profiling::heap::{self, Mode, Profiler, Site, Snapshot};
use profiling::{Symbols, is_own_source, units};

// ANCHOR: start
#[global_allocator]
static HEAP: Profiler<System> = Profiler::new(System, Mode::Exact);
// ANCHOR_END: start

/// Rows of a thousand bytes.
fn table(rows: usize) -> Vec<Box<[u8]>> {
    (0..rows).map(|_| vec![1u8; 1000].into_boxed_slice()).collect()
}

fn main() -> profiling::Result<()> {
    // ANCHOR: snapshots
    let before = Snapshot::take()?;
    let kept = table(10_000);
    let after = Snapshot::take()?;
    // ANCHOR_END: snapshots

    // ANCHOR: traced
    let totals = heap::current()?;
    println!("{} live, {} at most", totals.live_bytes(), totals.peak_bytes);
    // ANCHOR_END: traced
    assert!(totals.live_bytes() >= 10_000_000 && totals.peak_bytes >= 10_000_000);

    // ANCHOR: lines
    let symbols = Symbols::new();
    let line_of = |site: &Site| {
        let frame = symbols.line(&after, site, is_own_source)?;
        Some(format!("{}:{}", frame.file?, frame.line?))
    };
    for (line, live) in after.group_by(line_of).iter().take(3) {
        println!("{line:?}: {:.0} bytes in {:.0} blocks", live.bytes, live.blocks);
    }
    // ANCHOR_END: lines

    // ANCHOR: compare
    for change in after.compare(&before, line_of).iter().take(3) {
        println!("{:?}: {:+.0} bytes, {:+.0} blocks", change.key, change.bytes(), change.blocks());
    }
    // ANCHOR_END: compare
    drop((kept, symbols));

    // ANCHOR: peak
    heap::reset_peak()?;
    drop(table(5_000));
    let peak = heap::current()?.peak_bytes;
    // ANCHOR_END: peak
    println!("peak of the second table: {}", units::bytes(peak));

    // ANCHOR: assert
    let row = heap::assert_allocates_at_most(1_000, || vec![1u8; 1000]);
    let sum: u64 = heap::assert_no_allocation(|| row.iter().map(|byte| u64::from(*byte)).sum());
    // ANCHOR_END: assert
    assert_eq!(sum, 1000);
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_guide_runs() {
        super::main().unwrap();
    }
}
