//! What a step changed, read off the pretty-printed states: no model needs code of its own for it.

use std::fmt::Debug;

/// The differences between two states, one `path: before → after` each.
pub(super) fn changes<S: Debug>(before: &S, after: &S) -> Vec<String> {
    let before = leaves(&format!("{before:#?}"));
    let after = leaves(&format!("{after:#?}"));
    let mut found = Vec::new();
    for (path, old) in &before {
        match value_at(&after, path) {
            Some(new) if new == old => {}
            Some(new) => found.push(format!("{path}: {old} → {new}")),
            None => found.push(format!("{path}: {old} → nothing")),
        }
    }
    for (path, new) in &after {
        if value_at(&before, path).is_none() {
            found.push(format!("{path}: nothing → {new}"));
        }
    }
    found
}

fn value_at<'a>(leaves: &'a [(String, String)], path: &str) -> Option<&'a String> {
    leaves.iter().find(|(at, _)| at == path).map(|(_, value)| value)
}

/// One open bracket of the pretty-printed text.
struct Open {
    path: String,
    /// Entries so far, which number the elements of a list.
    entries: usize,
}

/// Flattens `{:#?}` output to paths and values. A tuple, and with it an enum's payload, is one
/// value.
fn leaves(pretty: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let mut tuple: Option<(String, String, usize)> = None;
    for line in pretty.lines() {
        let text = line.trim().trim_end_matches(',');
        let opens = text.ends_with(['{', '[', '(']);
        let closes = matches!(text, "}" | "]" | ")");
        if let Some((_, value, depth)) = &mut tuple {
            append(value, text);
            *depth = (*depth + usize::from(opens)) - usize::from(closes);
            if *depth == 0 {
                found.extend(tuple.take().map(|(path, value, _)| (path, value)));
            }
        } else if closes {
            open.pop();
        } else {
            let (path, value) = entry(&mut open, text);
            if text.ends_with('(') {
                tuple = Some((path, value.to_owned(), 1));
            } else if opens {
                open.push(Open { path, entries: 0 });
            } else {
                found.push((path, value.to_owned()));
            }
        }
    }
    found
}

fn append(value: &mut String, text: &str) {
    if !value.ends_with(['(', '{', '[']) && !matches!(text, "}" | "]" | ")") {
        value.push_str(", ");
    }
    value.push_str(text);
}

/// Path and text of the value that begins on a line.
fn entry<'a>(open: &mut [Open], text: &'a str) -> (String, &'a str) {
    let Some(parent) = open.last_mut() else { return (String::new(), text) };
    let number = parent.entries;
    parent.entries += 1;
    match text.split_once(": ") {
        Some((name, value)) if parent.path.is_empty() => (name.to_owned(), value),
        Some((name, value)) => (format!("{}.{name}", parent.path), value),
        None => (format!("{}[{number}]", parent.path), text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    enum Word {
        Free,
        Claimed(u8, Option<u8>),
    }

    #[derive(Clone, Debug)]
    struct Line {
        word: Word,
        bell: bool,
    }

    #[derive(Clone, Debug)]
    struct State {
        lines: [Line; 2],
        deaths: u8,
    }

    fn state() -> State {
        let line = Line { word: Word::Free, bell: false };
        State { lines: [line.clone(), line], deaths: 1 }
    }

    #[test]
    fn a_change_names_the_field_its_place_and_both_values() {
        let mut after = state();
        after.deaths = 0;
        after.lines[1].word = Word::Claimed(3, Some(2));
        assert_eq!(
            changes(&state(), &after),
            ["lines[1].word: Free → Claimed(3, Some(2))", "deaths: 1 → 0"]
        );
    }

    #[test]
    fn nothing_is_said_where_nothing_changed() {
        let mut same = state();
        same.lines[0].bell = false;
        assert!(changes(&state(), &same).is_empty());
    }
}
