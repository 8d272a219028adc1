//! A profile that was damaged, cut short, or never was one: an error, or figures; never anything
//! worse.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

use crash_check::step::Region;
use proptest::prelude::*;
use rustix::fs::MemfdFlags;

use super::Profile;
use super::format::{header, live, site, slot};
use super::kill::{SMALL, prepare};
use super::live_table::candidate_lines;
use crate::error::Error;

fn file(bytes: &[u8]) -> File {
    let file: OwnedFd = rustix::fs::memfd_create(c"corrupt", MemfdFlags::CLOEXEC).unwrap();
    let mut file = File::from(file);
    file.write_all(bytes).unwrap();
    file
}

/// The bytes of a profile of twenty blocks.
fn whole() -> Vec<u8> {
    let region = Region::new(SMALL.length).unwrap();
    prepare(&region, 20, 7).unwrap();
    let mut bytes = vec![0; SMALL.length];
    std::os::unix::fs::FileExt::read_exact_at(&region.file().unwrap(), &mut bytes, 0).unwrap();
    bytes
}

/// Reads all that can be read.
fn look(bytes: &[u8]) -> Result<(), Error> {
    let profile = Profile::from_file(file(bytes))?;
    let snapshot = profile.snapshot();
    profile.validate().and(snapshot.map(drop))
}

fn set(bytes: &mut [u8], at: usize, word: u64) {
    bytes[at..at + 8].copy_from_slice(&word.to_ne_bytes());
}

#[test]
fn a_whole_profile_reads() {
    look(&whole()).unwrap();
}

#[test]
fn what_cannot_be_true_is_named() {
    let key = SMALL.live[0].keys + 8 * first_used();
    let payload = SMALL.live[0].payloads + live::PAYLOAD_SIZE * first_used();
    for (at, word, named) in [
        (header::MAGIC, 7, "does not begin as one"),
        (header::VERSION, 99, "version is 99"),
        (header::SHAPE, u64::MAX, "sizes are out of bounds"),
        (header::LENGTH, 5, "bytes, not"),
        (header::STATE, 0, "before its first record"),
        (header::MODE, 77, "mode is unknown"),
        (header::PID, 1 << 40, "process id"),
        (header::PROGRAM_LENGTH, 5000, "program's path"),
        (header::LEVELS_USED, 9, "9 tables"),
        (header::MODULES_USED, 1000, "1000 modules"),
        (header::SITES_USED, 2, "names site"),
        (header::PEAK, u64::MAX, "peak is out of bounds"),
        (SMALL.slot(1) + slot::OWNER, 1 << 40, "thread id"),
        (SMALL.slot(1) + slot::STEP, 50, "unknown step"),
        (SMALL.slot(1) + slot::TAG, 500, "scope is out of bounds"),
        (SMALL.slot(1) + slot::ALLOCATED_BYTES, 1 << 63, "counters are out of bounds"),
        (SMALL.site(2) + site::PLACE, u64::MAX, "which no site can be"),
        (SMALL.site(2) + site::HASH, 0, "which no site can be"),
        (payload + live::WEIGHT, f64::NAN.to_bits(), "weighs NaN"),
        (payload + live::BYTES, u64::MAX, "has 18446744073709551615 bytes"),
        (SMALL.slot(1) + slot::ALLOCATED_BLOCKS, u64::MAX, "counters are out of bounds"),
        (key, misplaced(), "wrong place"),
    ] {
        let mut bytes = whole();
        set(&mut bytes, at, word);
        let error = look(&bytes).expect_err(named).to_string();
        assert!(error.contains(named), "{error}, not {named}");
    }
}

/// An address that does not belong into that place.
fn misplaced() -> u64 {
    let line = first_used() / live::LINE;
    let belongs = |key: u64| candidate_lines(key, SMALL.live[0].lines_log2).contains(&line);
    (0xdead_0000..).find(|key| !belongs(*key)).unwrap()
}

/// The first place of the first level that holds a block.
fn first_used() -> usize {
    let bytes = whole();
    let keys = &bytes[SMALL.live[0].keys..];
    keys.chunks(8).position(|key| key != [0; 8]).unwrap()
}

#[test]
fn a_file_that_is_cut_short_or_empty_is_named() {
    let bytes = whole();
    for length in [0, 1, 100, 4096, bytes.len() - 1] {
        let error = look(&bytes[..length]).expect_err("cut short").to_string();
        assert!(error.contains("no heap profile"), "{error}");
    }
}

proptest! {
    #[test]
    fn mutated_bytes_never_do_harm(
        changes in prop::collection::vec((0..SMALL.length, any::<u8>()), 1..60)
    ) {
        let mut bytes = whole();
        for (at, value) in changes {
            bytes[at] = value;
        }
        let _ = look(&bytes);
    }

    #[test]
    fn mutated_words_of_the_header_and_of_records_never_do_harm(
        changes in prop::collection::vec((0..SMALL.length / 8, prop_oneof![
            any::<u64>(), 0..5000u64, (0..64u32).prop_map(|bit| 1 << bit), Just(u64::MAX)
        ]), 1..20),
        header in prop::collection::vec((2..64usize, any::<u64>()), 0..3),
    ) {
        let mut bytes = whole();
        for (word, value) in changes.into_iter().chain(header) {
            set(&mut bytes, word * 8, value);
        }
        let _ = look(&bytes);
    }
}
