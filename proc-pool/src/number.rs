//! Numbers as inputs and results: copied as they are, where other values are serialised.
//!
//! Alone and in chunks the same, since a quarantined argument is known by its bytes. A chunk may hold thousands of items that take nanoseconds each, and most of what an item costs is
//! then its serialisation. Parent and worker are the same build, so both know which types these are.

use std::any::Any;

/// For each type of number: does `$body` with the type's name as `$number`.
macro_rules! for_each_number {
    ($number:ident => $body:block) => {
        for_each_number!(
            $number => $body,
            u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64
        )
    };
    ($number:ident => $body:block, $($type:ident)*) => {
        $({
            type $number = $type;
            $body
        })*
    };
}

/// What `f` makes of the bytes of a number; `None` where the value is none.
///
/// The type is known when this is compiled, so that one branch is left of all.
#[inline]
pub(crate) fn with_bytes<V: 'static, R>(value: &V, f: impl FnOnce(&[u8]) -> R) -> Option<R> {
    let value: &dyn Any = value;
    for_each_number!(Number => {
        if let Some(number) = value.downcast_ref::<Number>() {
            return Some(f(&number.to_ne_bytes()));
        }
    });
    None
}

/// The number of these bytes; `None` where `V` is no type of number, or has another size.
#[inline]
pub(crate) fn from_bytes<V: 'static>(bytes: &[u8]) -> Option<V> {
    let mut value: Option<V> = None;
    let place: &mut dyn Any = &mut value;
    for_each_number!(Number => {
        if let Some(place) = place.downcast_mut::<Option<Number>>() {
            *place = bytes.try_into().ok().map(Number::from_ne_bytes);
            return value;
        }
    });
    None
}

/// Whether values of this type are numbers.
#[inline]
pub(crate) fn is_number<V: 'static>() -> bool {
    let nothing: Option<V> = None;
    let nothing: &dyn Any = &nothing;
    for_each_number!(Number => {
        if nothing.is::<Option<Number>>() {
            return true;
        }
    });
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back<V: PartialEq + Copy + 'static>(value: V) -> bool {
        let bytes = with_bytes(&value, <[u8]>::to_vec);
        is_number::<V>() && bytes.is_some_and(|bytes| from_bytes(&bytes) == Some(value))
    }

    #[test]
    fn numbers_survive_as_their_bytes() {
        assert!(there_and_back(u64::MAX) && there_and_back(-3_i8) && there_and_back(1.5_f32));
        assert!(there_and_back(i128::MIN) && there_and_back(-0.0_f64) && there_and_back(7_usize));
    }

    #[test]
    fn what_has_bytes_that_are_no_value_is_no_number() {
        assert!(!is_number::<bool>() && !is_number::<char>() && !is_number::<(u8, u8)>());
        assert_eq!(with_bytes(&true, <[u8]>::to_vec), None);
        assert_eq!(from_bytes::<bool>(&[1]), None);
    }

    #[test]
    fn half_a_number_is_none() {
        assert_eq!(from_bytes::<u32>(&[1, 2, 3]), None);
        assert_eq!(from_bytes::<u32>(&[1, 2, 3, 4, 5]), None);
    }
}
