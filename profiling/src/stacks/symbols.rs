//! Names and source lines for the addresses of a heap profile, looked up in the files that the
//! process had loaded: the process itself may be gone.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use addr2line::Loader;
use object::Object;

use super::{Frame, Stacks, WeightedStack, place_of};
use crate::heap::{Module, Site, Snapshot};

/// A file by its path and build id.
type FileId = (String, Vec<u8>);

/// Looks addresses up, and remembers what it found.
///
/// A file that was replaced since (its build id is another one) is not used: its addresses get no
/// names rather than wrong ones. Looking up costs some 10 to 100 ms for the first address in a
/// file with debug information, and microseconds for each further one.
///
/// ```no_run
/// use profiling::heap::Profile;
/// use profiling::{Symbols, is_own_source};
///
/// let snapshot = Profile::of_process(4711)?.snapshot()?;
/// let symbols = Symbols::new();
/// // As tracemalloc's `statistics("lineno")`.
/// for (line, live) in snapshot.group_by(|site| symbols.line(&snapshot, site, is_own_source)) {
///     println!("{line:?}: {:.0} bytes in {:.0} blocks", live.bytes, live.blocks);
/// }
/// # Ok::<(), profiling::Error>(())
/// ```
#[derive(Default)]
pub struct Symbols {
    /// By path and build id; `None` where there is no file with that id.
    files: RefCell<HashMap<FileId, Option<Loader>>>,
    frames: RefCell<HashMap<(String, u64), Vec<Frame>>>,
}

impl fmt::Debug for Symbols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.files.borrow().len();
        f.debug_struct("Symbols").field("files", &files).finish_non_exhaustive()
    }
}

impl Symbols {
    /// Knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The calls that led to a site's allocations, the outermost first, without the runtime's above
    /// `main` and the allocator's own. Empty where the stack is not known.
    pub fn calls(&self, snapshot: &Snapshot, site: &Site) -> Vec<Frame> {
        let addresses = site.frames.iter().rev();
        let calls: Vec<Frame> =
            addresses.flat_map(|address| self.frames_at(snapshot, *address)).collect();
        without_runtime(&calls).to_vec()
    }

    /// The source line that a site is booked on: that of the innermost call whose file `is_ours`
    /// accepts, or of the innermost with a source; `None` where no call has one.
    pub fn line(
        &self,
        snapshot: &Snapshot,
        site: &Site,
        is_ours: impl Fn(&str) -> bool,
    ) -> Option<Frame> {
        let calls = self.calls(snapshot, site);
        place_of(&calls, &is_ours).cloned()
    }

    /// The frames of a return address, the outermost first: several where calls were inlined. An
    /// address without a name is shown as its file and the place in it.
    fn frames_at(&self, snapshot: &Snapshot, address: u64) -> Vec<Frame> {
        let Some(module) = snapshot.module_at(address) else {
            return vec![Frame::named(format!("{address:#x}"))];
        };
        let path = module.path.to_string_lossy().into_owned();
        // A return address is behind the call; the byte before it belongs to the call.
        let probe = address.wrapping_sub(module.bias).wrapping_sub(1);
        let mut known = self.frames.borrow_mut();
        let frames = known.entry((path.clone(), probe)).or_insert_with(|| {
            let mut files = self.files.borrow_mut();
            let file = files.entry((path, module.build_id.clone())).or_insert_with(|| open(module));
            let frames = file.as_ref().map_or_else(Vec::new, |loader| named(loader, probe));
            if !frames.is_empty() {
                return frames;
            }
            let file = module.path.file_name().unwrap_or_default().to_string_lossy();
            vec![Frame::named(format!("{file}+{probe:#x}"))]
        });
        frames.clone()
    }
}

/// Opens a file if it is still the one that was loaded.
fn open(module: &Module) -> Option<Loader> {
    if !module.build_id.is_empty() && build_id(&module.path)? != module.build_id {
        return None;
    }
    Loader::new(&module.path).ok()
}

fn build_id(path: &Path) -> Option<Vec<u8>> {
    let cache = object::ReadCache::new(std::fs::File::open(path).ok()?);
    let file = object::File::parse(&cache).ok()?;
    Some(file.build_id().ok()??.to_vec())
}

