//! The files of `/proc` that the ledger reads, one module for each.
//!
//! Parsing never fails: a field that is missing or garbled reads as zero or is skipped, for these
//! files differ between kernels and end early for a process that is dying.

pub(crate) mod children;
pub(crate) mod directory;
pub(crate) mod maps;
pub(crate) mod pagemap;
pub(crate) mod smaps;
pub(crate) mod stat;
pub(crate) mod status;

pub(crate) use directory::{ProcessDirectory, ReadError};

/// The number at the start of `text` (after blanks), as in `  1234 kB`.
fn leading_number(text: &[u8]) -> u64 {
    text.iter()
        .skip_while(|byte| byte.is_ascii_whitespace())
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0u64, |value, digit| value.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
}

/// The bytes a `Key:  1234 kB` line stands for.
fn kibibytes(text: &[u8]) -> u64 {
    leading_number(text).saturating_mul(1024)
}

/// Splits `Key:   value` into key and value.
fn key_and_value(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    Some((&line[..colon], &line[colon + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_kilobyte_line_gives_bytes() {
        let (key, value) = key_and_value(b"VmRSS:\t    1764 kB").unwrap();
        assert_eq!(key, b"VmRSS");
        assert_eq!(kibibytes(value), 1764 * 1024);
    }

    #[test]
    fn a_number_too_big_for_the_machine_stays_at_the_top() {
        assert_eq!(kibibytes(b"99999999999999999999999999 kB"), u64::MAX);
    }

    proptest! {
        /// Whatever a kernel writes, no parser panics.
        #[test]
        fn garbled_files_are_read_without_a_panic(text in proptest::collection::vec(any::<u8>(), 0..400)) {
            status::Status::parse(&text);
            stat::Stat::parse(&text);
            smaps::Rollup::parse(&text);
            smaps::resident_by_inode(&text);
            smaps::anonymous_ranges(&text);
            maps::memory_backed(&text, &Default::default());
        }

        #[test]
        fn lines_cut_anywhere_are_read_without_a_panic(cut in 0usize..500) {
            let line = b"7f1000000000-7f1010000000 rw-s 00000000 00:01 1042      /memfd:a b (deleted)\n\
                Size:             262144 kB\nRss:               65536 kB\nPss: 7 kB\n";
            let text = &line[..cut.min(line.len())];
            smaps::resident_by_inode(text);
            maps::memory_backed(text, &Default::default());
        }
    }
}
