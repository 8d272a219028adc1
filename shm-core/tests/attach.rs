//! Attaching to files that are not what they should be: an error that says so, never more.
#![allow(clippy::unwrap_used)]

#[path = "../fuzz/src/entry.rs"]
mod entry;

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use rustix::fs::{MemfdFlags, SealFlags};
use shm_core::{Error, Frozen, NamedFrozen, RawSegment, ReadOnlySegment, Segment};

const HEADER: usize = 136;
const DATA_OFFSET: u64 = 65_536;
/// Where the header's fields begin, in bytes.
const FORMAT: usize = 8;
const ENDIAN: usize = 12;
const WIDTH: usize = 16;
const KIND: usize = 20;
const OFFSET: usize = 24;
const SIZE: usize = 32;
const MAXIMUM: usize = 40;
const ID: usize = 48;
const TYPE_HASH: usize = 64;
const ELEMENT: usize = 72;
const PAGE: usize = 80;
const FEATURES: usize = 84;
const LIFETIME: usize = 88;
const BOOT: usize = 112;
const SUM: usize = 128;

type Header = [u8; HEADER];

fn header_of(fd: impl AsFd) -> Header {
    let mut header = [0; HEADER];
    File::from(fd.as_fd().try_clone_to_owned().unwrap()).read_exact_at(&mut header, 0).unwrap();
    header
}

fn plain() -> Header {
    header_of(Segment::anonymous(1000).unwrap())
}

fn frozen() -> Header {
    header_of(Frozen::copy_of(&[1.0f64; 10]).unwrap())
}

/// The header with other bytes at `at`, and the checksum that goes with them.
fn with(mut header: Header, at: usize, bytes: &[u8]) -> Header {
    header[at..at + bytes.len()].copy_from_slice(bytes);
    let sum = header[..SUM].iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    header[SUM..].copy_from_slice(&sum.to_ne_bytes());
    header
}

/// A memfd of `size` bytes that begins with `bytes`, sealed.
fn file(bytes: &[u8], size: u64, seals: SealFlags) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = File::from(rustix::fs::memfd_create("test", flags).unwrap());
    file.set_len(size).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    rustix::fs::fcntl_add_seals(&file, seals).unwrap();
    file.into()
}

const ALL: SealFlags = SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW);

fn attach(header: &Header, size: u64) -> Error {
    Segment::attach(file(header, size, SealFlags::SHRINK)).unwrap_err()
}

fn attach_frozen(header: &Header, size: u64) -> Error {
    Frozen::<f64>::attach(file(header, size, ALL)).unwrap_err()
}

#[test]
fn the_unchanged_header_is_accepted() {
    Segment::attach(file(&plain(), DATA_OFFSET + 1000, SealFlags::SHRINK)).unwrap();
    let array = Frozen::<f64>::attach(file(&frozen(), DATA_OFFSET + 80, ALL)).unwrap();
    assert_eq!(array[..], [0.0; 10]);
    let header = plain();
    assert_eq!(with(header, 0, b"shm-core"), header, "the test's checksum is the crate's");
}

#[test]
fn a_truncated_segment_says_how_long_it_is_and_should_be() {
    for size in [0, 1, 80, 135, 136, DATA_OFFSET, DATA_OFFSET + 999] {
        let header = plain();
        let begin = &header[..HEADER.min(size as usize)];
        match Segment::attach(file(begin, size, SealFlags::SHRINK)) {
            Err(Error::Truncated { file, .. }) => assert_eq!(file, size),
            other => panic!("{size}: {other:?}"),
        }
    }
}

#[test]
fn a_foreign_file_is_called_foreign() {
    let error = attach(&[7; HEADER], 100_000);
    assert!(matches!(error, Error::NotASegment { .. }), "{error}");
    let zeros = attach(&[0; HEADER], 100_000);
    assert!(matches!(zeros, Error::NotASegment { .. }), "{zeros}");
}

#[test]
fn another_build_is_told_what_differs() {
    let newer = u32::from_ne_bytes(plain()[FORMAT..FORMAT + 4].try_into().unwrap()) + 1;
    let cases = [
        ("format version", FORMAT, newer.to_ne_bytes().to_vec()),
        ("format version", FORMAT, (newer - 2).to_ne_bytes().to_vec()),
        ("byte order mark", ENDIAN, 0x0403_0201u32.to_ne_bytes().to_vec()),
        ("pointer width", WIDTH, 32u32.to_ne_bytes().to_vec()),
        ("data offset", OFFSET, 4096u64.to_ne_bytes().to_vec()),
        ("page size", PAGE, 16_384u32.to_ne_bytes().to_vec()),
        ("set of features", FEATURES, 1u32.to_ne_bytes().to_vec()),
    ];
    for (property, at, bytes) in cases {
        let error = attach(&with(plain(), at, &bytes), 100_000);
        assert!(matches!(error, Error::Incompatible { what, .. } if what == property), "{error}");
    }
}

