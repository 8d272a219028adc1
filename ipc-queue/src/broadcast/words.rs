//! Elements as words: written and read atomically, so that a reader that is overwritten in the
//! middle of its copy reads stale words, and nothing undefined.

use std::mem::MaybeUninit;

use shm_core::primitive::{AtomicU64, Ordering};

const WORD: usize = size_of::<u64>();

/// Words that an element takes.
pub(crate) const fn words_of<T>() -> usize {
    size_of::<T>().div_ceil(WORD)
}

/// Bytes of the element in the word of that index.
#[inline(always)]
fn bytes_in<T>(index: usize) -> usize {
    (size_of::<T>() - index * WORD).min(WORD)
}

/// Writes an element's bytes into its words.
#[inline(always)]
pub(crate) fn copy_in<T: Copy>(words: &[AtomicU64], value: &T) {
    let from = std::ptr::from_ref(value).cast::<u8>();
    for (index, word) in words.iter().take(words_of::<T>()).enumerate() {
        let mut bytes = [0; WORD];
        // SAFETY: the index is below `words_of`, so the place is in the element.
        let part = unsafe { from.add(index * WORD) };
        // SAFETY: so many bytes of the element are left there, and all of them are initialised: an
        // element has no padding.
        unsafe { part.copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes_in::<T>(index)) };
        // Release: that we overwrite was announced before (`reserved`); pairs with the Acquire in
        // `copy_out`.
        word.store(u64::from_ne_bytes(bytes), Ordering::Release);
    }
}

/// Copies an element's bytes out. They are an element only if nobody overwrote it meanwhile: the
/// caller finds that out before it believes them.
#[inline(always)]
pub(crate) fn copy_out<T: Copy>(words: &[AtomicU64]) -> MaybeUninit<T> {
    let mut value = MaybeUninit::<T>::uninit();
    let to = value.as_mut_ptr().cast::<u8>();
    for (index, word) in words.iter().take(words_of::<T>()).enumerate() {
        // Acquire: pairs with the Release in `copy_in`: whoever reads a word of a later lap sees in
        // the recheck that it was overwritten.
        let bytes = word.load(Ordering::Acquire).to_ne_bytes();
        // SAFETY: the index is below `words_of`, so the place is in the element.
        let part = unsafe { to.add(index * WORD) };
        // SAFETY: so many bytes of the element are left there.
        unsafe { part.copy_from_nonoverlapping(bytes.as_ptr(), bytes_in::<T>(index)) };
    }
    value
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn comes_back<T: Copy + PartialEq + std::fmt::Debug>(value: T) {
        let words: Vec<AtomicU64> = (0..words_of::<T>()).map(|_| AtomicU64::new(!0)).collect();
        copy_in(&words, &value);
        // SAFETY: nobody overwrote it.
        assert_eq!(unsafe { copy_out::<T>(&words).assume_init() }, value);
    }

    #[test]
    fn elements_of_all_sizes_come_back() {
        comes_back(());
        comes_back(7_u8);
        comes_back([1_u8, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
        comes_back([1_u16; 3]);
        comes_back(u64::MAX - 3);
        comes_back([3_u64; 5]);
        comes_back([9_u32; 7]);
    }
}
