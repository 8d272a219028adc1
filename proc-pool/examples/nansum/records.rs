//! The generated records: 24 bytes each, every second value missing.

use shm_core::ShmSafe;

/// One record.
#[derive(Clone, Copy, Debug, ShmSafe)]
#[repr(C)]
pub struct Record {
    /// Nanoseconds since 1970.
    pub date: i64,
    /// NaN where it is missing.
    pub val: f64,
    /// Zero-padded text.
    pub label: [u8; 8],
}

impl Record {
    /// Record number `i`; the Python programs of the comparison generate the same bytes.
    pub fn generate(i: usize) -> Record {
        let second = i as i64;
        Record {
            date: 1_600_000_000_000_000_000 + second * 1_000_000_000,
            val: if i.is_multiple_of(2) { (i % 1000) as f64 } else { f64::NAN },
            label: if i.is_multiple_of(2) { *b"string\0\0" } else { *b"abc\0\0\0\0\0" },
        }
    }

    /// Fills `records`, which are those from number `first` on.
    pub fn fill(records: &mut [Record], first: usize) {
        for (i, record) in records.iter_mut().enumerate() {
            *record = Record::generate(first + i);
        }
    }
}
