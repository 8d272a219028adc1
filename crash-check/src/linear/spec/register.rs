//! A register with compare-and-swap.

use crate::linear::{Item, Process, Specification};

/// A register that starts at zero.
#[derive(Debug, Clone, Copy, Default)]
pub struct Register;

/// Operations of [`Register`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RegisterOp {
    /// Look.
    Read,
    /// Replace the value.
    Write(u64),
    /// Replace the value if it is the first, by the second.
    CompareAndSwap(u64, u64),
}

/// Responses of [`Register`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RegisterRet {
    /// What was read; for a failed compare-and-swap: what stood there instead.
    Value(u64),
    /// The write, or the swap, took effect.
    Done,
}

impl Specification for Register {
    type State = u64;
    type Op = RegisterOp;
    type Ret = RegisterRet;

    fn init(&self) -> u64 {
        0
    }

    fn step(&self, state: &u64, _: Process, op: &RegisterOp) -> Vec<(u64, RegisterRet)> {
        vec![match op {
            RegisterOp::Read => (*state, RegisterRet::Value(*state)),
            RegisterOp::Write(value) => (*value, RegisterRet::Done),
            RegisterOp::CompareAndSwap(expected, value) if expected == state => {
                (*value, RegisterRet::Done)
            }
            RegisterOp::CompareAndSwap(..) => (*state, RegisterRet::Value(*state)),
        }]
    }

    /// A write goes with the reads of its value. A swap ties two values together: while one is
    /// kept, no value is dropped.
    fn item(&self, op: &RegisterOp, ret: Option<&RegisterRet>) -> Item {
        match (op, ret) {
            (RegisterOp::Read, None) => Item::observation(),
            (_, Some(RegisterRet::Value(value))) => Item::observation().of(*value),
            (RegisterOp::Write(value), _) => Item::effect().of(*value),
            _ => Item::effect().pinning(),
        }
    }
}
