//! Profilers inside the program: jemalloc's, dhat's, and counters.

use std::alloc::System;
use std::sync::OnceLock;

use method::{Outcome, Promise, Sample, Side};
use peers_profiler::{LIVE, added, plain};
use stats_alloc::StatsAlloc;
use tikv_jemalloc_ctl::raw;
use tikv_jemallocator::Jemalloc;

const LOST: Promise = Promise::may_lose("a killed process leaves no profile");

/// How jemalloc starts: its profiler built in, and asleep until somebody switches it on.
#[allow(non_upper_case_globals)]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static malloc_conf: Option<&'static libc::c_char> = Some({
    const TEXT: &[u8] = b"prof:true,prof_active:false,lg_prof_sample:19\0";
    // SAFETY: the text is not empty and lives as long as the program.
    unsafe { &*TEXT.as_ptr().cast() }
});

/// Switches jemalloc's profiler.
fn jemalloc_is_active(active: bool) -> Outcome<()> {
    // SAFETY: the name ends with a zero, and its value is one byte that says yes or no.
    unsafe { raw::write(b"prof.active\0", active) }.map_err(|error| error.to_string().into())
}

/// jemalloc with its profiler, one sample in 2^`log` bytes, beside jemalloc without it.
pub fn jemalloc<'a>(log: usize, threads: usize) -> Side<'a> {
    let name = format!("jemalloc 5.3, one sample in {} KiB", (1_usize << log) >> 10);
    Side::new(name, LOST, move || {
        // SAFETY: the name ends with a zero, and its value is a number of that size.
        unsafe { raw::write(b"prof.reset\0", log) }.map_err(|error| error.to_string())?;
        jemalloc_is_active(false)?;
        let before = plain(&Jemalloc, threads, LIVE);
        jemalloc_is_active(true)?;
        let watched = plain(&Jemalloc, threads, LIVE);
        jemalloc_is_active(false)?;
        let after = plain(&Jemalloc, threads, LIVE);
        Ok(Sample::from(watched - f64::midpoint(before, after)))
    })
}

static DHAT: dhat::Alloc = dhat::Alloc;

/// dhat-rs, every allocation.
pub fn dhat<'a>(threads: usize) -> Side<'a> {
    Side::new("dhat 0.3.3", LOST, move || {
        static FILE: OnceLock<std::path::PathBuf> = OnceLock::new();
        let file = FILE.get_or_init(|| {
            std::env::temp_dir().join(format!("peers-dhat-{}.json", std::process::id()))
        });
        let profiler = dhat::Profiler::builder().file_name(file).build();
        let value = added(&System, &DHAT, threads, LIVE);
        // Writes its file, which nobody reads, and says so on standard error.
        drop(profiler);
        let _ = std::fs::remove_file(file);
        Ok(Sample::from(value))
    })
}

static COUNTED: StatsAlloc<System> = StatsAlloc::system();

/// stats_alloc: shared counters.
pub fn counters<'a>(threads: usize) -> Side<'a> {
    Side::new("stats_alloc 0.1.10", LOST, move || {
        Ok(Sample::from(added(&System, &COUNTED, threads, LIVE)))
    })
}
