//! The matrix as text.

use std::fmt::Write as _;

use super::matrix::{Matrix, Outcome, Row};

pub(super) fn render(matrix: &Matrix) -> String {
    let mut text = String::new();
    for (name, report) in &matrix.models {
        let _ = writeln!(text, "model {name}: {report}");
    }
    let places: Vec<String> = matrix.rows.iter().map(place).collect();
    let widest = |cells: &mut dyn Iterator<Item = usize>| cells.max().unwrap_or(0);
    let place_width = widest(&mut places.iter().map(|cell| cell.chars().count()));
    let mutation_width = widest(&mut matrix.rows.iter().map(|row| row.mutation.chars().count()));
    for (row, place) in matrix.rows.iter().zip(&places) {
        let (mutation, verdict) = (&row.mutation, verdict(row));
        let _ = writeln!(text, "{place:<place_width$} | {mutation:<mutation_width$} | {verdict}");
    }
    let _ = writeln!(text, "{}", summary(matrix));
    text
}

pub(super) fn summary(matrix: &Matrix) -> String {
    let unreached = matrix.rows.len() - matrix.mutants();
    format!(
        "{} mutants, {} killed, {} survive; {unreached} places unreached; {:.1?}",
        matrix.mutants(),
        matrix.mutants() - matrix.survivors(),
        matrix.survivors(),
        matrix.elapsed
    )
}

fn place(row: &Row) -> String {
    format!("{}:{} {}", row.file, row.line, row.function)
}

fn verdict(row: &Row) -> String {
    let reason = row.reason.as_deref().unwrap_or("NO REASON GIVEN");
    match &row.outcome {
        Outcome::Killed { model, schedule, message, moved_up } => {
            let how = how(*moved_up);
            format!("killed by {model} at {schedule}{how} in {:.1?}: {message}", row.took)
        }
        Outcome::Survived => format!("SURVIVES: {reason}"),
        Outcome::Undecided => format!("UNDECIDED, a model was cut: {reason}"),
        Outcome::Unreached => format!("UNREACHED: {reason}"),
    }
}

/// By how many stores a mutant was moved up before a model noticed it.
pub(super) fn how(moved_up: usize) -> String {
    if moved_up == 0 { String::new() } else { format!(", moved up by {moved_up}") }
}
