//! The code that frames point into: recorded while the process lives, so that its addresses have
//! names when it is gone.
//!
//! Read from `/proc/self/maps`, not from the dynamic loader: that one's lock may be held by a
//! thread that waits for this one. A module is added behind the others and never changed; where
//! two overlap (code was unloaded, other code loaded there) the later one is right.
//!
//! Orderings: `Relaxed` on records and strings: written under the lock, published by the count's
//! Release, read after its Acquire.

use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use rustix::fs::{Mode, OFlags};

use super::area::Area;
use super::elf;
use super::format::{Loss, header, module};
use super::tags::to_word;

/// One line of `/proc/self/maps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapping<'a> {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) offset: u64,
    pub(crate) is_code: bool,
    pub(crate) path: &'a [u8],
}

/// How many modules there were when the program began: those are never unloaded.
static AT_START: AtomicUsize = AtomicUsize::new(0);

/// Reads what the program begins with.
pub(crate) fn begin(area: Area<'_>) {
    refresh(area);
    // Relaxed, both: a number of its own.
    AT_START.store(area.word(header::MODULES_USED).load(Relaxed) as usize, Relaxed);
}

/// Does a known module hold each of these addresses, and is it still the one that lies there?
///
/// Costs a few system calls for each module that was loaded later than the program.
pub(crate) fn know(area: Area<'_>, frames: &[u64]) -> bool {
    let mut last = None;
    frames.iter().all(|frame| {
        let found = find(area, *frame);
        let is_known = found == last || found.is_some_and(|nth| is_still_there(area, nth));
        last = found;
        found.is_some() && is_known
    })
}

/// Other code may have been loaded in the place of code that was unloaded: by its build id.
fn is_still_there(area: Area<'_>, nth: usize) -> bool {
    let word = |at| area.word(area.layout.module(nth) + at).load(Relaxed);
    // Relaxed: a number of its own.
    if nth < AT_START.load(Relaxed) || word(module::BUILD_ID_LENGTH) == 0 {
        return true;
    }
    let Some(memory) = open(c"/proc/self/mem") else { return true };
    elf::read(&memory, word(module::BIAS)).is_none_or(|elf| has_build_id(area, nth, &elf))
}

fn has_build_id(area: Area<'_>, nth: usize, elf: &elf::Facts) -> bool {
    let word = |at| area.word(area.layout.module(nth) + at).load(Relaxed);
    let words = elf.build_id.chunks(8).map(to_word);
    word(module::BUILD_ID_LENGTH) == elf.build_id_length as u64
        && words.enumerate().all(|(nth, id)| word(module::BUILD_ID + 8 * nth) == id)
}

fn find(area: Area<'_>, address: u64) -> Option<usize> {
    // Acquire: pairs with the Release in `add`: the records are whole.
    let used = area.word(header::MODULES_USED).load(Acquire) as usize;
    let word = |nth, at| area.word(area.layout.module(nth) + at).load(Relaxed);
    (0..used)
        .rev()
        .find(|nth| (word(*nth, module::START)..word(*nth, module::END)).contains(&address))
}

/// The lock: free; held; held, and to be read once more.
const FREE: u64 = 0;
const HELD: u64 = 1;
const WANTED: u64 = 2;

/// Adds the modules that were loaded since. One thread at a time; others do not wait: the one that
/// reads begins anew for them.
#[cold]
pub(crate) fn refresh(area: Area<'_>) {
    let lock = area.word(header::MODULES_LOCK);
    // Acquire: pairs with the Release below: the last one's records are seen.
    if lock.swap(WANTED, Acquire) != FREE {
        return;
    }
    loop {
        // Relaxed: whoever wants it from here on finds it held; who did before is served below.
        lock.store(HELD, Relaxed);
        read_until_nothing_is_new(area);
        // Release: pairs with the Acquire above. Relaxed else: nothing was given away.
        if lock.compare_exchange(HELD, FREE, Release, Relaxed).is_ok() {
            return;
        }
    }
}

/// A line of the maps and the memory that it speaks of are not read at one instant: what was loaded
/// in between shows in the next pass.
fn read_until_nothing_is_new(area: Area<'_>) {
    const MOST: usize = 4;
    for _ in 0..MOST {
        // Relaxed, both: under the lock.
        let before = area.word(header::MODULES_USED).load(Relaxed);
        read_maps(area);
        if area.word(header::MODULES_USED).load(Relaxed) == before {
            return;
        }
    }
}

fn open(path: &std::ffi::CStr) -> Option<OwnedFd> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
}

fn read_maps(area: Area<'_>) {
    let Some((maps, memory)) = open(c"/proc/self/maps").zip(open(c"/proc/self/mem")) else {
        return;
    };
    let mut buffer = [0; 4096 + 512];
    let (mut filled, mut first) = (0, Known::default());
    loop {
        let read = rustix::io::read(&maps, &mut buffer[filled..]).unwrap_or(0);
        filled += read;
        let mut done = 0;
        while let Some(length) = buffer[done..filled].iter().position(|byte| *byte == b'\n') {
            if let Some(mapping) = parse(&buffer[done..done + length]) {
                consider(area, &memory, mapping, &mut first);
            }
            done += length + 1;
        }
        if read == 0 {
            return;
        }
        buffer.copy_within(done..filled, 0);
        // A line longer than the buffer is no module of ours.
        filled = if filled - done == buffer.len() { 0 } else { filled - done };
    }
}

