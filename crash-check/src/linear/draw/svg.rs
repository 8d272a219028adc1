//! The picture as a self-contained SVG document.

use crate::linear::chart::{Chart, Line, Mark, Row};
use std::fmt::Write;

/// Sizes in pixels.
const ROW: usize = 26;
const LEFT: usize = 60;
const TOP: usize = 80;
/// The least width of a column, and what a character takes, about.
const COLUMN: usize = 160;
const CHARACTER: usize = 8;

const WHY: &str = "no order explains this";

const STYLE: &str = "text{font:13px monospace;fill:#222}.head{font-weight:bold}\
    .faint{fill:#888}.bad{fill:#b00020;font-weight:bold}\
    .open{stroke:#3465a4;stroke-width:6;stroke-linecap:round}\
    .pending{stroke:#c17d11;stroke-width:4;stroke-dasharray:2 7;stroke-linecap:round}\
    .grid{stroke:#eee}";

impl Chart {
    /// A document that needs nothing else: no script, no font, no other file.
    pub fn to_svg(&self, headline: &str) -> String {
        let column = self.column_width();
        let margin = x(self.columns.len(), column);
        let headline_width = 20 + CHARACTER * headline.chars().count();
        let width = headline_width.max(margin + CHARACTER * WHY.len() + 20);
        let height = TOP + ROW * (self.rows.len() + 1);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\">\n<style>{STYLE}</style>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
        );
        text(&mut svg, (10, 24), "bad", headline);
        for (nth, process) in self.columns.iter().enumerate() {
            text(&mut svg, (x(nth, column), TOP - 20), "head", &process.to_string());
        }
        self.lines_to_svg(&mut svg, column);
        for (index, row) in self.rows.iter().enumerate() {
            row.to_svg(&mut svg, y(index), column);
            if row.blocked {
                text(&mut svg, (margin, y(index) + 4), "bad", WHY);
            }
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// So wide that no label runs into the next column.
    fn column_width(&self) -> usize {
        let longest = self.rows.iter().map(|row| row.label.chars().count()).max().unwrap_or(0);
        COLUMN.max(CHARACTER * (longest + 2) + 24)
    }

    fn lines_to_svg(&self, svg: &mut String, width: usize) {
        for (index, lines) in self.lines().iter().enumerate() {
            for (column, line) in lines.iter().enumerate() {
                let class = match line {
                    Line::None => continue,
                    Line::Solid => "open",
                    Line::Dotted => "pending",
                };
                let (x, from, to) = (x(column, width), y(index), y(index + 1));
                // Writing to a string can not fail.
                let _ = writeln!(
                    svg,
                    "<line class=\"{class}\" x1=\"{x}\" y1=\"{from}\" x2=\"{x}\" y2=\"{to}\"/>"
                );
            }
        }
    }
}

impl Row {
    fn to_svg(&self, svg: &mut String, y: usize, width: usize) {
        text(svg, (10, y + 4), "faint", &self.event.to_string());
        let class = match self.mark {
            Mark::Kill { .. } => "bad",
            _ if self.blocked => "bad",
            Mark::Recovered | Mark::TooLate => "faint",
            Mark::Begin | Mark::End => "op",
        };
        let sign = match self.mark {
            Mark::End => "= ",
            Mark::Kill { .. } => "✗ ",
            Mark::Begin | Mark::Recovered | Mark::TooLate => "",
        };
        text(svg, (x(self.column, width) + 12, y + 4), class, &format!("{sign}{}", self.label));
    }
}

fn x(column: usize, width: usize) -> usize {
    LEFT + column * width
}

fn y(row: usize) -> usize {
    TOP + row * ROW
}

fn text(svg: &mut String, (x, y): (usize, usize), class: &str, what: &str) {
    let what = what.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(svg, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{what}</text>");
}