#[test]
fn a_header_that_contradicts_itself_is_corrupted() {
    let unsummed = {
        let mut header = plain();
        header[SIZE] ^= 1;
        header
    };
    let cases = [
        unsummed,
        with(plain(), KIND, &9u32.to_ne_bytes()),
        with(plain(), SIZE, &0u64.to_ne_bytes()),
        with(plain(), SIZE, &u64::MAX.to_ne_bytes()),
        with(plain(), SIZE, &(i64::MAX as u64).to_ne_bytes()),
        with(plain(), ELEMENT, &0u64.to_ne_bytes()),
        with(plain(), ELEMENT, &7u64.to_ne_bytes()),
        with(plain(), LIFETIME, &3u32.to_ne_bytes()),
        with(plain(), MAXIMUM, &999u64.to_ne_bytes()),
        with(plain(), MAXIMUM, &u64::MAX.to_ne_bytes()),
        with(frozen(), MAXIMUM, &1000u64.to_ne_bytes()),
    ];
    for header in cases {
        let error = attach(&header, 100_000);
        assert!(matches!(error, Error::Corrupted { .. }), "{error}");
    }
}

#[test]
fn what_an_earlier_run_of_the_machine_left_is_told_apart() {
    let error = attach(&with(plain(), BOOT, &[1; 16]), 100_000);
    assert!(matches!(error, Error::OfAnotherBoot), "{error}");
    // Made where nobody could tell: no reason to refuse it.
    Segment::attach(file(&with(plain(), BOOT, &[0; 16]), 100_000, SealFlags::SHRINK)).unwrap();
}

#[test]
fn a_maximum_that_no_address_space_holds_is_an_error() {
    let error = attach(&with(plain(), MAXIMUM, &(1u64 << 60).to_ne_bytes()), 100_000);
    assert!(matches!(error, Error::System { call: "mmap", .. }), "{error}");
}

#[test]
fn a_size_word_that_the_file_does_not_bear_out_is_refused() {
    let header = with(plain(), MAXIMUM, &1_000_000u64.to_ne_bytes());
    let grown = |size: u64| {
        let fd = file(&header, 100_000, SealFlags::SHRINK);
        let file = File::from(fd.try_clone().unwrap());
        file.write_all_at(&size.to_ne_bytes(), 1024).unwrap();
        Segment::attach(fd)
    };
    assert_eq!(grown(0).unwrap().size(), 1000);
    assert_eq!(grown(2000).unwrap().size(), 2000);
    assert!(matches!(grown(900_000), Err(Error::Truncated { .. })));
    assert!(matches!(grown(2_000_000), Err(Error::Corrupted { .. })));
    assert!(matches!(grown(u64::MAX), Err(Error::Corrupted { .. })));
}

#[test]
fn an_element_size_that_is_not_the_types_is_refused() {
    // With the right type hash: 80 elements of 1 byte would become 80 elements of 8.
    for element in [1u64, 2, 4, 16, 40, 80] {
        let error = attach_frozen(&with(frozen(), ELEMENT, &element.to_ne_bytes()), 100_000);
        assert!(matches!(error, Error::WrongType { .. }), "{element}: {error}");
    }
}

#[test]
fn elements_without_bytes_are_refused() {
    assert!(matches!(Frozen::copy_of(&[[0u8; 0]; 5]), Err(Error::BadSize { .. })));
    assert!(matches!(shm_core::Array::<[u64; 0]>::zeroed(5), Err(Error::BadSize { .. })));
    let hash = <[u8; 0] as shm_core::ShmSafe>::LAYOUT.hash();
    let header = with(with(frozen(), TYPE_HASH, &hash.to_ne_bytes()), ELEMENT, &1u64.to_ne_bytes());
    let attached = Frozen::<[u8; 0]>::attach(file(&header, 100_000, ALL));
    assert!(matches!(attached, Err(Error::WrongType { .. })), "{attached:?}");
}

