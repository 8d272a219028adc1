//! Which run of the machine this is: memory does not outlive it, and so no handle does.

use std::fmt;
use std::sync::OnceLock;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;

/// The kernel's random id of this run of the machine; 0 where `/proc` does not say.
///
/// Deserialised, it is the id of the run that goes on, or an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Boot(u128);

impl Boot {
    /// Read once a process.
    pub(crate) fn current() -> Boot {
        static ID: OnceLock<Boot> = OnceLock::new();
        *ID.get_or_init(|| {
            let text =
                std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
            let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
            Boot(u128::from_str_radix(&digits, 16).unwrap_or(0))
        })
    }

    /// What is not known is no proof.
    fn check(self, now: Boot) -> Result<(), Error> {
        if self == now || self == Boot(0) || now == Boot(0) {
            return Ok(());
        }
        Err(Error::OfAnotherBoot { made_in: self.to_string(), now: now.to_string() })
    }
}

/// As `/proc/sys/kernel/random/boot_id` writes it, without the dashes.
impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for Boot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Boot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let made_in = u128::from_str_radix(&text, 16).map(Boot).map_err(D::Error::custom)?;
        made_in.check(Boot::current()).map_err(D::Error::custom)?;
        Ok(Boot::current())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_no_proof_of_another_boot() {
        assert_ne!(Boot::current(), Boot(0), "this machine says which run it is in");
        assert!(Boot(0).check(Boot(7)).is_ok() && Boot(7).check(Boot(0)).is_ok());
        assert!(Boot(7).check(Boot(7)).is_ok());
        assert!(matches!(Boot(7).check(Boot(8)), Err(Error::OfAnotherBoot { .. })));
    }
}
