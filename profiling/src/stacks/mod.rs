//! Bytes by where they come from: stacks with weights, for flamegraphs, tables and other tools.

mod folded;
#[cfg(feature = "pprof")]
mod pprof;
#[cfg(feature = "symbols")]
mod symbols;
mod tree;

use std::collections::HashMap;

use crate::process::ProcessMemory;
use crate::timeline::{Peak, Timeline};
#[cfg(feature = "symbols")]
pub use symbols::Symbols;
pub(crate) use tree::FlameNode;

/// One level of a stack: a function of a program, or a process, or a kind of memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Frame {
    /// What it is called.
    pub name: String,
    /// The source file, where it is known.
    pub file: Option<String>,
    /// The line in that file, counted from 1.
    pub line: Option<u32>,
}

impl Frame {
    /// A frame without a place in any source.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), file: None, line: None }
    }
}

/// So many bytes that come from one place.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct WeightedStack {
    /// Who called whom, the outermost first.
    pub frames: Vec<Frame>,
    /// Bytes.
    pub bytes: u64,
    /// Blocks, where they are known; else 0.
    pub blocks: u64,
    /// The process, where it is one process's.
    pub pid: Option<u32>,
    /// The task or scope that allocated it, where one was named.
    pub tag: Option<String>,
}

/// The bytes of one source line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LineBytes {
    /// The source file.
    pub file: String,
    /// The line in it, counted from 1.
    pub line: u32,
    /// The function, or the first of those that the line belongs to (a closure, say).
    pub function: String,
    /// Bytes.
    pub bytes: u64,
    /// Blocks.
    pub blocks: u64,
}

/// Weighted stacks of one instant.
///
/// ```
/// use profiling::{Sampler, Stacks};
///
/// let timeline = Sampler::builder(std::process::id()).start()?.stop();
/// let stacks = Stacks::at_peak(&timeline);
/// assert_eq!(stacks.bytes(), timeline.peak_bytes());
/// print!("{}", stacks.folded());
/// # Ok::<(), profiling::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Stacks {
    /// The stacks; one place may be in it several times.
    pub stacks: Vec<WeightedStack>,
}

impl Stacks {
    /// The tree at its combined peak, by process and kind of memory: a process stands on its
    /// parent, shared segments stand apart, once each. Adds up to the combined peak.
    pub fn at_peak(timeline: &Timeline) -> Self {
        let stacks = timeline.peak.as_ref().map(|peak| of_state(timeline, peak));
        Self { stacks: stacks.unwrap_or_default() }
    }

    /// All bytes.
    pub fn bytes(&self) -> u64 {
        self.stacks.iter().fold(0, |sum, stack| sum.saturating_add(stack.bytes))
    }

    /// The bytes of each source line, the greatest first: those of the innermost frame whose
    /// source `is_ours` accepts (by the path of its file), or of the innermost with a source.
    pub fn by_line(&self, is_ours: impl Fn(&str) -> bool) -> Vec<LineBytes> {
        let mut lines: HashMap<(&str, u32), LineBytes> = HashMap::new();
        for stack in &self.stacks {
            let Some(frame) = place_of(&stack.frames, &is_ours) else { continue };
            let (Some(file), Some(line)) = (&frame.file, frame.line) else { continue };
            let sum = lines.entry((file, line)).or_insert_with(|| LineBytes {
                file: file.clone(),
                line,
                function: frame.name.clone(),
                bytes: 0,
                blocks: 0,
            });
            sum.bytes = sum.bytes.saturating_add(stack.bytes);
            sum.blocks = sum.blocks.saturating_add(stack.blocks);
        }
        let mut lines: Vec<LineBytes> = lines.into_values().collect();
        lines.sort_by(|one, other| {
            let place = |line: &LineBytes| (line.file.clone(), line.line);
            other.bytes.cmp(&one.bytes).then_with(|| place(one).cmp(&place(other)))
        });
        lines
    }

    /// The bytes and blocks of each tag, the greatest first; `None` for what had none.
    pub fn by_tag(&self) -> Vec<(Option<&str>, u64, u64)> {
        let mut tags: HashMap<Option<&str>, (u64, u64)> = HashMap::new();
        for stack in &self.stacks {
            let (bytes, blocks) = tags.entry(stack.tag.as_deref()).or_default();
            *bytes = bytes.saturating_add(stack.bytes);
            *blocks = blocks.saturating_add(stack.blocks);
        }
        let mut tags: Vec<_> =
            tags.into_iter().map(|(tag, (bytes, blocks))| (tag, bytes, blocks)).collect();
        tags.sort_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(&other.0)));
        tags
    }
}

/// Parts of a path that tell the sources of the language and of libraries from a program's own.
const NOT_OWN: [&str; 5] =
    ["/rustc/", "/rust/deps/", "/.cargo/registry/", "/rustlib/", "/usr/src/"];

/// Whether a source file is a program's own, by its path: not the standard library's, and not a
/// registry's. For [`Stacks::by_line`].
pub fn is_own_source(file: &str) -> bool {
    !NOT_OWN.iter().any(|part| file.contains(part))
}