/// What the debug information says of an address, and what the table of symbols does.
///
/// With line tables alone (the usual release build) the debug information names the functions
/// that were inlined and leaves the one that holds them to the table of symbols.
fn named(loader: &Loader, probe: u64) -> Vec<Frame> {
    let mut frames = Vec::new();
    if let Ok(mut found) = loader.find_frames(probe) {
        while let Ok(Some(frame)) = found.next() {
            let name = frame.function.and_then(|name| Some(name.demangle().ok()?.into_owned()));
            let Some(name) = name.or_else(|| symbol(loader, probe)) else { continue };
            let location = frame.location;
            let file = location.as_ref().and_then(|location| location.file).map(str::to_owned);
            let line = location.and_then(|location| location.line);
            frames.push(Frame { name: without_hash(&name), file, line });
        }
    }
    if frames.is_empty() {
        frames.extend(symbol(loader, probe).map(|name| Frame::named(without_hash(&name))));
    }
    frames.reverse();
    frames
}

fn symbol(loader: &Loader, probe: u64) -> Option<String> {
    let name = loader.find_symbol(probe)?;
    Some(addr2line::demangle_auto(name.into(), None).into_owned())
}

/// A Rust name without the hash at its end.
fn without_hash(name: &str) -> String {
    match name.rsplit_once("::h") {
        Some((name, hash)) if hash.len() == 16 && hash.bytes().all(|it| it.is_ascii_hexdigit()) => {
            name.to_owned()
        }
        _ => name.to_owned(),
    }
}

impl Stacks {
    /// The live bytes of a heap profile by stack, under a box named `title`. Estimates are rounded
    /// to whole bytes. What the profile counts exactly beyond its sites (what was inherited by a
    /// fork, for one) is not in here.
    pub fn of_heap(title: &str, snapshot: &Snapshot, symbols: &Symbols) -> Self {
        let live = snapshot.sites.iter().filter(|site| site.live.bytes >= 0.5);
        let stacks = live.map(|site| stack_of(title, snapshot, site, symbols)).collect();
        Self { stacks }
    }

    /// All stacks of several.
    pub fn together(all: impl IntoIterator<Item = Self>) -> Self {
        Self { stacks: all.into_iter().flat_map(|stacks| stacks.stacks).collect() }
    }
}

fn stack_of(title: &str, snapshot: &Snapshot, site: &Site, symbols: &Symbols) -> WeightedStack {
    let mut frames = vec![Frame::named(title)];
    frames.extend(symbols.calls(snapshot, site));
    if frames.len() == 1 {
        frames.push(Frame::named("no stack"));
    }
    let tag = site.tag.and_then(|tag| snapshot.tags.get(usize::try_from(tag).ok()?)).cloned();
    WeightedStack {
        frames,
        bytes: site.live.bytes.round() as u64,
        blocks: site.live.blocks.round() as u64,
        pid: Some(snapshot.process.pid),
        tag,
    }
}

