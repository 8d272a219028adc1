//! Addresses as source lines and instructions.
//!
//! Victims are forked, so code lies at the same addresses in the caller, and is read there.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use addr2line::Loader;
use iced_x86::{Decoder, DecoderOptions, Formatter, GasFormatter};

/// Longest x86 instruction in bytes.
const INSN_MAX: usize = 15;

/// A piece of an object file in memory.
#[derive(Clone, Debug)]
struct Object {
    path: PathBuf,
    /// What was added to the file's own addresses.
    bias: u64,
    /// The loaded segments: `(first, end)`, executable ones only.
    code: Vec<(u64, u64)>,
}

/// Looks addresses up in the objects of this process.
pub(super) struct Locator {
    objects: Vec<Object>,
    loaders: HashMap<PathBuf, Option<Loader>>,
}

/// A source position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) file: String,
    pub(super) line: u32,
    pub(super) function: String,
}

impl Line {
    /// Is it code of the standard library, or of the stepper itself?
    fn is_foreign(&self) -> bool {
        let ours = file!().trim_end_matches("locate.rs");
        let parts = ["/library/core/", "/library/std/", "/library/alloc/", ours];
        self.file.starts_with("/rustc/") || parts.iter().any(|part| self.file.contains(part))
    }

    /// The text of the line, if its file is there.
    pub(super) fn text(&self) -> Option<String> {
        let source = std::fs::read_to_string(&self.file).ok()?;
        let at = usize::try_from(self.line).ok()?.checked_sub(1)?;
        source.lines().nth(at).map(|line| line.trim().to_owned())
    }
}

impl Locator {
    /// Reads the list of loaded objects.
    pub(super) fn new() -> Locator {
        Locator { objects: loaded_objects(), loaders: HashMap::new() }
    }

    /// The innermost source position of the author's own code, else the innermost.
    pub(super) fn line(&mut self, address: u64) -> Option<Line> {
        let object = self.objects.iter().find(|object| object.holds(address))?.clone();
        let loader = self
            .loaders
            .entry(object.path.clone())
            .or_insert_with(|| Loader::new(&object.path).ok())
            .as_ref()?;
        let mut frames = loader.find_frames(address.wrapping_sub(object.bias)).ok()?;
        let mut first = None;
        while let Ok(Some(frame)) = frames.next() {
            let Some(location) = frame.location else { continue };
            let name = frame.function.and_then(|name| name.demangle().ok().map(|n| n.into_owned()));
            let line = Line {
                file: location.file.unwrap_or_default().to_owned(),
                line: location.line.unwrap_or(0),
                function: name.unwrap_or_default(),
            };
            if !line.is_foreign() {
                return Some(line);
            }
            first.get_or_insert(line);
        }
        first
    }

    /// The source position of the last of `addresses` that is the author's own code.
    pub(super) fn author_line(&mut self, addresses: &[u64]) -> Option<Line> {
        let own = addresses.iter().rev().filter_map(|at| self.line(*at)).find(|l| !l.is_foreign());
        own.or_else(|| addresses.last().and_then(|at| self.line(*at)))
    }

    /// The instruction at `address` in the assembler's notation.
    pub(super) fn instruction(&self, address: u64) -> Option<String> {
        let object = self.objects.iter().find(|object| object.holds(address))?;
        let code = object.code_at(address);
        let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
        let mut text = String::new();
        GasFormatter::new().format(&decoder.decode(), &mut text);
        Some(text)
    }

    /// A listing of executed instructions, the last one marked, and the one that came no more.
    pub(super) fn listing(&mut self, executed: &[u64], next: u64) -> String {
        let mut out = String::new();
        let mut last_line = None;
        for (nth, address) in executed.iter().enumerate() {
            let mark = if nth + 1 == executed.len() { '>' } else { ' ' };
            self.list_one(&mut out, mark, *address, &mut last_line);
        }
        if next != 0 && executed.last() != Some(&next) {
            self.list_one(&mut out, 'x', next, &mut last_line);
        }
        out
    }

    fn list_one(&mut self, out: &mut String, mark: char, at: u64, last: &mut Option<Line>) {
        let code = self.instruction(at).unwrap_or_else(|| "?".to_owned());
        let line = self.line(at);
        let shown = match &line {
            Some(here) if line != *last => {
                format!("{}:{}", here.file.rsplit('/').next().unwrap_or(""), here.line)
            }
            _ => String::new(),
        };
        *last = line;
        // Writing to a String does not fail.
        let _ = writeln!(out, "  {mark} {at:#x}  {code:<44} {shown}");
    }
}

impl Object {
    fn holds(&self, address: u64) -> bool {
        self.code.iter().any(|(first, end)| (*first..*end).contains(&address))
    }

    /// The bytes of the instruction at `address`, which `holds`.
    fn code_at(&self, address: u64) -> &'static [u8] {
        let Some((_, end)) =
            self.code.iter().find(|(first, end)| (*first..*end).contains(&address))
        else {
            return &[];
        };
        let len = usize::try_from(end - address).unwrap_or(0).min(INSN_MAX);
        let Ok(at) = usize::try_from(address) else { return &[] };
        // SAFETY: the range lies in an executable segment of an object that is loaded in this
        // process; code is neither written nor unloaded while a report is made.
        unsafe { std::slice::from_raw_parts(at as *const u8, len) }
    }
}

fn loaded_objects() -> Vec<Object> {
    let mut objects: Vec<Object> = Vec::new();
    // SAFETY: `gather` has the signature that the call wants, and `objects` outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(gather), (&raw mut objects).cast()) };
    objects
}

/// Called by `dl_iterate_phdr` for each object.
///
/// # Safety
///
/// - `info` describes a loaded object, and is valid during the call.
/// - `out` points to a `Vec<Object>` that nobody else uses during the call.
unsafe extern "C" fn gather(
    info: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    out: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: `loaded_objects` passes a live `Vec<Object>` that nobody else uses meanwhile.
    let objects = unsafe { &mut *out.cast::<Vec<Object>>() };
    // SAFETY: the C library passes a filled-in structure, valid during the call.
    let info = unsafe { &*info };
    let name = if info.dlpi_name.is_null() {
        c""
    } else {
        // SAFETY: not null, and a C string by `dl_iterate_phdr(3)`.
        unsafe { CStr::from_ptr(info.dlpi_name) }
    };
    let path = match name.to_bytes() {
        [] if objects.is_empty() => std::env::current_exe().unwrap_or_default(),
        bytes => PathBuf::from(OsStr::from_bytes(bytes)),
    };
    // SAFETY: `dlpi_phdr` points to `dlpi_phnum` program headers, valid during the call.
    let headers =
        unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let code = headers
        .iter()
        .filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_X != 0)
        .map(|header| info.dlpi_addr + header.p_vaddr)
        .zip(headers.iter().filter(|h| h.p_type == libc::PT_LOAD && h.p_flags & libc::PF_X != 0))
        .map(|(first, header)| (first, first + header.p_memsz))
        .collect();
    objects.push(Object { path, bias: info.dlpi_addr, code });
    0
}
