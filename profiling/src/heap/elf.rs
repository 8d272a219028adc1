//! What a mapped ELF file says of itself: where it was meant to lie, and its build id.
//!
//! Read through `/proc/self/mem`: memory that has gone meanwhile is an error there, not a signal.

use std::os::fd::OwnedFd;

use super::format::module::BUILD_ID_MAX;

/// What of a file is needed to name its addresses later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// What was added to the file's own addresses.
    pub(crate) bias: u64,
    pub(crate) build_id: [u8; BUILD_ID_MAX],
    pub(crate) build_id_length: usize,
}

const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
/// More than any linker makes.
const MAX_PROGRAM_HEADERS: usize = 24;
const LOAD: u32 = 1;
const NOTE: u32 = 4;
const BUILD_ID: u32 = 3;

/// Reads the ELF file that is mapped, from its first byte on, at `base`.
pub(crate) fn read(memory: &OwnedFd, base: u64) -> Option<Facts> {
    let mut header = [0; HEADER];
    fill(memory, base, &mut header)?;
    // 64 bits, this machine's byte order.
    if &header[..5] != b"\x7fELF\x02" {
        return None;
    }
    let count = usize::from(u16::from_ne_bytes(array(&header, 56)?)).min(MAX_PROGRAM_HEADERS);
    let table = base.checked_add(u64::from_ne_bytes(array(&header, 32)?))?;
    let mut bytes = [0; PROGRAM_HEADER * MAX_PROGRAM_HEADERS];
    let headers = &mut bytes[..count * PROGRAM_HEADER];
    fill(memory, table, headers)?;
    let segments = || headers.chunks_exact(PROGRAM_HEADER).filter_map(segment);
    let (_, first, _) = segments().find(|(kind, ..)| *kind == LOAD)?;
    let bias = base.wrapping_sub(first & !0xfff);
    let mut facts = Facts { bias, ..Facts::default() };
    for (_, address, length) in segments().filter(|(kind, ..)| *kind == NOTE) {
        let mut notes = [0; 512];
        let notes = &mut notes[..length.min(512) as usize];
        if fill(memory, bias.wrapping_add(address), notes).is_some()
            && let Some(id) = build_id(notes)
        {
            facts.build_id_length = id.len().min(BUILD_ID_MAX);
            facts.build_id[..facts.build_id_length].copy_from_slice(&id[..facts.build_id_length]);
        }
    }
    Some(facts)
}

/// Kind, address and length in memory.
fn segment(header: &[u8]) -> Option<(u32, u64, u64)> {
    let kind = u32::from_ne_bytes(array(header, 0)?);
    Some((kind, u64::from_ne_bytes(array(header, 16)?), u64::from_ne_bytes(array(header, 40)?)))
}

/// The build id among notes: `name length, id length, kind, name, id`, padded to 4 bytes.
fn build_id(mut notes: &[u8]) -> Option<&[u8]> {
    loop {
        let size = |at| Some(u32::from_ne_bytes(array(notes, at)?) as usize);
        let (name, id, kind) = (size(0)?, size(4)?, size(8)?);
        let start = 12 + name.checked_next_multiple_of(4)?;
        let end = start.checked_add(id)?;
        if kind == BUILD_ID as usize && notes.get(12..16) == Some(b"GNU\0") {
            return notes.get(start..end);
        }
        notes = notes.get(end.checked_next_multiple_of(4)?..)?;
    }
}

fn fill(memory: &OwnedFd, address: u64, into: &mut [u8]) -> Option<()> {
    let length = into.len();
    let read = rustix::io::pread(memory, into, address).ok()?;
    (read == length).then_some(())
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_id_is_found_behind_other_notes() {
        let note = |kind: u32, id: &[u8]| {
            let sizes = [4, id.len() as u32, kind].map(u32::to_ne_bytes).concat();
            [&sizes[..], b"GNU\0", id].concat()
        };
        let notes = [note(1, &[9; 16]), note(3, &[7; 20])].concat();
        assert_eq!(build_id(&notes), Some(&[7; 20][..]));
        assert_eq!(build_id(&notes[..40]), None);
        assert_eq!(build_id(&[0xff; 64]), None);
    }
}
