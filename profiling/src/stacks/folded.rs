//! Folded stacks: one line a stack, `outermost;…;innermost bytes`, as flamegraph tools read them.

use std::fmt::Write;

use super::{Frame, Stacks};

impl Stacks {
    /// One line a stack: names set apart by semicolons, a blank, and bytes. A semicolon or a line
    /// feed in a name becomes a colon or a blank.
    pub fn folded(&self) -> String {
        let mut text = String::new();
        for stack in &self.stacks {
            let names: Vec<String> = stack.frames.iter().map(name_of).collect();
            let _ = writeln!(text, "{} {}", names.join(";"), stack.bytes);
        }
        text
    }
}

fn name_of(frame: &Frame) -> String {
    frame.name.replace(';', ":").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stacks::WeightedStack;

    #[test]
    fn a_name_cannot_break_its_line() {
        let frames = vec![Frame::named("a;b"), Frame::named("c\nd")];
        let stack = WeightedStack { frames, bytes: 7, blocks: 0, pid: None, tag: None };
        assert_eq!(Stacks { stacks: vec![stack] }.folded(), "a:b;c d 7\n");
    }
}