#[test]
fn plain_memory_is_not_an_array_nor_the_other_way_round() {
    let error = attach(&frozen(), 100_000);
    assert!(matches!(error, Error::WrongType { .. }), "{error}");
    let error = attach_frozen(&plain(), 100_000);
    assert!(matches!(error, Error::WrongType { .. }), "{error}");
}

#[test]
fn a_file_that_could_still_shrink_is_refused() {
    let error = Segment::attach(file(&plain(), 100_000, SealFlags::GROW)).unwrap_err();
    assert!(matches!(error, Error::NotASegment { .. }), "{error}");
    let disk = File::open(std::env::current_exe().unwrap()).unwrap();
    let error = Segment::attach(disk.into()).unwrap_err();
    assert!(matches!(error, Error::NotASegment { .. }), "{error}");
}

#[test]
fn what_is_not_a_regular_file_is_refused_at_once() {
    let (pipe, _writer) = rustix::pipe::pipe().unwrap();
    let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let files: Vec<(&str, OwnedFd)> = vec![
        ("a pipe", pipe),
        ("a socket", socket.into()),
        ("a directory", File::open("/").unwrap().into()),
        ("a device", File::open("/dev/zero").unwrap().into()),
    ];
    for (what, fd) in files {
        let error = Segment::attach(fd.try_clone().unwrap()).unwrap_err();
        assert!(matches!(error, Error::NotASegment { .. }), "{what}: {error}");
        let error = Frozen::<u8>::attach(fd).unwrap_err();
        assert!(matches!(error, Error::NotASegment { .. }), "{what}: {error}");
    }
}

#[test]
fn a_huge_sparse_file_takes_no_memory_when_it_is_attached_to() {
    // 256 MiB of holes, frozen; a hostile file could claim a terabyte.
    let size = 256u64 << 20;
    let header = with(frozen(), SIZE, &[size.to_ne_bytes(), size.to_ne_bytes()].concat());
    let fd = file(&header, DATA_OFFSET + size, ALL);
    let blocks = || rustix::fs::fstat(&fd).unwrap().st_blocks;
    let before = blocks();
    match Frozen::<f64>::attach(fd.try_clone().unwrap()) {
        Ok(array) => assert_eq!(array.len() as u64, size / 8),
        Err(error) => assert!(matches!(error, Error::System { call: "mmap", .. }), "{error}"),
    }
    assert_eq!(blocks(), before);
}

#[test]
fn a_file_larger_than_memory_can_address_is_an_error() {
    let size = i64::MAX as u64 - 2 * DATA_OFFSET;
    let header = with(plain(), SIZE, &[size.to_ne_bytes(), size.to_ne_bytes()].concat());
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = File::from(rustix::fs::memfd_create("test", flags).unwrap());
    file.write_all_at(&header, 0).unwrap();
    file.set_len(DATA_OFFSET + size).unwrap();
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK).unwrap();
    let error = Segment::attach(file.into()).unwrap_err();
    assert!(matches!(error, Error::System { call: "mmap", .. }), "{error}");
}

