//! The identity of a segment.

use std::fmt;

use crate::Error;

/// A segment's identity: 128 random bits, given when it is created.
///
/// An inode number would be used again; a name may be absent. A handle is `(segment id, offset)`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SegmentId(pub(crate) [u64; 2]);

impl SegmentId {
    /// A new identity from the kernel's random source.
    pub(crate) fn random() -> Result<SegmentId, Error> {
        let mut bytes = [0u8; 16];
        let mut filled = 0;
        while filled < bytes.len() {
            let rest = &mut bytes[filled..];
            match rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()) {
                Ok(n) => filled += n,
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(Error::system("getrandom")(errno)),
            }
        }
        Ok(SegmentId::from_bytes(bytes))
    }

    /// The identity as bytes, for a message; [`from_bytes`](SegmentId::from_bytes) undoes it.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.0[0]) | (u128::from(self.0[1]) << 64)).to_le_bytes()
    }

    /// The identity that [`to_bytes`](SegmentId::to_bytes) wrote down.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> SegmentId {
        let value = u128::from_le_bytes(bytes);
        SegmentId([value as u64, (value >> 64) as u64])
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {:016x}{:016x}", self.0[1], self.0[0])
    }
}

impl fmt::Debug for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
