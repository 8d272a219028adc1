//! A flamegraph as plain HTML boxes: it shrinks with the page, and reads without a script.

use std::fmt::Write;

use super::amount;
use super::escape::Escaped;
use crate::stacks::{FlameNode, Stacks};
use crate::units;

/// The height of a row, as in the style.
const ROW: usize = 20;
/// Boxes narrower than this part of the whole are not drawn.
const NARROWEST: f64 = 0.0005;
/// Rows below this are not drawn.
const DEEPEST: usize = 96;
/// So many colours there are.
const COLOURS: u32 = 8;

/// One flamegraph under its name, the root on top.
pub(super) fn figure(name: &str, stacks: &Stacks) -> String {
    let root = FlameNode::of(stacks);
    if root.bytes == 0 {
        return format!(
            "<figure class=\"graph\">\n<figcaption><h3>{}</h3><p>No bytes.</p></figcaption>\n</figure>\n",
            Escaped(name)
        );
    }
    let mut drawing = Drawing { whole: root.bytes, boxes: String::new(), rows: 0, omitted: 0 };
    drawing.draw(&root, 0, 0);
    let note = match drawing.omitted {
        0 => String::new(),
        bytes => format!("<p class=\"lead\">too narrow to draw: {}</p>\n", amount(bytes)),
    };
    format!(
        "<figure class=\"graph\">\n<figcaption><h3>{name}</h3><p><b>{total}</b></p></figcaption>\n\
         <div class=\"flame\" style=\"height:{height}px\">\n{boxes}</div>\n{note}</figure>\n",
        name = Escaped(name),
        total = amount(root.bytes),
        height = (drawing.rows + 1) * ROW,
        boxes = drawing.boxes,
    )
}

struct Drawing {
    whole: u64,
    boxes: String,
    rows: usize,
    /// Bytes of the boxes that were left out though what they stand on was drawn.
    omitted: u64,
}

impl Drawing {
    /// Draws a box that begins after `before` bytes, and all that stands on it.
    fn draw(&mut self, node: &FlameNode, before: u64, row: usize) {
        let share = |bytes: u64| bytes as f64 / self.whole as f64;
        if share(node.bytes) < NARROWEST || row > DEEPEST {
            self.omitted = self.omitted.saturating_add(node.bytes);
            return;
        }
        self.rows = self.rows.max(row);
        let place = match &node.place {
            Some((file, line)) => format!(" \u{2013} {file}:{line}"),
            None => String::new(),
        };
        let _ = writeln!(
            self.boxes,
            "<div class=\"f{colour}\" style=\"left:{left:.3}%;width:{width:.3}%;top:{top}px\" \
             title=\"{name}{place}: {bytes}, {percent:.1} %\">{name}</div>",
            colour = colour(&node.name),
            left = 100.0 * share(before),
            width = 100.0 * share(node.bytes),
            top = row * ROW,
            name = Escaped(&node.name),
            place = Escaped(&place),
            bytes = units::bytes(node.bytes),
            percent = 100.0 * share(node.bytes),
        );
        let mut before = before;
        for child in &node.children {
            self.draw(child, before, row + 1);
            before = before.saturating_add(child.bytes);
        }
    }
}

/// The same name has the same colour everywhere (FNV-1a).
fn colour(name: &str) -> u32 {
    let hash = name
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash >> 8) % COLOURS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stacks::tests::some;
    use crate::stacks::{Frame, WeightedStack};

    #[test]
    fn boxes_are_as_wide_as_their_bytes_and_lie_side_by_side() {
        let html = figure("live <bytes>", &some());
        assert!(html.contains("live &lt;bytes&gt;"));
        assert!(html.contains("left:0.000%;width:83.333%;top:20px"), "main: {html}");
        assert!(html.contains("left:83.333%;width:16.667%;top:20px"), "{html}");
        assert!(html.contains("Vec&lt;T&gt;::push \u{2013} /library/vec.rs:900: 100 B, 55.6 %"));
    }

    #[test]
    fn what_is_too_narrow_is_summed_up() {
        let stack = |name: &str, bytes| WeightedStack {
            frames: vec![Frame::named(name)],
            bytes,
            blocks: 0,
            pid: None,
            tag: None,
        };
        let stacks = Stacks { stacks: vec![stack("wide", 1 << 20), stack("narrow", 100)] };
        let html = figure("", &stacks);
        assert!(!html.contains("narrow:"), "{html}");
        assert!(html.contains("too narrow to draw: <span title=\"100 bytes\">100 B"), "{html}");
    }

    #[test]
    fn a_graph_of_nothing_says_so() {
        assert!(figure("x", &Stacks::default()).contains("No bytes."));
    }
}
