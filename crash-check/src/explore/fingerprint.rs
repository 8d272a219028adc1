//! 64-bit fingerprints of states, and a map keyed by them.
//!
//! Small fields are packed into words before they are mixed, so that hashing a state of bytes and
//! enums costs little more than reading it. Words are mixed by the folded 64 × 64 → 128 multiply
//! (as in wyhash).

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

const SEED: u64 = 0x9E37_79B9_7F4A_7C15;
const FACTOR: u64 = 0xD6E8_FEB8_6659_FD93;

/// The fingerprint by which [`Explorer`](super::Explorer) tells `state` from others.
///
/// Cost: a few cycles a field.
///
/// ```
/// use crash_check::explore::fingerprint;
/// assert_ne!(fingerprint(&[0_u8, 1]), fingerprint(&[1_u8, 0]));
/// ```
#[must_use]
pub fn fingerprint(state: &impl Hash) -> u64 {
    let mut hasher = Packer { mixed: SEED, word: 0, bits: 0, words: 0 };
    state.hash(&mut hasher);
    hasher.finish()
}

/// From a fingerprint to the number of its state.
pub(super) type Numbers = HashMap<u64, u32, BuildHasherDefault<Identity>>;

/// Packs what it is given into words and mixes these.
struct Packer {
    mixed: u64,
    word: u64,
    bits: u32,
    words: u64,
}

impl Packer {
    fn absorb(&mut self, word: u64) {
        self.mixed = fold(self.mixed ^ word, FACTOR).wrapping_add(SEED);
        self.words += 1;
    }

    fn push(&mut self, value: u64, bits: u32) {
        if self.bits + bits > 64 {
            let full = self.word;
            self.absorb(full);
            self.word = 0;
            self.bits = 0;
        }
        self.word |= value << self.bits;
        self.bits = (self.bits + bits) % 64;
        if self.bits == 0 {
            let full = self.word;
            self.absorb(full);
            self.word = 0;
        }
    }
}

impl Hasher for Packer {
    fn finish(&self) -> u64 {
        let last = fold(self.mixed ^ self.word, FACTOR);
        fold(last ^ (self.words << 6 | u64::from(self.bits)), SEED)
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.push(u64::from(byte), 8);
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.push(u64::from(value), 8);
    }

    fn write_u16(&mut self, value: u16) {
        self.push(u64::from(value), 16);
    }

    fn write_u32(&mut self, value: u32) {
        self.push(u64::from(value), 32);
    }

    fn write_u64(&mut self, value: u64) {
        self.push(value, 64);
    }

    /// Lengths are nearly always small: one byte, or 255 and then all of it.
    fn write_usize(&mut self, value: usize) {
        if value < 255 {
            self.push(value as u64, 8);
        } else {
            self.push(255, 8);
            self.push(value as u64, 64);
        }
    }

    /// Discriminants of enums: the same.
    fn write_isize(&mut self, value: isize) {
        self.write_usize(value.cast_unsigned());
    }
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

/// Passes a fingerprint through as its own hash.
#[derive(Default)]
pub(super) struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_million_neighbouring_states_have_a_million_fingerprints() {
        let edge = if cfg!(debug_assertions) { 12_u8 } else { 31 };
        let mut seen = HashSet::new();
        let mut count = 0;
        for a in 0..edge {
            for b in 0..edge {
                for c in 0..edge {
                    for d in 0..edge {
                        // Values far apart in the state, in low bits and in the highest.
                        let state = [a, 0, 0, b << 3, 0, 0, 0, c | 0x80, d, 0, 0, 0, a, 0, 0, b];
                        seen.insert(fingerprint(&state));
                        count += 1;
                    }
                }
            }
        }
        assert_eq!(seen.len(), count);
    }

    #[test]
    fn the_packing_keeps_apart_what_only_the_width_tells_apart() {
        assert_ne!(fingerprint(&(1_u8, 0_u8)), fingerprint(&1_u8));
        assert_ne!(fingerprint(&(1_u16, 2_u64)), fingerprint(&(1_u64, 2_u16)));
        assert_ne!(fingerprint(&Some(0_u8)), fingerprint(&None::<u8>));
    }
}
