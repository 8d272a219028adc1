//! Operations and responses as three words, for the log that several processes share.

use crate::linear::spec::{
    CounterOp, ItemOp, ItemRet, MutexOp, MutexRet, RegisterOp, RegisterRet, SemaphoreOp,
    SemaphoreRet,
};

/// A value that fits three words, whatever process wrote them.
///
/// ```
/// use crash_check::linear::Wire;
///
/// #[derive(Debug, PartialEq)]
/// enum Op {
///     Set(u64),
///     Clear,
/// }
///
/// impl Wire for Op {
///     fn to_wire(&self) -> [u64; 3] {
///         match self {
///             Op::Set(value) => [0, *value, 0],
///             Op::Clear => [1, 0, 0],
///         }
///     }
///     fn from_wire(words: [u64; 3]) -> Option<Self> {
///         match words {
///             [0, value, _] => Some(Op::Set(value)),
///             [1, ..] => Some(Op::Clear),
///             _ => None,
///         }
///     }
/// }
/// assert_eq!(Op::from_wire(Op::Set(7).to_wire()), Some(Op::Set(7)));
/// ```
pub trait Wire: Sized {
    /// The words.
    fn to_wire(&self) -> [u64; 3];
    /// The value, or `None` if the words are of none.
    fn from_wire(words: [u64; 3]) -> Option<Self>;
}

impl Wire for u64 {
    fn to_wire(&self) -> [u64; 3] {
        [*self, 0, 0]
    }
    fn from_wire([value, ..]: [u64; 3]) -> Option<Self> {
        Some(value)
    }
}

impl Wire for i64 {
    fn to_wire(&self) -> [u64; 3] {
        [self.cast_unsigned(), 0, 0]
    }
    fn from_wire([value, ..]: [u64; 3]) -> Option<Self> {
        Some(value.cast_signed())
    }
}

impl Wire for bool {
    fn to_wire(&self) -> [u64; 3] {
        [u64::from(*self), 0, 0]
    }
    fn from_wire([value, ..]: [u64; 3]) -> Option<Self> {
        (value < 2).then_some(value == 1)
    }
}

/// Enums of which each variant has a number and at most one `u64`.
macro_rules! wire {
    ($type:ident { $($number:literal $variant:ident $(($argument:ident))?),+ }) => {
        impl Wire for $type {
            fn to_wire(&self) -> [u64; 3] {
                match *self {
                    $($type::$variant $(($argument))? => [$number, 0 $(+ $argument)?, 0],)+
                }
            }
            fn from_wire([number, _word, _]: [u64; 3]) -> Option<Self> {
                match number {
                    $($number => Some($type::$variant $((wire!(@word $argument _word)))?),)+
                    _ => None,
                }
            }
        }
    };
    (@word $argument:ident $word:ident) => { $word };
}

wire!(ItemOp { 0 Push(item), 1 Pop });
wire!(ItemRet { 0 Pushed, 1 Full, 2 Popped(item), 3 Empty });
wire!(MutexOp { 0 Lock, 1 TryLock, 2 Unlock, 3 HolderDies });
wire!(MutexRet { 0 Locked, 1 OwnerDied, 2 Busy, 3 Unlocked, 4 NotOwner, 5 Released });
wire!(RegisterRet { 0 Value(value), 1 Done });
wire!(SemaphoreOp { 0 Acquire(permits), 1 TryAcquire(permits), 2 Release(permits), 3 HolderDies });
wire!(SemaphoreRet { 0 Done, 1 Unavailable, 2 NotHeld });

impl Wire for CounterOp {
    fn to_wire(&self) -> [u64; 3] {
        match self {
            Self::Add(amount) => [0, amount.cast_unsigned(), 0],
            Self::Get => [1, 0, 0],
        }
    }
    fn from_wire([number, amount, _]: [u64; 3]) -> Option<Self> {
        match number {
            0 => Some(Self::Add(amount.cast_signed())),
            1 => Some(Self::Get),
            _ => None,
        }
    }
}

impl Wire for RegisterOp {
    fn to_wire(&self) -> [u64; 3] {
        match *self {
            Self::Read => [0, 0, 0],
            Self::Write(value) => [1, value, 0],
            Self::CompareAndSwap(expected, value) => [2, expected, value],
        }
    }
    fn from_wire([number, first, second]: [u64; 3]) -> Option<Self> {
        match number {
            0 => Some(Self::Read),
            1 => Some(Self::Write(first)),
            2 => Some(Self::CompareAndSwap(first, second)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Debug;

    fn survives<T: Wire + PartialEq + Debug>(value: T) {
        assert_eq!(T::from_wire(value.to_wire()), Some(value));
    }

    #[test]
    fn every_operation_survives_the_wire_and_foreign_words_are_refused() {
        for ret in [ItemRet::Pushed, ItemRet::Full, ItemRet::Popped(9), ItemRet::Empty] {
            survives(ret);
        }
        for ret in [MutexRet::Locked, MutexRet::OwnerDied, MutexRet::Released] {
            survives(ret);
        }
        for op in [RegisterOp::Read, RegisterOp::Write(1), RegisterOp::CompareAndSwap(u64::MAX, 3)]
        {
            survives(op);
        }
        survives(ItemOp::Push(7));
        survives(CounterOp::Add(-3));
        survives(SemaphoreOp::Acquire(2));
        survives(true);
        assert_eq!(ItemOp::from_wire([2, 0, 0]), None);
        assert_eq!(bool::from_wire([2, 0, 0]), None);
    }
}
