//! Stacks merged into the tree that a flamegraph draws.

use super::Stacks;

/// One box of a flamegraph.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FlameNode {
    pub(crate) name: String,
    /// Where its source is, of the first stack that said so.
    pub(crate) place: Option<(String, u32)>,
    /// Its own bytes and those of all that stands on it.
    pub(crate) bytes: u64,
    /// What stands on it, the greatest first.
    pub(crate) children: Vec<FlameNode>,
}

impl FlameNode {
    /// The tree of all stacks under one root.
    pub(crate) fn of(stacks: &Stacks) -> Self {
        let mut root = Self { name: "all".to_owned(), ..Self::default() };
        for stack in &stacks.stacks {
            root.bytes = root.bytes.saturating_add(stack.bytes);
            let mut node = &mut root;
            for frame in &stack.frames {
                let place = frame.file.clone().zip(frame.line);
                node = node.child(&frame.name, place);
                node.bytes = node.bytes.saturating_add(stack.bytes);
            }
        }
        root.sort();
        root
    }

    fn child(&mut self, name: &str, place: Option<(String, u32)>) -> &mut Self {
        let known = self.children.iter().position(|child| child.name == name);
        let index = known.unwrap_or_else(|| {
            self.children.push(Self { name: name.to_owned(), place, ..Self::default() });
            self.children.len() - 1
        });
        &mut self.children[index]
    }

    fn sort(&mut self) {
        self.children.sort_by(|one, other| {
            other.bytes.cmp(&one.bytes).then_with(|| one.name.cmp(&other.name))
        });
        self.children.iter_mut().for_each(Self::sort);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stacks::tests::some;

    #[test]
    fn a_box_is_as_wide_as_all_that_stands_on_it() {
        let root = FlameNode::of(&some());
        assert_eq!((root.bytes, root.children.len()), (180, 2));
        let main = &root.children[0];
        assert_eq!((main.name.as_str(), main.bytes), ("main", 150));
        assert_eq!(main.place, Some(("/ours/main.rs".to_owned(), 3)));
        assert_eq!(main.children[0].bytes, 100);
    }
}
