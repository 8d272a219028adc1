//! Attaching to a file that somebody has damaged.
#![no_main]

#[path = "../src/entry.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    entry::attach(input);
});
