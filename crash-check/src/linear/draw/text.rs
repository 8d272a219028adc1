//! The picture as text.

use crate::linear::chart::{Chart, Line, Mark, Row};

impl Mark {
    fn glyph(self) -> char {
        match self {
            Self::Begin => '┬',
            Self::End => '┴',
            Self::Kill { .. } => '✗',
            Self::Recovered => '○',
            Self::TooLate => '─',
        }
    }
}

impl Line {
    fn glyph(self) -> char {
        match self {
            Self::None => ' ',
            Self::Solid => '│',
            Self::Dotted => '┆',
        }
    }
}

impl Chart {
    /// One line an event: its index, and what happens in the column of its process.
    pub fn to_text(&self) -> String {
        let longest = self.rows.iter().map(|row| row.label.chars().count()).max().unwrap_or(0);
        let width = longest.max(6) + 4;
        let mut text = String::from("event");
        for process in &self.columns {
            text.push_str(&format!("  {:<width$}", process.to_string()));
        }
        let mut above = vec![Line::None; self.columns.len()];
        for (row, below) in self.rows.iter().zip(self.lines()) {
            text.truncate(text.trim_end().len());
            text.push('\n');
            text.push_str(&row.to_text(&above, width));
            above = below;
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    }
}

impl Row {
    fn to_text(&self, above: &[Line], width: usize) -> String {
        let mut text = format!("{:>5}", self.event);
        for (column, line) in above.iter().enumerate() {
            let cell = if column == self.column {
                format!("{} {}", self.mark.glyph(), self.label)
            } else {
                line.glyph().to_string()
            };
            text.push_str(&format!("  {cell:<width$}"));
        }
        if self.blocked {
            text.truncate(text.trim_end().len());
            text.push_str("   <-- no order explains this");
        }
        text
    }
}
