//! Where a worker panicked: addresses taken there, names found here, and only when they are asked
//! for.
//!
//! Taking addresses costs some tens of microseconds; finding the first name reads the program's
//! debug information, tens of milliseconds. Worker and parent are the same build, so an address is
//! sent as its distance from a place in the program that both know.

use std::ffi::c_void;
use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Frames that are kept, at most.
const MOST: usize = 128;

/// Where a task panicked: the calls that led there, the innermost first.
///
/// Its text looks like that of [`std::backtrace::Backtrace`], without what belongs to the panic
/// itself and to the worker. Names of functions take the program's table of symbols, source lines
/// its debug information (`debug = "line-tables-only"` suffices).
///
/// ```standalone_crate
/// use proc_pool::{Pool, TaskError, task};
///
/// #[task]
/// fn divide(a: u32, b: u32) -> u32 {
///     a / b
/// }
///
/// #[proc_pool::main]
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let pool = Pool::builder().workers(1).build()?;
///     match pool.submit(divide, (1, 0)).wait() {
///         Err(TaskError::Panicked { frames, .. }) => println!("{frames}"),
///         other => panic!("{other:?}"),
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PanicFrames {
    /// Distances from [`place`].
    offsets: Vec<i64>,
}

/// One call of [`PanicFrames`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PanicFrame {
    /// The function, if its name is known.
    pub function: Option<String>,
    /// The source file.
    pub file: Option<String>,
    /// The line in it.
    pub line: Option<u32>,
}

/// Is at the same place of the program in every process of the same build.
fn place() -> i64 {
    place as *const () as usize as i64
}

impl PanicFrames {
    /// The calls that this thread is in.
    pub(crate) fn here() -> PanicFrames {
        let mut offsets = Vec::with_capacity(32);
        backtrace::trace(|frame| {
            offsets.push((frame.ip() as usize as i64).wrapping_sub(place()));
            offsets.len() < MOST
        });
        PanicFrames { offsets }
    }

    /// Names and source lines, the innermost call first. Costs tens of milliseconds the first time
    /// in a process that has debug information.
    ///
    /// Empty when the panic's frames are not known: when the program was built with
    /// `panic = "abort"`, say, and the worker's death carries its last words instead.
    #[must_use]
    pub fn resolve(&self) -> Vec<PanicFrame> {
        let program = program();
        let mut found = Vec::new();
        for offset in &self.offsets {
            let address = offset.wrapping_add(place()) as usize;
            // What is not the program's own code lies elsewhere in every process.
            if program.iter().any(|range| range.contains(&address)) {
                resolve(address, &mut found);
            }
        }
        of_task(&found).to_vec()
    }
}

/// Adds the calls at an address of this process: several where functions were inlined.
fn resolve(address: usize, found: &mut Vec<PanicFrame>) {
    let before = found.len();
    backtrace::resolve(address as *mut c_void, |symbol| {
        found.push(PanicFrame {
            function: symbol.name().map(|name| format!("{name:#}")),
            file: symbol.filename().map(|file| file.display().to_string()),
            line: symbol.lineno(),
        });
    });
    if found.len() == before {
        found.push(PanicFrame::default());
    }
}

/// Addresses of the program's code in this process.
fn program() -> Vec<Range<usize>> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let range = |line: &str| {
        let (start, rest) = line.split_once('-')?;
        let end = rest.split(' ').next()?;
        Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
    };
    let file = |line: &str| line.splitn(6, ' ').nth(5).map(|file| file.trim().to_owned());
    let own = place() as usize;
    let is_own = |line: &&str| range(line).is_some_and(|range| range.contains(&own));
    let Some(program) = maps.lines().find(is_own).and_then(file) else { return Vec::new() };
    let of_program = |line: &&str| file(line).as_deref() == Some(&program);
    maps.lines().filter(of_program).filter_map(range).collect()
}

/// Without the machinery of panics at the beginning and that of workers at the end.
fn of_task(all: &[PanicFrame]) -> &[PanicFrame] {
    let name = |frame: &PanicFrame| frame.function.clone().unwrap_or_default();
    let is_panic = |frame: &PanicFrame| {
        let name = name(frame);
        let parts = ["rust_begin_unwind", "begin_panic", "panic_with_hook", "_failed"];
        name.starts_with("core::panicking::") || parts.iter().any(|part| name.contains(part))
    };
    let is_worker = |frame: &PanicFrame| {
        let name = name(frame);
        name.starts_with("proc_pool::codec::run") || name.starts_with("proc_pool::worker::")
    };
    // Where the standard library's own traces begin as well: the hook comes before.
    let is_mark = |frame: &PanicFrame| name(frame).contains("__rust_end_short_backtrace");
    let begin = all.iter().position(is_mark).map_or(0, |mark| mark + 1);
    let begin = begin + all[begin..].iter().take_while(|frame| is_panic(frame)).count();
    let end = all[begin..].iter().position(is_worker).map_or(all.len(), |length| begin + length);
    &all[begin..end]
}

impl fmt::Display for PanicFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, frame) in self.resolve().iter().enumerate() {
            let name = frame.function.as_deref().unwrap_or("<unknown>");
            writeln!(f, "{number:4}: {name}")?;
            if let (Some(file), Some(line)) = (&frame.file, frame.line) {
                writeln!(f, "             at {file}:{line}")?;
            }
        }
        Ok(())
    }
}

/// Short, and without looking for names.
impl fmt::Debug for PanicFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PanicFrames({})", self.offsets.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn somewhere() -> PanicFrames {
        std::hint::black_box(PanicFrames::here())
    }

    #[test]
    fn frames_find_their_names_again() {
        let frames = somewhere();
        let names: Vec<String> =
            frames.resolve().into_iter().filter_map(|frame| frame.function).collect();
        assert!(names.iter().any(|name| name.contains("frames::tests::somewhere")), "{names:#?}");
    }

    #[test]
    fn addresses_outside_of_the_program_have_no_names() {
        let frames = PanicFrames { offsets: vec![i64::MAX, i64::MIN, 1 << 45] };
        assert_eq!(frames.resolve(), []);
    }
}
