//! The matrix as one self-contained page.

use std::fmt::Write as _;

use super::matrix::{Matrix, Outcome, Row};
use super::text;

const STYLE: &str = "body{font:15px/1.4 system-ui,sans-serif;margin:2em;color:#222}\
table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:.25em .6em;text-align:left;\
vertical-align:top}code{font-size:13px}.killed{background:#e9f6e9}.survived{background:#fdecea}\
.unreached{background:#fff6dc}";

pub(super) fn render(matrix: &Matrix, title: &str) -> String {
    let title = escape(title);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\
         <title>{title}</title><style>{STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n<p>{}</p>\n",
        escape(&text::summary(matrix))
    );
    page.push_str("<h2>Models, unchanged</h2>\n<ul>\n");
    for (name, report) in &matrix.models {
        let _ = writeln!(
            page,
            "<li><code>{}</code>: {}</li>",
            escape(name),
            escape(&report.to_string())
        );
    }
    page.push_str(
        "</ul>\n<h2>Mutants</h2>\n<table>\n<tr><th>place</th><th>function</th><th>source</th>\
         <th>mutation</th><th>verdict</th><th>schedule</th><th>found, or reason</th>\
         <th>time</th></tr>\n",
    );
    for row in &matrix.rows {
        page.push_str(&table_row(row));
    }
    page.push_str("</table>\n</body>\n</html>\n");
    page
}

fn table_row(row: &Row) -> String {
    let reason = row.reason.as_deref().unwrap_or("no reason given");
    let (class, verdict, schedule, note) = match &row.outcome {
        Outcome::Killed { model, schedule, message, moved_up } => {
            let how = text::how(*moved_up);
            ("killed", format!("killed by {model}{how}"), schedule.as_str(), message.as_str())
        }
        Outcome::Survived => ("survived", "survives".to_owned(), "", reason),
        Outcome::Undecided => ("survived", "undecided: a model was cut".to_owned(), "", reason),
        Outcome::Unreached => ("unreached", "no model gets here".to_owned(), "", reason),
    };
    format!(
        "<tr class=\"{class}\"><td>{}:{}</td><td><code>{}</code></td><td><code>{}</code></td>\
         <td>{}</td><td>{}</td><td><code>{}</code></td><td>{}</td><td>{:.1?}</td></tr>\n",
        escape(&row.file),
        row.line,
        escape(&row.function),
        escape(&row.source),
        escape(&row.mutation),
        escape(&verdict),
        escape(schedule),
        escape(note),
        row.took
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