/// Whatever attaches must be readable from end to end.
fn attach_and_touch(bytes: &[u8]) {
    let size = DATA_OFFSET + 1000;
    if let Ok(segment) = Segment::attach(file(bytes, size, SealFlags::SHRINK)) {
        // SAFETY: within the segment, and only this thread knows of the file.
        unsafe { segment.data().as_ptr().wrapping_add(segment.size() - 1).read() };
    }
    if let Ok(array) = Frozen::<f64>::attach(file(bytes, size, ALL)) {
        assert!(array.iter().sum::<f64>().is_finite());
    }
    let fd = file(bytes, size, ALL);
    if let Ok(id) = shm_core::handle::offer(fd) {
        shm_core::handle::forget(id);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn random_headers_never_crash(bytes in prop::collection::vec(any::<u8>(), HEADER)) {
        attach_and_touch(&bytes);
    }

    #[test]
    fn mutated_headers_with_a_valid_checksum_never_crash(
        array in any::<bool>(),
        changes in prop::collection::vec((0usize..SUM, any::<u8>()), 1..6),
    ) {
        let mut header = if array { frozen() } else { plain() };
        for (at, byte) in changes {
            header = with(header, at, &[byte]);
        }
        attach_and_touch(&header);
    }

    #[test]
    fn mutated_fields_with_a_valid_checksum_never_crash(
        array in any::<bool>(),
        at in prop::sample::select(vec![OFFSET, SIZE, MAXIMUM, ID, TYPE_HASH, ELEMENT, PAGE, BOOT]),
        value in prop_oneof![
            any::<u64>(), 0u64..5000, Just(u64::MAX), Just(i64::MAX as u64), Just(1 << 63),
        ],
    ) {
        let header = if array { frozen() } else { plain() };
        attach_and_touch(&with(header, at, &value.to_ne_bytes()));
    }
}

/// A named file with these bytes, opened in every way there is; whether any was accepted.
fn open_and_touch(bytes: &[u8], grown: u64) -> bool {
    // Relaxed: only has to give each caller another number.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("test-attach-{}-{next}", std::process::id());
    let path = format!("/dev/shm/shm-core.{name}");
    let file = File::create_new(&path).unwrap();
    file.set_len(DATA_OFFSET + 1000).unwrap();
    file.write_all_at(&grown.to_ne_bytes(), 1024).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    drop(file);
    let mut accepted = false;
    if let Ok(segment) = Segment::open(&name) {
        accepted = true;
        // SAFETY: within the segment, and only this thread knows of the file.
        unsafe { segment.data().as_ptr().wrapping_add(segment.size() - 1).read() };
        segment.validate().unwrap();
    }
    if let Ok(segment) = ReadOnlySegment::open(&name) {
        // SAFETY: as above.
        unsafe { segment.data().wrapping_add(segment.size() - 1).read() };
    }
    if let Ok(array) = NamedFrozen::<f64>::open(&name) {
        accepted = true;
        assert!(array.iter().sum::<f64>().is_finite());
    }
    // The header may say that it watches over another file, of which there is none.
    assert!(RawSegment::open(&name).is_err());
    let _ = shm_core::inspect::one(&name);
    shm_core::sweep().unwrap();
    let _ = std::fs::remove_file(path);
    accepted
}

/// A header that says that the name is to be kept: it can be opened though nobody uses it.
fn kept(header: Header) -> Header {
    with(header, LIFETIME, &1u32.to_ne_bytes())
}

#[test]
fn a_kept_header_is_opened_and_a_touch_of_all_of_it_is_no_fault() {
    let growing = kept(with(plain(), MAXIMUM, &(1u64 << 30).to_ne_bytes()));
    assert!(open_and_touch(&growing, 0));
    assert!(open_and_touch(&kept(frozen()), 0));
    assert!(!open_and_touch(&growing, 1 << 20), "grown beyond its file");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn mutated_headers_of_named_files_never_crash(
        array in any::<bool>(),
        at in prop::sample::select(
            vec![KIND, OFFSET, SIZE, MAXIMUM, TYPE_HASH, ELEMENT, LIFETIME, BOOT],
        ),
        value in prop_oneof![
            any::<u64>(), 0u64..5000, Just(u64::MAX), Just(i64::MAX as u64), Just(1 << 40),
        ],
        grown in prop_oneof![Just(0u64), 0u64..3000, any::<u64>()],
    ) {
        let header = kept(if array { frozen() } else { plain() });
        let width = if [KIND, LIFETIME].contains(&at) { 4 } else { 8 };
        open_and_touch(&with(header, at, &value.to_ne_bytes()[..width]), grown);
        let growing = with(header, MAXIMUM, &(1u64 << 30).to_ne_bytes());
        open_and_touch(&with(growing, at, &value.to_ne_bytes()[..width]), grown);
    }
}

/// The fuzz target's function, which needs no fuzzer: its seeds, and mutations of them in a fixed order.
#[test]
fn a_damaged_file_of_any_kind_is_an_error_or_can_be_read() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/attach");
    let files = std::fs::read_dir(folder).unwrap();
    let seeds: Vec<Vec<u8>> =
        files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
    assert!(seeds.len() >= 5, "the seeds are where the fuzzer looks for them");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let mut ways: Vec<usize> = seeds.iter().map(|seed| entry::attach(seed)).collect();
    ways.sort_unstable();
    assert_eq!(ways, [1, 1, 1, 2, 3], "undamaged (or in one life word), they are attached to");
    for _ in 0..4_000 {
        let mut input = seeds[random(seeds.len())].clone();
        if random(2) == 0 {
            input[1] ^= random(16) as u8;
        }
        if random(4) == 0 {
            input[2] = random(9) as u8;
        }
        for _ in 0..random(4) {
            // Mostly the header, where it says most; else the words behind it.
            let at = if random(3) > 0 { random(HEADER) } else { HEADER + random(8_192) };
            input.extend([at as u8, (at >> 8) as u8, random(256) as u8]);
        }
        entry::attach(&input);
    }
}