/// The calls between the runtime, which calls `main` or a thread's closure, and the allocator:
/// what the program's author wrote, or called.
fn without_runtime(calls: &[Frame]) -> &[Frame] {
    let begin = calls.iter().rposition(|it| it.name.contains("__rust_begin_short_backtrace"));
    let calls = begin.map_or(calls, |begin| &calls[begin + 1..]);
    let calls = match calls {
        [first, rest @ ..] if begin.is_some() && first.name.starts_with("call_once") => rest,
        _ => calls,
    };
    let is_allocator = |frame: &Frame| {
        let name = frame.name.rsplit("::").next().unwrap_or_default();
        matches!(name, "__rust_alloc" | "__rust_alloc_zeroed" | "__rust_realloc")
    };
    calls.iter().position(is_allocator).map_or(calls, |end| &calls[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test program itself as a module.
    fn this_program() -> Module {
        let path = std::env::current_exe().unwrap();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let name = path.to_str().unwrap();
        let ranges: Vec<(u64, u64)> = maps
            .lines()
            .filter(|line| line.ends_with(name))
            .filter_map(|line| {
                let (start, end) = line.split_once(' ')?.0.split_once('-')?;
                let number = |digits| u64::from_str_radix(digits, 16).ok();
                Some((number(start)?, number(end)?))
            })
            .collect();
        let (start, end) = (ranges[0].0, ranges[ranges.len() - 1].1);
        let build_id = build_id(&path).unwrap_or_default();
        Module { start, end, bias: start, path, build_id }
    }

    /// A profile with nothing in it, by way of its JSON: its own tests may make others.
    fn empty_snapshot() -> Snapshot {
        serde_json::from_value(serde_json::json!({
            "process": {"pid": 7, "parent": 1, "started_ticks": 0, "created_ns": 0, "program": ""},
            "mode": "Exact",
            "totals": {"allocated_bytes": 0, "allocated_blocks": 0, "freed_bytes": 0,
                "freed_blocks": 0, "inherited_bytes": 0, "inherited_blocks": 0, "peak_bytes": 0},
            "sites": [], "modules": [], "tags": [], "threads": [],
            "quality": {"frame_pointers": null, "dropped_blocks": 0, "dropped_stacks": 0,
                "deep_stacks": 0, "broken_stacks": 0, "unknown_stacks": 0, "reentrant": 0,
                "shared_threads": 0, "dropped_tags": 0, "dropped_modules": 0, "in_flight": 0,
                "unstable": 0},
            "own_bytes": 0
        }))
        .unwrap()
    }

    #[inline(never)]
    fn a_function_to_find() -> u64 {
        std::hint::black_box(7)
    }

    fn found_in(module: Module) -> Vec<Frame> {
        let mut snapshot = empty_snapshot();
        snapshot.modules = vec![module];
        let address = a_function_to_find as fn() -> u64 as usize as u64 + 2;
        Symbols::new().frames_at(&snapshot, address)
    }

    #[test]
    fn an_address_gets_its_name_and_source_line() {
        let frames = found_in(this_program());
        let frame = frames.last().unwrap();
        assert!(frame.name.ends_with("a_function_to_find"), "{frames:?}");
        assert!(frame.file.as_ref().unwrap().ends_with("symbols.rs") && frame.line.is_some());
    }

    #[test]
    fn a_file_that_was_replaced_gives_no_names() {
        let module = Module { build_id: vec![1, 2, 3], ..this_program() };
        let frames = found_in(module);
        assert!(frames[0].name.contains("+0x"), "{frames:?}");
    }

    #[test]
    fn where_code_was_loaded_in_the_place_of_other_code_the_later_one_is_right() {
        let unloaded = Module { path: "/gone.so".into(), build_id: vec![1], ..this_program() };
        let mut snapshot = empty_snapshot();
        snapshot.modules = vec![unloaded, this_program()];
        let address = a_function_to_find as fn() -> u64 as usize as u64 + 2;
        let frames = Symbols::new().frames_at(&snapshot, address);
        assert!(frames.last().unwrap().name.ends_with("a_function_to_find"), "{frames:?}");
    }

    #[test]
    fn an_address_in_no_module_is_shown_as_it_is() {
        let frames = found_in(Module { start: 0, end: 0, ..this_program() });
        assert!(frames[0].name.starts_with("0x"), "{frames:?}");
    }

    #[test]
    fn the_frames_of_runtime_and_allocator_are_left_out() {
        let shown = |names: &[&str]| {
            let frames: Vec<Frame> = names.iter().map(|name| Frame::named(*name)).collect();
            let kept = without_runtime(&frames).iter();
            kept.map(|frame| frame.name.clone()).collect::<Vec<_>>().join(" ")
        };
        let whole = [
            "_start",
            "std::rt::lang_start_internal",
            "std::sys::backtrace::__rust_begin_short_backtrace<fn()>",
            "call_once<fn()>",
            "main",
            "push",
            "__rustc::__rust_realloc",
            "realloc<System>",
        ];
        assert_eq!(shown(&whole), "main push");
        assert_eq!(shown(&["thread", "work", "__rust_alloc"]), "thread work");
        assert_eq!(shown(&["libfoo.so+0x12"]), "libfoo.so+0x12");
    }

    #[test]
    fn the_hash_of_a_rust_name_is_left_out() {
        assert_eq!(without_hash("a::b::h0123456789abcdef"), "a::b");
        assert_eq!(without_hash("a::horse"), "a::horse");
    }
}
