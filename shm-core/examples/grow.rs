//! A segment that becomes larger under two processes, at the same address in each.
//!
//! ```console
//! cargo run -p shm-core --example grow
//! ```

use std::error::Error;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use shm_core::{Scope, Segment};

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    match std::env::args().nth(1) {
        Some(name) => child(&name),
        None => parent(),
    }
}

/// Starts small, lets a child make it larger, and finds what the child put there.
fn parent() -> Outcome {
    let scope = Scope::new(); // takes the name away at the end of this block, even by a panic
    let name = format!("example-grow-{}", std::process::id());
    let segment = scope.create_with(&name, Segment::options().size(4096).maximum(1 << 30))?;
    let before = segment.data();
    let done = Command::new(std::env::current_exe()?).arg(&name).status()?;
    assert!(done.success());
    assert_eq!(segment.data(), before);
    println!("grown to {} bytes by the child", segment.size());
    println!("its last word is {}", last_word(&segment)?.load(Ordering::Acquire));
    Ok(())
}

fn child(name: &str) -> Outcome {
    let segment = Segment::open(name)?;
    segment.grow(1 << 20)?;
    // Release: pairs with the Acquire in `parent`.
    last_word(&segment)?.store(42, Ordering::Release);
    Ok(())
}

fn last_word(segment: &Segment) -> Result<&AtomicU64, Box<dyn Error>> {
    let at = segment.size().checked_sub(8).ok_or("too small")?;
    let word = segment.data().as_ptr().wrapping_add(at).cast::<u64>();
    if !word.is_aligned() {
        return Err("its size is no multiple of 8".into());
    }
    // SAFETY: within the segment, aligned, mapped while it is borrowed, used as an atomic only.
    Ok(unsafe { AtomicU64::from_ptr(word) })
}
