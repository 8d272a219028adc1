//! A short text on the stack, for code that must not allocate.

use std::ffi::CStr;
use std::fmt;

/// Up to `N - 1` bytes and the zero behind them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Text<N> {
    pub(crate) const fn new() -> Text<N> {
        Text { bytes: [0; N], length: 0 }
    }

    /// Appends all of it, or nothing and says false.
    pub(crate) fn push(&mut self, more: &[u8]) -> bool {
        let end = self.length + more.len();
        if end >= N || more.contains(&0) {
            return false;
        }
        self.bytes[self.length..end].copy_from_slice(more);
        self.length = end;
        true
    }

    pub(crate) fn c_str(&self) -> Option<&CStr> {
        CStr::from_bytes_with_nul(&self.bytes[..=self.length]).ok()
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.push(text.as_bytes()) { Ok(()) } else { Err(fmt::Error) }
    }
}
