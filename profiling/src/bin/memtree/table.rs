//! Text in columns.

/// Rows whose first column stands to the left and all others to the right.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with this head.
    pub fn new<S: Into<String>>(head: impl IntoIterator<Item = S>) -> Self {
        let mut table = Self::default();
        table.row(head);
        table
    }

    /// Adds a row.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(|cell| printable(&cell.into())).collect());
    }

    /// The lines, each no wider than `width` characters: the first column gives way.
    pub fn lines(&self, width: usize) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widest = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let others: Vec<usize> = (1..columns).map(widest).collect();
        let taken: usize = others.iter().map(|width| width + 2).sum();
        let first = widest(0).min(width.saturating_sub(taken).max(8));
        self.rows.iter().map(|row| cut(&line(row, first, &others), width)).collect()
    }
}

fn line(row: &[String], first: usize, others: &[usize]) -> String {
    let empty = String::new();
    let mut line = format!("{:<first$}", cut(row.first().unwrap_or(&empty), first));
    for (index, width) in others.iter().enumerate() {
        let cell = row.get(index + 1).unwrap_or(&empty);
        line += &format!("  {cell:>width$}");
    }
    line.trim_end().to_owned()
}

/// The first so many characters; where some are lost, the last of them is a sign for it.
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    if width == 0 { kept } else { kept + "\u{2026}" }
}

/// A name from outside cannot command the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { '\u{fffd}' } else { it }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_to_the_left_and_figures_to_the_right() {
        let mut table = Table::new(["", "own"]);
        table.row(["a process", "1.0 MiB"]);
        assert_eq!(table.lines(80), ["               own", "a process  1.0 MiB"]);
    }

    #[test]
    fn a_narrow_terminal_cuts_names_before_figures() {
        let mut table = Table::new(["", "own"]);
        table.row(["a process with a long name", "1.0 MiB"]);
        assert_eq!(table.lines(20)[1], "a process \u{2026}  1.0 MiB");
        assert!(table.lines(5).iter().all(|line| line.chars().count() <= 5));
    }

    #[test]
    fn a_name_cannot_command_the_terminal() {
        let mut table = Table::default();
        table.row(["\u{1b}[2Jevil"]);
        assert_eq!(table.lines(80), ["\u{fffd}[2Jevil"]);
    }
}
