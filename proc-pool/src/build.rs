//! Which build of which program a process is, compared between a pool's process and its workers.
//!
//! Workers are started through `/proc/self/exe`, which is the file that runs, also when another
//! was put in its place; so they are the same build as a rule. Where they are not (a program loader
//! or an emulator between), tasks with the same name might be other code.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::OnceLock;

use crate::protocol::BUILD;
use crate::task::Registry;

/// Program headers that are looked at, at most, and bytes of a note segment.
const HEADERS: u64 = 64;
const NOTES: usize = 4096;
/// The type of program header that names notes, and that of the note with the build-id.
const PT_NOTE: u32 = 4;
const NT_GNU_BUILD_ID: u32 = 3;

/// This process's build: a sum of its tasks, then the program's identity.
pub(crate) fn own(registry: &Registry) -> Vec<u8> {
    static PROGRAM: OnceLock<Vec<u8>> = OnceLock::new();
    let mut own = registry.fingerprint().to_ne_bytes().to_vec();
    own.extend_from_slice(PROGRAM.get_or_init(program));
    own.truncate(BUILD);
    own
}

/// Why a worker that says that it is `theirs` cannot work for a pool that is `ours`; `None` when
/// it can.
pub(crate) fn difference(ours: &[u8], theirs: &[u8]) -> Option<String> {
    if ours == theirs {
        return None;
    }
    let (our_tasks, our_program) = ours.split_at(ours.len().min(8));
    let (their_tasks, their_program) = theirs.split_at(theirs.len().min(8));
    if our_program == their_program && our_tasks != their_tasks {
        return Some(
            "it has other tasks registered: call proc_pool::register for each before \
             proc_pool::init, and nowhere else"
                .to_owned(),
        );
    }
    let (ours, theirs) = (hex(our_program), hex(their_program));
    Some(format!(
        "it is another build (this process is {ours}, the worker {theirs}): start the program itself, \
         without a loader or emulator in between"
    ))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The linker's build-id, or which file the program is: a file that runs cannot be written, so
/// device, inode and size name its content.
fn program() -> Vec<u8> {
    #[cfg(test)]
    if let Ok(other) = std::env::var("PROC_POOL_TEST_BUILD") {
        return other.into_bytes();
    }
    let Ok(file) = File::open("/proc/self/exe") else { return Vec::new() };
    build_id(&file).unwrap_or_else(|| match file.metadata() {
        Ok(data) => [data.dev(), data.ino(), data.size()].map(u64::to_ne_bytes).concat(),
        Err(_) => Vec::new(),
    })
}

/// The build-id of a 64-bit ELF file of this machine's byte order.
fn build_id(file: &File) -> Option<Vec<u8>> {
    let mut head = [0; 64];
    file.read_exact_at(&mut head, 0).ok()?;
    let order = if cfg!(target_endian = "little") { 1 } else { 2 };
    if !head.starts_with(b"\x7fELF\x02") || head[5] != order {
        return None;
    }
    let (table, size, count) = (word(&head, 32)?, half(&head, 54)?, half(&head, 56)?);
    for number in 0..u64::from(count).min(HEADERS) {
        let mut entry = [0; 56];
        let at = number.checked_mul(u64::from(size)).and_then(|at| at.checked_add(table))?;
        file.read_exact_at(&mut entry, at).ok()?;
        if quarter(&entry, 0)? == PT_NOTE {
            let (offset, length) = (word(&entry, 8)?, word(&entry, 32)?);
            let mut notes = vec![0; usize::try_from(length).ok()?.min(NOTES)];
            file.read_exact_at(&mut notes, offset).ok()?;
            if let Some(id) = find_build_id(&notes) {
                return Some(id.to_vec());
            }
        }
    }
    None
}

/// The build-id among these notes: each has three lengths, a name and a body, padded to four bytes.
fn find_build_id(mut notes: &[u8]) -> Option<&[u8]> {
    loop {
        let (name, body) = (quarter(notes, 0)? as usize, quarter(notes, 4)? as usize);
        let kind = quarter(notes, 8)?;
        let start = 12usize.checked_add(name.next_multiple_of(4))?;
        let found = notes.get(start..start.checked_add(body)?)?;
        if kind == NT_GNU_BUILD_ID && notes.get(12..16) == Some(b"GNU\0") {
            return Some(found);
        }
        notes = notes.get(start.checked_add(body.next_multiple_of(4))?..)?;
    }
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

fn quarter(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Pool, PoolError, TaskError};

    #[crate::task]
    fn square(x: u64) -> u64 {
        x * x
    }

    #[test]
    fn a_build_id_is_found_behind_other_notes() {
        let note = |name: &[u8; 4], kind: u32, body: &[u8]| {
            let mut note = [4u32, body.len() as u32, kind].map(u32::to_ne_bytes).concat();
            note.extend_from_slice(name);
            note.extend_from_slice(body);
            note.resize(note.len().next_multiple_of(4), 0);
            note
        };
        let notes = [note(b"GNU\0", 1, &[9; 6]), note(b"GNU\0", 3, &[7, 8, 9])].concat();
        assert_eq!(find_build_id(&notes), Some(&[7, 8, 9][..]));
        for cut in 0..notes.len() - 1 {
            assert_eq!(find_build_id(&notes[..cut]), None);
        }
        let huge = [u32::MAX, u32::MAX, 3].map(u32::to_ne_bytes).concat();
        assert_eq!(find_build_id(&huge), None);
    }

    #[test]
    fn this_program_has_an_identity() {
        assert!(!program().is_empty());
        assert_eq!(build_id(&File::open("/proc/self/status").unwrap()), None);
    }

    #[test]
    fn a_difference_says_what_to_do() {
        let ours = [1, 1, 1, 1, 1, 1, 1, 1, 7];
        let other_tasks = [2, 1, 1, 1, 1, 1, 1, 1, 7];
        let other_build = [1, 1, 1, 1, 1, 1, 1, 1, 8];
        assert_eq!(difference(&ours, &ours), None);
        assert!(difference(&ours, &other_tasks).unwrap().contains("before proc_pool::init"));
        assert!(
            difference(&ours, &other_build)
                .unwrap()
                .contains("(this process is 07, the worker 08)")
        );
        assert!(difference(&ours, &[]).is_some());
    }

    #[crate::test]
    fn a_worker_of_another_build_is_given_nothing_and_the_pool_says_so() {
        let pool = Pool::builder().workers(1).env("PROC_POOL_TEST_BUILD", "another").build();
        let pool = pool.unwrap();
        match pool.submit(square, 3).wait() {
            Err(TaskError::PoolEnded { reason, .. }) => assert!(reason.contains("another build")),
            other => panic!("{other:?}"),
        }
        match pool.close() {
            Err(PoolError::WorkerDiffers { reason }) => assert!(reason.contains("616e6f74686572")),
            other => panic!("{other:?}"),
        }
    }
}
