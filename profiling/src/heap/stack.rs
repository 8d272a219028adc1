//! A thread's stack, walked along its frame pointers.
//!
//! Each function that keeps a frame pointer begins with `push rbp; mov rbp, rsp`: the register
//! then points at the caller's, and the return address lies behind it. Four nanoseconds a frame,
//! no unwinder, no lock, safe in a signal handler. A function without a frame pointer is skipped,
//! or ends the walk where it uses the register for something else; what the walk reads is always
//! inside the thread's own stack, above the innermost frame.

use std::cell::Cell;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::MAX_FRAMES;
use super::format::WalkEnd;

/// The caller's frame pointer. 0 on machines that this crate knows no register of.
#[inline(always)]
pub(crate) fn frame_pointer() -> usize {
    let pointer: usize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: copies a register.
    unsafe {
        std::arch::asm!("mov {}, rbp", out(reg) pointer, options(nomem, nostack, preserves_flags));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: copies a register.
    unsafe {
        std::arch::asm!("mov {}, x29", out(reg) pointer, options(nomem, nostack, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        pointer = 0;
    }
    pointer
}

/// The bounds of a thread's stack, asked for once. `high` 0: not yet; `low > high`: unknown.
#[derive(Debug)]
pub(crate) struct Bounds {
    low: Cell<usize>,
    high: Cell<usize>,
}

impl Bounds {
    pub(crate) const fn new() -> Bounds {
        Bounds { low: Cell::new(0), high: Cell::new(0) }
    }

    /// The end of the calling thread's stack, if `pointer` is on it.
    fn end(&self, pointer: usize) -> Option<usize> {
        if self.high.get() == 0 {
            let (low, high) = ask().unwrap_or((usize::MAX, 1));
            self.low.set(low);
            self.high.set(high);
        }
        (self.low.get()..self.high.get()).contains(&pointer).then_some(self.high.get())
    }
}

/// Asks the C library, which reads `/proc/self/maps` for the first thread, with its own `malloc`.
fn ask() -> Option<(usize, usize)> {
    let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: any thread may ask for its own attributes.
    let this = unsafe { libc::pthread_self() };
    // SAFETY: the place is ours, and is initialised if the call returns 0.
    if unsafe { libc::pthread_getattr_np(this, attributes.as_mut_ptr()) } != 0 {
        return None;
    }
    let (mut low, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: the attributes were initialised above; both places are ours.
    let asked =
        unsafe { libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut low, &raw mut size) };
    // SAFETY: initialised above, and not used again.
    unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
    (asked == 0).then(|| (low as usize, low as usize + size))
}

/// Room for the frames of a walk; not initialised, since that would cost more than the walk.
pub(crate) type Room = [MaybeUninit<u64>; MAX_FRAMES];

/// Walks from `pointer`, a frame pointer of the calling thread; the return addresses, innermost
/// first, and why it ended.
pub(crate) fn walk<'a>(
    bounds: &Bounds,
    pointer: usize,
    into: &'a mut Room,
) -> (&'a [u64], WalkEnd) {
    // The address of a local: where the stack is now.
    let here = black_box(&raw const *into) as usize;
    match bounds.end(here) {
        Some(high) => walk_within(here..high, pointer, into),
        None => (&[], WalkEnd::None),
    }
}

/// Walks a part of the calling thread's own stack.
#[inline(always)]
fn walk_within(part: Range<usize>, pointer: usize, into: &mut Room) -> (&[u64], WalkEnd) {
    let (mut low, mut pointer, mut count) = (part.start, pointer, 0);
    let end = loop {
        let Some(frame) = into.get_mut(count) else { break WalkEnd::Deep };
        if pointer == 0 {
            break WalkEnd::Zero;
        }
        if pointer < low || pointer > part.end - 16 || pointer % 8 != 0 {
            break WalkEnd::Outside;
        }
        let record = pointer as *const u64;
        // SAFETY: aligned, and 16 bytes from it are inside the calling thread's stack, above the
        // innermost frame: mapped and readable, whatever they mean.
        let caller = unsafe { record.read_volatile() };
        // SAFETY: the second word of the record, inside the same bounds.
        let back = unsafe { record.add(1) };
        // SAFETY: aligned and inside, as above.
        let address = unsafe { back.read_volatile() };
        if address == 0 {
            break WalkEnd::Zero;
        }
        frame.write(address);
        count += 1;
        (low, pointer) = (pointer + 16, caller as usize);
    };
    // SAFETY: the first `count` elements were written above.
    let frames = unsafe { into[..count].assume_init_ref() };
    (frames, end)
}

/// Does the code of the program keep frame pointers?
///
/// Generic, so that it is compiled together with the program, with its flags: `A` is the wrapped
/// allocator. Two known functions call each other, and the walk must find both.
pub(crate) fn self_test<A>() -> bool {
    outer::<A>(&Bounds::new())
}

#[inline(never)]
fn outer<A>(bounds: &Bounds) -> bool {
    // Not a tail call: the result is used afterwards.
    let found = black_box(middle::<A>(black_box(bounds)));
    black_box(found)
}

#[inline(never)]
fn middle<A>(bounds: &Bounds) -> bool {
    let found = black_box(inner::<A>(black_box(bounds)));
    black_box(found)
}

#[inline(never)]
fn inner<A>(bounds: &Bounds) -> bool {
    let mut room = [const { MaybeUninit::uninit() }; MAX_FRAMES];
    let (frames, _) = walk(bounds, frame_pointer(), &mut room);
    // None of the two is longer than this.
    let is_in = |address: u64, function: fn(&Bounds) -> bool| {
        (1..512).contains(&(address as usize).wrapping_sub(function as usize))
    };
    frames.len() >= 2 && is_in(frames[0], middle::<A>) && is_in(frames[1], outer::<A>)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames on this thread's own stack, as functions make them: each `[caller's frame, return
    /// address]`, linked by `caller`.
    fn walked(frames: usize, last: impl Fn(usize) -> u64) -> (Vec<u64>, WalkEnd) {
        let mut records = [[0u64; 2]; MAX_FRAMES + 2];
        let base = records.as_ptr() as u64;
        for (nth, record) in records[..frames].iter_mut().enumerate() {
            *record = [base + 16 * (nth as u64 + 1), 0x1000 + nth as u64];
        }
        records[frames - 1][0] = last(base as usize);
        let mut room = [const { MaybeUninit::uninit() }; MAX_FRAMES];
        let (found, end) = walk_above(base as usize, black_box(&records), &mut room);
        (found.to_vec(), end)
    }

    /// The walk of the part of this thread's stack that lies above the records' first word.
    fn walk_above<'a>(
        low: usize,
        records: &[[u64; 2]],
        into: &'a mut Room,
    ) -> (&'a [u64], WalkEnd) {
        let bounds = Bounds::new();
        let high = bounds.end(black_box(&raw const bounds) as usize).unwrap();
        walk_within(low..high, records.as_ptr() as usize, into)
    }

    #[test]
    fn a_chain_of_frames_is_walked_to_its_end() {
        let (frames, end) = walked(5, |_| 0);
        assert_eq!((frames, end), (vec![0x1000, 0x1001, 0x1002, 0x1003, 0x1004], WalkEnd::Zero));
    }

    #[test]
    fn a_frame_pointer_that_leads_away_ends_the_walk() {
        for astray in [|_| 12345, |base| base as u64, |base| base as u64 + 83, |_| u64::MAX - 7] {
            let (frames, end) = walked(5, astray);
            assert_eq!((frames.len(), end), (5, WalkEnd::Outside));
        }
    }

    #[test]
    fn a_stack_that_is_too_deep_is_cut_off() {
        let (frames, end) = walked(MAX_FRAMES + 1, |_| 0);
        assert_eq!((frames.len(), end), (MAX_FRAMES, WalkEnd::Deep));
    }

    #[test]
    fn a_stack_that_is_not_the_threads_own_is_not_walked() {
        let elsewhere = Bounds::new();
        elsewhere.low.set(4096);
        elsewhere.high.set(8192);
        let mut room = [const { MaybeUninit::uninit() }; MAX_FRAMES];
        let (frames, end) = walk(&elsewhere, frame_pointer(), &mut room);
        assert_eq!((frames.len(), end), (0, WalkEnd::None));
    }
}
