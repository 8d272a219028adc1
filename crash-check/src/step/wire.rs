//! How a result travels from the session process to the caller.

use super::error::StepError;
use std::io;
use std::time::Duration;

/// A value that can be written as bytes and read back. Lengths and numbers are 8 bytes each.
pub(super) trait Wire: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn take(from: &mut &[u8]) -> Option<Self>;
}

impl Wire for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }
    fn take(from: &mut &[u8]) -> Option<u64> {
        let (head, rest) = from.split_first_chunk::<8>()?;
        *from = rest;
        Some(u64::from_le_bytes(*head))
    }
}

impl Wire for String {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        out.extend_from_slice(self.as_bytes());
    }
    fn take(from: &mut &[u8]) -> Option<String> {
        let len = usize::try_from(u64::take(from)?).ok()?;
        let (head, rest) = from.split_at_checked(len)?;
        *from = rest;
        String::from_utf8(head.to_vec()).ok()
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        self.iter().for_each(|item| item.put(out));
    }
    fn take(from: &mut &[u8]) -> Option<Vec<T>> {
        (0..u64::take(from)?).map(|_| T::take(from)).collect()
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        u64::from(self.is_some()).put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }
    fn take(from: &mut &[u8]) -> Option<Option<T>> {
        match u64::take(from)? {
            0 => Some(None),
            _ => T::take(from).map(Some),
        }
    }
}

impl<T: Wire> Wire for Result<T, StepError> {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Ok(value) => {
                0_u64.put(out);
                value.put(out);
            }
            Err(error) => {
                1_u64.put(out);
                error.put(out);
            }
        }
    }
    fn take(from: &mut &[u8]) -> Option<Result<T, StepError>> {
        match u64::take(from)? {
            0 => T::take(from).map(Ok),
            _ => StepError::take(from).map(Err),
        }
    }
}

/// An error is a number that names the variant, one number and two texts.
impl Wire for StepError {
    fn put(&self, out: &mut Vec<u8>) {
        let millis = |limit: &Duration| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let code =
            |error: &io::Error| u64::try_from(error.raw_os_error().unwrap_or(0)).unwrap_or(0);
        let none = String::new();
        let (variant, number, first, second): (u64, u64, &str, &str) = match self {
            StepError::NotPermitted => (0, 0, &none, &none),
            StepError::Incomplete { scenario, part } => (1, 0, scenario, part),
            StepError::Setup { part, message } => (2, 0, part, message),
            StepError::TooLong { steps } => (3, *steps, &none, &none),
            StepError::Slow { part, limit } => (4, millis(limit), part, &none),
            StepError::RegionTooSmall { file } => (5, *file, &none, &none),
            StepError::NoSuchPoint(point) => (6, 0, point, &none),
            StepError::Session(text) => (7, 0, text, &none),
            StepError::System { call, source } => (8, code(source), call, &none),
        };
        variant.put(out);
        number.put(out);
        first.to_owned().put(out);
        second.to_owned().put(out);
    }

    fn take(from: &mut &[u8]) -> Option<StepError> {
        let (variant, number) = (u64::take(from)?, u64::take(from)?);
        let (first, second) = (String::take(from)?, String::take(from)?);
        Some(match variant {
            0 => StepError::NotPermitted,
            2 => StepError::Setup { part: first, message: second },
            3 => StepError::TooLong { steps: number },
            4 => StepError::Slow { part: first, limit: Duration::from_millis(number) },
            5 => StepError::RegionTooSmall { file: number },
            6 => StepError::NoSuchPoint(first),
            8 => {
                let code = i32::try_from(number).unwrap_or(0);
                StepError::System { call: first, source: io::Error::from_raw_os_error(code) }
            }
            // `Incomplete` is found before a session starts.
            _ => StepError::Session(first),
        })
    }
}