/// The frame that bytes are booked on: the innermost with a source that `is_ours` accepts, or else
/// the innermost with any.
fn place_of<'a>(frames: &'a [Frame], is_ours: &impl Fn(&str) -> bool) -> Option<&'a Frame> {
    let known = || frames.iter().rev().filter(|frame| frame.file.is_some() && frame.line.is_some());
    let ours = known().find(|frame| frame.file.as_deref().is_some_and(is_ours));
    ours.or_else(|| known().next())
}

/// Everybody's memory at the peak.
fn of_state(timeline: &Timeline, peak: &Peak) -> Vec<WeightedStack> {
    let mut stacks = Vec::new();
    for process in &peak.state.processes {
        let frames = frames_of(timeline, peak, process);
        let tables = if process.borrows_parent { 0 } else { process.page_tables };
        let own = process.charged().saturating_sub(tables);
        for (kind, bytes) in [("anonymous memory", own), ("page tables", tables)] {
            let mut frames = frames.clone();
            frames.push(Frame::named(kind));
            let pid = Some(process.pid);
            stacks.push(WeightedStack { frames, bytes, blocks: 0, pid, tag: None });
        }
    }
    for segment in &peak.state.segments {
        let frames = vec![Frame::named("shared segments"), Frame::named(segment.title())];
        let bytes = segment.resident;
        stacks.push(WeightedStack { frames, bytes, blocks: 0, pid: None, tag: None });
    }
    stacks.retain(|stack| stack.bytes > 0);
    stacks
}

/// A process on its parent, and so on up to the root of the tree.
pub(crate) fn frames_of(timeline: &Timeline, peak: &Peak, process: &ProcessMemory) -> Vec<Frame> {
    let title = |process: &ProcessMemory| {
        let mut records = timeline.processes.iter();
        let record = records.find(|record| {
            (record.last.pid, record.last.start_ticks) == (process.pid, process.start_ticks)
        });
        record.map_or_else(|| process.name.clone(), |record| record.title())
    };
    let mut frames = vec![Frame::named(title(process))];
    let mut child = process;
    // As many steps as there are processes: a parent that names itself ends it too.
    for _ in 0..peak.state.processes.len() {
        let mut others = peak.state.processes.iter();
        let Some(parent) = others.find(|other| other.pid == child.parent) else { break };
        if parent.pid == child.pid {
            break;
        }
        frames.push(Frame::named(title(parent)));
        child = parent;
    }
    frames.reverse();
    frames
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::timeline::tests::two_halves;

    /// Three stacks: two in one line of ours, one in a library alone.
    pub(crate) fn some() -> Stacks {
        let frame = |name: &str, file: &str, line| Frame {
            name: name.to_owned(),
            file: Some(file.to_owned()),
            line: Some(line),
        };
        let stack = |frames: Vec<Frame>, bytes, blocks, tag: Option<&str>| WeightedStack {
            frames,
            bytes,
            blocks,
            pid: Some(10),
            tag: tag.map(str::to_owned),
        };
        let main = frame("main", "/ours/main.rs", 3);
        let push = frame("Vec<T>::push", "/library/vec.rs", 900);
        Stacks {
            stacks: vec![
                stack(vec![main.clone(), push.clone()], 100, 1, Some("load")),
                stack(vec![main.clone()], 50, 2, None),
                stack(vec![push], 30, 1, None),
            ],
        }
    }

    #[test]
    fn the_stacks_at_the_peak_add_up_to_it() {
        let timeline = two_halves();
        let stacks = Stacks::at_peak(&timeline);
        assert_eq!(stacks.bytes(), timeline.peak_bytes());
        let names = |stack: &WeightedStack| {
            stack.frames.iter().map(|frame| frame.name.clone()).collect::<Vec<_>>().join(";")
        };
        let names: Vec<String> = stacks.stacks.iter().map(names).collect();
        assert_eq!(
            names,
            [
                "main 10;anonymous memory",
                "main 10;worker <1>;anonymous memory",
                "shared segments;memfd:column"
            ]
        );
    }

    #[test]
    fn bytes_are_booked_on_the_innermost_line_of_ours() {
        let lines = some().by_line(|file| file.starts_with("/ours"));
        let lines: Vec<_> = lines.iter().map(|it| (it.file.as_str(), it.line, it.bytes)).collect();
        assert_eq!(lines, [("/ours/main.rs", 3, 150), ("/library/vec.rs", 900, 30)]);
    }

    #[test]
    fn of_two_lines_of_ours_the_inner_one_counts() {
        let mut stacks = some();
        let inner = Frame { line: Some(7), ..stacks.stacks[1].frames[0].clone() };
        stacks.stacks[1].frames.push(inner);
        let lines = stacks.by_line(|file| file.starts_with("/ours"));
        let lines: Vec<_> = lines.iter().map(|it| (it.line, it.bytes)).collect();
        assert_eq!(lines, [(3, 100), (7, 50), (900, 30)]);
    }

    #[test]
    fn bytes_are_summed_by_tag() {
        assert_eq!(some().by_tag(), [(Some("load"), 100, 1), (None, 80, 3)]);
    }
}
