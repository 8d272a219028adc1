//! The profile format of `pprof` (`profile.proto`), gzipped.
//!
//! The messages are the part of the project google/pprof that a profile with symbols
//! needs; field numbers are the format's own.

use std::collections::HashMap;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;

use super::{Frame, Stacks, WeightedStack};

#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(int64, tag = "14")]
    default_sample_type: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    /// The innermost location first.
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    label: Vec<Label>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(int64, tag = "1")]
    key: i64,
    #[prost(int64, tag = "2")]
    text: i64,
    #[prost(int64, tag = "3")]
    number: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "3")]
    system_name: i64,
    #[prost(int64, tag = "4")]
    filename: i64,
}

impl Stacks {
    /// The stacks as a gzipped pprof profile, for `go tool pprof` and the viewers that read its
    /// format. Sample types are `inuse_objects` and `inuse_space`; the labels `pid` and `task` say
    /// whose the bytes are.
    ///
    /// # Errors
    ///
    /// None in practice: the profile is written to memory.
    pub fn to_pprof(&self, taken: SystemTime, duration: Duration) -> std::io::Result<Vec<u8>> {
        let mut builder = Builder::new();
        for stack in &self.stacks {
            builder.add(stack);
        }
        let mut profile = builder.profile;
        profile.time_nanos = nanoseconds(taken.duration_since(UNIX_EPOCH).unwrap_or_default());
        profile.duration_nanos = nanoseconds(duration);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&profile.encode_to_vec())?;
        encoder.finish()
    }
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A profile in the making, with what was already given a number.
struct Builder {
    profile: Profile,
    strings: HashMap<String, i64>,
    locations: HashMap<Frame, u64>,
}

impl Builder {
    fn new() -> Self {
        let (profile, strings) = (Profile::default(), HashMap::new());
        let mut builder = Self { profile, strings, locations: HashMap::new() };
        builder.string(""); // the format wants it first
        for (kind, unit) in [("inuse_objects", "count"), ("inuse_space", "bytes")] {
            let value = ValueType { kind: builder.string(kind), unit: builder.string(unit) };
            builder.profile.sample_type.push(value);
        }
        builder.profile.default_sample_type = builder.string("inuse_space");
        builder
    }

    fn string(&mut self, text: &str) -> i64 {
        if let Some(number) = self.strings.get(text) {
            return *number;
        }
        let number = signed(self.profile.string_table.len() as u64);
        self.profile.string_table.push(text.to_owned());
        self.strings.insert(text.to_owned(), number);
        number
    }

    fn add(&mut self, stack: &WeightedStack) {
        let location_id = stack.frames.iter().rev().map(|frame| self.location(frame)).collect();
        let mut label = Vec::new();
        if let Some(pid) = stack.pid {
            label.push(Label { key: self.string("pid"), text: 0, number: i64::from(pid) });
        }
        if let Some(tag) = &stack.tag {
            label.push(Label { key: self.string("task"), text: self.string(tag), number: 0 });
        }
        let value = vec![signed(stack.blocks), signed(stack.bytes)];
        self.profile.sample.push(Sample { location_id, value, label });
    }

    /// A location and a function for each frame; numbers begin at 1.
    fn location(&mut self, frame: &Frame) -> u64 {
        if let Some(number) = self.locations.get(frame) {
            return *number;
        }
        let id = self.profile.location.len() as u64 + 1;
        let name = self.string(&frame.name);
        let filename = self.string(frame.file.as_deref().unwrap_or_default());
        self.profile.function.push(Function { id, name, system_name: name, filename });
        let line = Line { function_id: id, line: i64::from(frame.line.unwrap_or(0)) };
        self.profile.location.push(Location { id, line: vec![line] });
        self.locations.insert(frame.clone(), id);
        id
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::stacks::tests::some;

    #[test]
    fn a_profile_reads_back_with_its_bytes_names_and_labels() {
        let bytes = some().to_pprof(UNIX_EPOCH, Duration::from_secs(1)).unwrap();
        let mut raw = Vec::new();
        flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut raw).unwrap();
        let profile = Profile::decode(&raw[..]).unwrap();
        let text = |number: i64| profile.string_table[usize::try_from(number).unwrap()].as_str();
        assert_eq!(text(0), "");
        assert_eq!(text(profile.sample_type[1].kind), "inuse_space");
        assert_eq!(profile.sample.iter().map(|sample| sample.value[1]).sum::<i64>(), 180);
        let first = &profile.sample[0];
        let innermost = &profile.function[usize::try_from(first.location_id[0] - 1).unwrap()];
        assert_eq!(
            (text(innermost.name), text(innermost.filename)),
            ("Vec<T>::push", "/library/vec.rs")
        );
        assert_eq!((text(first.label[0].key), first.label[0].number), ("pid", 10));
        assert_eq!((text(first.label[1].key), text(first.label[1].text)), ("task", "load"));
        assert_eq!((profile.location.len(), profile.duration_nanos), (2, 1_000_000_000));
    }
}