/// The last file that was seen mapped from its start.
#[derive(Debug, Default)]
struct Known {
    path_hash: u64,
    elf: Option<elf::Facts>,
}

fn consider(area: Area<'_>, memory: &OwnedFd, mapping: Mapping<'_>, first: &mut Known) {
    if !mapping.path.starts_with(b"/") {
        return;
    }
    let hash = path_hash(mapping.path);
    if mapping.offset == 0 {
        *first = Known { path_hash: hash, elf: elf::read(memory, mapping.start) };
    }
    if mapping.is_code && first.path_hash == hash {
        add(area, mapping, first.elf.unwrap_or_default());
    }
}

fn path_hash(path: &[u8]) -> u64 {
    path.iter().fold(path.len() as u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn has_path(area: Area<'_>, nth: usize, path: &[u8]) -> bool {
    let place = area.word(area.layout.module(nth) + module::PATH).load(Relaxed);
    let at = area.layout.strings + (place >> 32) as usize;
    let is_same = |(nth, bytes)| area.word(at + 8 * nth).load(Relaxed) == to_word(bytes);
    place & 0xffff_ffff == path.len() as u64 && path.chunks(8).enumerate().all(is_same)
}

/// Adds a module, if it is not there. Under the lock.
pub(crate) fn add(area: Area<'_>, mapping: Mapping<'_>, elf: elf::Facts) {
    let word = |nth, at| area.word(area.layout.module(nth) + at);
    // Relaxed, all: under the lock, and published by the Release at the end.
    let used = area.word(header::MODULES_USED).load(Relaxed) as usize;
    let is_there = find(area, mapping.start).is_some_and(|nth| {
        word(nth, module::START).load(Relaxed) == mapping.start
            && word(nth, module::END).load(Relaxed) == mapping.end
            && word(nth, module::BIAS).load(Relaxed) == elf.bias
            && has_build_id(area, nth, &elf)
            && has_path(area, nth, mapping.path)
    });
    if is_there {
        return;
    }
    if used == usize::from(area.layout.shape.modules) {
        return area.lose(Loss::Modules);
    }
    let Some(path) = add_string(area, mapping.path) else { return area.lose(Loss::Modules) };
    word(used, module::START).store(mapping.start, Relaxed);
    word(used, module::END).store(mapping.end, Relaxed);
    word(used, module::BIAS).store(elf.bias, Relaxed);
    word(used, module::PATH).store(path, Relaxed);
    word(used, module::BUILD_ID_LENGTH).store(elf.build_id_length as u64, Relaxed);
    for (nth, bytes) in elf.build_id.chunks(8).enumerate() {
        word(used, module::BUILD_ID + 8 * nth).store(to_word(bytes), Relaxed);
    }
    // Release: pairs with the Acquire in `find`, and with the reader's.
    area.word(header::MODULES_USED).store(used as u64 + 1, Release);
}

/// Stores a path behind the others; `offset << 32 | length`.
fn add_string(area: Area<'_>, path: &[u8]) -> Option<u64> {
    let room = usize::from(area.layout.shape.string_pages) * super::format::PAGE;
    let used = area.word(header::STRINGS_USED);
    // Relaxed, all: under the lock, and published with the module.
    let at = used.load(Relaxed) as usize;
    let end = at + path.len().next_multiple_of(8);
    if end > room {
        return None;
    }
    for (nth, bytes) in path.chunks(8).enumerate() {
        area.word(area.layout.strings + at + 8 * nth).store(to_word(bytes), Relaxed);
    }
    used.store(end as u64, Relaxed);
    Some((at as u64) << 32 | path.len() as u64)
}

/// `start-end perms offset device inode   path`.
fn parse(line: &[u8]) -> Option<Mapping<'_>> {
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let (range, permissions) = (fields.next()?, fields.next()?);
    let offset = hex(fields.next()?)?;
    let path = fields.nth(2).unwrap_or_default().trim_ascii_start();
    let dash = range.iter().position(|byte| *byte == b'-')?;
    let (start, end) = (hex(&range[..dash])?, hex(&range[dash + 1..])?);
    Some(Mapping { start, end, offset, is_code: permissions.get(2) == Some(&b'x'), path })
}

fn hex(digits: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_maps_is_understood() {
        let line = b"7f01a000-7f01c000 r-xp 00002000 08:01 1234    /usr/lib/a b.so";
        let expected = Mapping {
            start: 0x7f01_a000,
            end: 0x7f01_c000,
            offset: 0x2000,
            is_code: true,
            path: b"/usr/lib/a b.so",
        };
        assert_eq!(parse(line), Some(expected));
        assert_eq!(parse(b"1000-2000 rw-p 00000000 00:00 0").unwrap().path, b"");
        assert_eq!(parse(b"nonsense"), None);
    }
}
