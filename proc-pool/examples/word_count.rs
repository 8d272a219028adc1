//! Word counts over a large text that all workers read where it lies.
//!
//! `cargo run --release -p proc-pool --example word_count [MIB]`
//!
//! The text is in one shared array; each task gets a view of some of it, which travels as some tens
//! of bytes. What comes back are the counts.

use std::collections::BTreeMap;

use proc_pool::{Pool, task};
use shm_core::{Array, Frozen};

/// Words of the generated text, with how often each comes in a round of it.
const WORDS: [(&str, u64); 5] =
    [("the", 7), ("process", 3), ("dies", 2), ("others", 2), ("go on", 1)];

/// Bytes of the text that one task reads.
const PIECE: usize = 1 << 20;

type Counts = BTreeMap<String, u64>;

// ANCHOR: count
#[task(pure)]
fn count(piece: Frozen<u8>) -> Result<Counts, String> {
    let text = std::str::from_utf8(&piece).map_err(|error| error.to_string())?;
    let mut counts = BTreeMap::<&str, u64>::new();
    for word in text.split_ascii_whitespace() {
        *counts.entry(word).or_insert(0) += 1;
    }
    Ok(counts.into_iter().map(|(word, times)| (word.to_owned(), times)).collect())
}
// ANCHOR_END: count

/// One round of the text; the text is this again and again.
fn round() -> String {
    WORDS.iter().flat_map(|(word, times)| (0..*times).map(move |_| format!("{word}\n"))).collect()
}

/// Views of about [`PIECE`] bytes each that end with a word.
fn pieces(text: &Frozen<u8>) -> Result<Vec<Frozen<u8>>, shm_core::Error> {
    let (mut pieces, mut start) = (Vec::new(), 0);
    while start < text.len() {
        let rest = &text[(start + PIECE).min(text.len())..];
        let end = text.len() - rest.len();
        let end = end + rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
        pieces.push(text.slice(start..end)?);
        start = end;
    }
    Ok(pieces)
}

#[proc_pool::main]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mib: usize = std::env::args().nth(1).map_or(Ok(256), |mib| mib.parse())?;
    let round = round();
    let rounds = (mib << 20) / round.len();
    let mut text = Array::<u8>::zeroed(rounds * round.len())?;
    text.chunks_exact_mut(round.len()).for_each(|part| part.copy_from_slice(round.as_bytes()));
    let text = text.freeze()?;

    let pool = Pool::new()?;
    let mut counts = Counts::new();
    for (_, result) in pool.imap_unordered(count, pieces(&text)?) {
        for (word, number) in result?? {
            *counts.entry(word).or_insert(0) += number;
        }
    }
    println!("bytes of text: {}", text.len());
    println!("bytes moved: {}", pool.bytes_moved());
    pool.close()?;
    println!("counts: {counts:?}");
    let mut expected = Counts::new();
    for word in round.split_ascii_whitespace() {
        *expected.entry(word.to_owned()).or_insert(0) += rounds as u64;
    }
    if counts == expected { Ok(()) } else { Err(format!("should be {expected:?}").into()) }
}
