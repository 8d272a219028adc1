//! Records: the inputs or the results of a chunk, one after another.
//!
//! A record is a word, then bytes: `word = length << 3 | outcome`. Its outcome is that of the
//! response it would have been alone (0 in inputs).

use crate::protocol::Outcome;

/// Bytes of the word.
pub(crate) const WORD: usize = 4;
/// The longest record.
pub(crate) const LONGEST: usize = (1 << 29) - 1;

const OUTCOME_BITS: u32 = 3;

/// The word of a record; its length is at most [`LONGEST`].
pub(crate) fn word(length: usize, outcome: Outcome) -> [u8; WORD] {
    ((length as u32) << OUTCOME_BITS | outcome as u32).to_ne_bytes()
}

/// Takes the first record off `rest`; `None` where no whole record is left, or none of ours.
pub(crate) fn next<'a>(rest: &mut &'a [u8]) -> Option<(Outcome, &'a [u8])> {
    let (word, after) = rest.split_first_chunk::<WORD>()?;
    let word = u32::from_ne_bytes(*word);
    let outcome = Outcome::from_number(word & ((1 << OUTCOME_BITS) - 1))?;
    let (record, after) = after.split_at_checked((word >> OUTCOME_BITS) as usize)?;
    *rest = after;
    Some((outcome, record))
}

/// The bytes of the records from number `start` to `end`; what is missing is missing.
pub(crate) fn slice(records: &[u8], start: u32, end: u32) -> &[u8] {
    let offset_of = |number: u32| {
        let mut rest = records;
        for _ in 0..number {
            if next(&mut rest).is_none() {
                break;
            }
        }
        records.len() - rest.len()
    };
    &records[offset_of(start)..offset_of(end)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(texts: &[&str]) -> Vec<u8> {
        let record = |text: &&str| [&word(text.len(), Outcome::Done)[..], text.as_bytes()].concat();
        texts.iter().flat_map(record).collect()
    }

    #[test]
    fn records_come_back_one_by_one() {
        let all = records(&["one", "", "three"]);
        let mut rest = all.as_slice();
        let mut texts = Vec::new();
        while let Some((outcome, record)) = next(&mut rest) {
            assert_eq!(outcome, Outcome::Done);
            texts.push(record);
        }
        assert_eq!(texts, [&b"one"[..], b"", b"three"]);
    }

    #[test]
    fn a_slice_of_records_is_records() {
        let all = records(&["one", "", "three", "four"]);
        assert_eq!(slice(&all, 1, 3), records(&["", "three"]));
        assert_eq!(slice(&all, 2, 9), records(&["three", "four"]));
    }

    #[test]
    fn half_a_record_is_none() {
        let all = records(&["one"]);
        for length in 0..all.len() {
            assert_eq!(next(&mut &all[..length]), None);
        }
    }
}
