//! A worker's `tracing` events, written to standard error as lines that the parent takes apart.

use std::fmt::{Debug, Write as _};
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::events::{as_line, filter_of};

/// From now on events of this process go to the parent, up to this level; 0 for none.
pub(super) fn forward(level: u32) {
    if level > 0 {
        let forwarder = Forwarder { filter: filter_of(level), spans: AtomicU64::new(1) };
        // Fails where the program has set one already, which is then the one that counts.
        let _ = tracing::subscriber::set_global_default(forwarder);
    }
}

/// Sends events; spans are numbered and otherwise ignored.
struct Forwarder {
    filter: LevelFilter,
    spans: AtomicU64,
}

impl Subscriber for Forwarder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.filter
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.filter)
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        // Relaxed: numbers need only differ.
        Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed))
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let metadata = event.metadata();
        let line = as_line(*metadata.level(), metadata.target(), &(text.message + &text.fields));
        // One write, so that lines of other threads do not come between. A task may have closed
        // standard error: then there is nobody to tell.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// An event's message, and its other fields as ` name=value`.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message.push_str(value),
            name => {
                let _ = write!(self.fields, " {name}={value}");
            }
        }
    }
}
