//! What a worker keeps from task to task: loaded models, open files, connections.
//!
//! The pool's initializer makes it, in every worker, before the first task; tasks use it. It lives
//! in the worker alone and never crosses, so it may be anything: no serde, no `Send`.
//!
//! ```standalone_crate
//! use std::collections::HashMap;
//! use proc_pool::{Pool, task, worker_state};
//!
//! struct Dictionary(HashMap<String, u32>);
//!
//! #[task]
//! fn load(words: Vec<String>) {
//!     let numbered = words.into_iter().zip(0..).collect();
//!     worker_state::set(Dictionary(numbered));
//! }
//!
//! #[task(pure)]
//! fn look_up(word: String) -> Option<u32> {
//!     worker_state::with(|dictionary: &mut Dictionary| dictionary.0.get(&word).copied())
//! }
//!
//! #[proc_pool::main]
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let words = ["zero", "one", "two"].map(str::to_owned).to_vec();
//!     let pool = Pool::builder().workers(2).initializer(load, words).build()?;
//!     assert_eq!(pool.submit(look_up, "two".to_owned()).wait()?, Some(2));
//!     Ok(())
//! }
//! ```
//!
//! **When a worker is killed** its state is gone; the worker that takes its place makes its own.
//! What tasks changed in it is lost, so a pure task should not change what others read.

use std::any::{Any, TypeId, type_name};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

type Kept = Rc<RefCell<dyn Any>>;

thread_local! {
    static STATE: RefCell<BTreeMap<TypeId, Kept>> = const { RefCell::new(BTreeMap::new()) };
}

/// Keeps `state` in this worker; one value of each type. What was there of this type is dropped.
pub fn set<S: 'static>(state: S) {
    let kept: Kept = Rc::new(RefCell::new(state));
    let before = STATE.with_borrow_mut(|states| states.insert(TypeId::of::<S>(), kept));
    // Outside of the borrow: its drop may use other state.
    drop(before);
}

/// Whether this worker keeps a value of this type.
#[must_use]
pub fn has<S: 'static>() -> bool {
    STATE.with_borrow(|states| states.contains_key(&TypeId::of::<S>()))
}

/// Calls `use_it` with the worker's value of this type.
///
/// # Panics
///
/// When there is none: nobody called [`set`] in this process, on this thread (a worker runs
/// initializer and tasks on one). When `use_it` asks for the same type again. Inside a task, either
/// becomes its [`TaskError::Panicked`](crate::TaskError::Panicked).
pub fn with<S: 'static, R>(use_it: impl FnOnce(&mut S) -> R) -> R {
    let name = type_name::<S>();
    let kept = STATE.with_borrow(|states| states.get(&TypeId::of::<S>()).cloned());
    let Some(kept) = kept else {
        panic!("this worker keeps no {name}: let the pool's initializer call worker_state::set");
    };
    let Ok(mut kept) = kept.try_borrow_mut() else {
        panic!("the worker's {name} is in use already, further up on this thread");
    };
    match kept.downcast_mut::<S>() {
        Some(state) => use_it(state),
        // Kept under the identity of its own type.
        None => panic!("the worker's {name} is of another type"),
    }
}

/// The number of this worker, from 0 on; `None` in a process that is no worker.
///
/// A worker that takes the place of another has its number. In a group of actors it tells the
/// members apart.
#[must_use]
pub fn number() -> Option<usize> {
    crate::worker::number()
}

/// Drops everything: the worker ends in order.
pub(crate) fn clear() {
    let states = STATE.take();
    drop(states);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_value_of_each_type() {
        set(1_u8);
        set(String::from("one"));
        with(|number: &mut u8| *number += 1);
        set(7_u16);
        assert_eq!(with(|number: &mut u8| *number), 2);
        assert_eq!(with(|text: &mut String| text.clone()), "one");
        assert!(has::<u16>() && !has::<u32>());
        clear();
        assert!(!has::<u8>());
    }

    #[test]
    #[should_panic(expected = "keeps no u64")]
    fn a_missing_value_is_named() {
        with(|_: &mut u64| {});
    }

    #[test]
    fn state_may_use_other_state() {
        set(3_u8);
        set(5_u16);
        assert_eq!(with(|a: &mut u8| with(|b: &mut u16| u16::from(*a) + *b)), 8);
    }
}
