//! The trace of an execution: one line for each operation, in the order in which they were made.

use std::fmt::Write as _;
use std::panic::Location;
use std::sync::atomic::Ordering;

/// What a thread did.
#[derive(Debug, Clone, Copy)]
pub(super) enum Action {
    Load { order: Ordering },
    Store { order: Ordering },
    Rmw { name: &'static str, order: Ordering, before: u64 },
    Exchanged { order: Ordering, before: u64 },
    NotExchanged { order: Ordering, expected: u64 },
    Fence { name: &'static str },
    ReadCell,
    WriteCell,
    Slept,
    NotSlept,
    Roused { why: &'static str },
    Wake { woken: usize },
    Stamped,
    Released,
    Dropped,
    Died,
    Returned,
}

/// One line of a trace.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    pub(super) thread: usize,
    pub(super) action: Action,
    pub(super) at: Option<&'static Location<'static>>,
    pub(super) word: Option<usize>,
    pub(super) value: u64,
}

impl Event {
    pub(super) const fn bare(thread: usize, action: Action) -> Self {
        Self { thread, action, at: None, word: None, value: 0 }
    }

    pub(super) const fn at(self, at: &'static Location<'static>) -> Self {
        Self { at: Some(at), ..self }
    }

    pub(super) const fn on(self, word: usize, value: u64) -> Self {
        Self { word: Some(word), value, ..self }
    }
}

/// Lays the events out as lines: number, thread, operation, place in the source.
pub(super) fn render(names: &[&str], words: &[&Location<'_>], events: &[Event]) -> String {
    let mut text = String::new();
    let width = names.iter().map(|name| name.len()).max().unwrap_or(0);
    let used = |word: usize| events.iter().any(|event| event.word == Some(word));
    for (word, created) in words.iter().enumerate().filter(|(word, _)| used(*word)) {
        let _ = writeln!(text, "  word w{word} was made at {created}");
    }
    for (number, event) in events.iter().enumerate() {
        let name = names.get(event.thread).copied().unwrap_or("?");
        let what = describe(event);
        let place = event.at.map_or(String::new(), |at| format!("{}:{}", at.file(), at.line()));
        let line = format!("  {number:>3} {name:<width$} | {what:<44} {place}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn describe(event: &Event) -> String {
    let word = event.word.map_or(String::new(), |word| format!("w{word}"));
    let value = number(event.value);
    match event.action {
        Action::Load { order } => format!("{word} load {order:?} -> {value}"),
        Action::Store { order } => format!("{word} store {order:?} {value}"),
        Action::Rmw { name, order, before } => {
            format!("{word} {name} {order:?} {} => {value}", number(before))
        }
        Action::Exchanged { order, before } => {
            format!("{word} exchange {order:?} {} => {value}", number(before))
        }
        Action::NotExchanged { order, expected } => {
            format!("{word} exchange {order:?} wanted {}, is {value}", number(expected))
        }
        Action::Fence { name } => name.to_owned(),
        Action::ReadCell => "reads a cell".to_owned(),
        Action::WriteCell => "writes a cell".to_owned(),
        Action::Slept => format!("{word} sleeps at {value}"),
        Action::NotSlept => format!("{word} does not sleep: not {value}"),
        Action::Roused { why } => format!("{word} awake: {why}"),
        Action::Wake { woken } => format!("{word} wake, {woken} woken"),
        Action::Stamped => format!("{word} stamped by the kernel: {value}"),
        Action::Released => format!("{word} record lock released by the kernel"),
        Action::Dropped => format!("{word} (operation left out by a mutation)"),
        Action::Died => "DIES".to_owned(),
        Action::Returned => "returns".to_owned(),
    }
}

fn number(value: u64) -> String {
    if value < 4096 { value.to_string() } else { format!("{value:#x}") }
}
