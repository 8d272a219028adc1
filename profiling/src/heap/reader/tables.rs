//! The small tables of a profile: header, counters, names, modules.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::super::format::{Layout, Loss, header, module, slot, tag};
use super::super::snapshot::{
    Activity, Mode, Module, Process, Quality, Site, Snapshot, StackEnd, Thread, Totals,
};
use super::bytes::{Bytes, Copied};
use super::live::Live;
use super::{live, sites};
use crate::error::Result;

/// No program allocates more: two such sums can be added.
const MAX_SUM: u64 = 1 << 62;

pub(super) fn snapshot(bytes: &Bytes, layout: &Layout) -> Result<Snapshot> {
    let (totals, mut threads) = counters(bytes, layout)?;
    let live = live::read(bytes, layout)?;
    let modules = modules(bytes, layout)?;
    let mut sites = sites::read(bytes, layout, &live, &modules)?;
    let header = bytes.read(0, 512)?;
    // A tag is written before anything refers to it.
    let (tags, numbers) = tags(bytes, layout)?;
    let renumber = |tag: &mut Option<u32>| *tag = tag.and_then(|tag| numbers[tag as usize]);
    sites.iter_mut().for_each(|site| renumber(&mut site.tag));
    threads.iter_mut().for_each(|thread| renumber(&mut thread.tag));
    Ok(Snapshot {
        process: process(bytes, &header)?,
        mode: mode(bytes, &header)?,
        totals,
        quality: quality(&header, &live, &sites),
        sites,
        modules,
        tags,
        threads,
        own_bytes: bytes.resident()?,
    })
}

fn process(bytes: &Bytes, header: &Copied) -> Result<Process> {
    let id = |at| {
        u32::try_from(header.word(at)).map_err(|_| bytes.invalid("a process id is out of bounds"))
    };
    let length = header.word(header::PROGRAM_LENGTH) as usize;
    if length > header::PROGRAM_MAX {
        return Err(bytes.invalid("the program's path is out of bounds"));
    }
    Ok(Process {
        pid: id(header::PID)?,
        parent: id(header::PARENT)?,
        started_ticks: header.word(header::STARTED),
        created_ns: header.word(header::CREATED),
        program: path(header.slice(header::PROGRAM, length)),
    })
}

fn mode(bytes: &Bytes, header: &Copied) -> Result<Mode> {
    let mean_bytes = header.word(header::MEAN);
    Mode::from_word(header.word(header::MODE), mean_bytes)
        .ok_or_else(|| bytes.invalid("its mode is unknown"))
}

/// Sums up the threads: first what they freed, then what they allocated, so that no block is seen
/// freed that was not seen allocated.
fn counters(bytes: &Bytes, layout: &Layout) -> Result<(Totals, Vec<Thread>)> {
    let words = usize::from(layout.shape.threads) * slot::SIZE / 8;
    let first = bytes.read(layout.slots, words)?;
    let second = bytes.read(layout.slots, words)?;
    let header = bytes.read(0, 64)?;
    let mut totals = Totals {
        inherited_bytes: header.word(header::INHERITED_BYTES),
        inherited_blocks: header.word(header::INHERITED_BLOCKS),
        ..Totals::default()
    };
    let mut threads = Vec::new();
    for at in (0..usize::from(layout.shape.threads)).map(|nth| nth * slot::SIZE) {
        let sums = [
            (&mut totals.freed_bytes, &first, slot::FREED_BYTES),
            (&mut totals.freed_blocks, &first, slot::FREED_BLOCKS),
            (&mut totals.allocated_bytes, &second, slot::ALLOCATED_BYTES),
            (&mut totals.allocated_blocks, &second, slot::ALLOCATED_BLOCKS),
        ];
        for (sum, copy, word) in sums {
            *sum = sum.wrapping_add(copy.word(at + word));
        }
        let owner = second.word(at + slot::OWNER);
        if owner != 0 && at != 0 {
            threads.push(thread(bytes, layout, &second, at, owner)?);
        }
    }
    let peak = header.word(header::PEAK);
    if peak > MAX_SUM {
        return Err(bytes.invalid("its peak is out of bounds"));
    }
    let Totals { inherited_bytes, inherited_blocks, .. } = totals;
    let Totals { allocated_bytes, allocated_blocks, freed_bytes, freed_blocks, .. } = totals;
    let sums = [allocated_bytes, allocated_blocks, freed_bytes, freed_blocks];
    if sums.iter().chain(&[inherited_bytes, inherited_blocks]).any(|sum| *sum > MAX_SUM) {
        return Err(bytes.invalid("its counters are out of bounds"));
    }
    totals.peak_bytes = peak.max(totals.live_bytes());
    Ok((totals, threads))
}

fn thread(bytes: &Bytes, layout: &Layout, slots: &Copied, at: usize, owner: u64) -> Result<Thread> {
    let tag = slots.word(at + slot::TAG);
    let tid = u32::try_from(owner).map_err(|_| bytes.invalid("a thread id is out of bounds"))?;
    if tag >= layout.max_tags() as u64 {
        return Err(bytes.invalid("a thread's scope is out of bounds"));
    }
    let inside = match slots.word(at + slot::STEP) {
        0 => None,
        1 => Some(Activity::Stack),
        2 => Some(Activity::Site),
        3 => Some(Activity::Insert),
        4 => Some(Activity::Remove),
        _ => return Err(bytes.invalid("a thread is in an unknown step")),
    };
    Ok(Thread { tid, tag: (tag != 0).then_some(tag as u32), inside })
}

/// The names of scopes, each once, and for each place in the file which of them it is.
fn tags(bytes: &Bytes, layout: &Layout) -> Result<(Vec<String>, Vec<Option<u32>>)> {
    let copy = bytes.read(layout.tags, layout.max_tags() * tag::SIZE / 8)?;
    let (mut names, mut numbers) = (Vec::<String>::new(), Vec::new());
    for at in (0..layout.max_tags()).map(|nth| nth * tag::SIZE) {
        if copy.word(at + tag::STATE) & 3 != tag::READY {
            numbers.push(None);
            continue;
        }
        let length = copy.word(at + tag::LENGTH) as usize;
        if !(1..=tag::NAME_MAX).contains(&length) {
            return Err(bytes.invalid("the name of a scope is empty or out of bounds"));
        }
        let name = String::from_utf8_lossy(copy.slice(at + tag::NAME, length)).into_owned();
        let known = names.iter().position(|known| *known == name);
        numbers.push(u32::try_from(known.unwrap_or(names.len())).ok());
        if known.is_none() {
            names.push(name);
        }
    }
    Ok((names, numbers))
}

fn modules(bytes: &Bytes, layout: &Layout) -> Result<Vec<Module>> {
    let used = bytes.word(header::MODULES_USED)?;
    if used > u64::from(layout.shape.modules) {
        return Err(bytes.invalid(format!("it has {used} modules")));
    }
    let records = bytes.read(layout.modules, used as usize * module::SIZE / 8)?;
    let strings_length = usize::from(layout.shape.string_pages) * super::super::format::PAGE;
    let strings = bytes.read(layout.strings, strings_length / 8)?;
    let one = |at: usize| {
        let place = records.word(at + module::PATH);
        let (offset, length) = ((place >> 32) as usize, (place & 0xffff_ffff) as usize);
        let id_length = records.word(at + module::BUILD_ID_LENGTH) as usize;
        let (start, end) = (records.word(at + module::START), records.word(at + module::END));
        let fits = offset.checked_add(length).is_some_and(|end| end <= strings_length);
        if !fits || id_length > module::BUILD_ID_MAX || start >= end {
            return Err(bytes.invalid(format!("the module at {start:#x} is out of bounds")));
        }
        Ok(Module {
            start,
            end,
            bias: records.word(at + module::BIAS),
            path: path(strings.slice(offset, length)),
            build_id: records.slice(at + module::BUILD_ID, id_length).to_vec(),
        })
    };
    (0..used as usize).map(|nth| one(nth * module::SIZE)).collect()
}

fn quality(header: &Copied, live: &Live, sites: &[Site]) -> Quality {
    let loss = |loss: Loss| header.word(loss.at());
    let samples = |end: StackEnd| {
        sites.iter().filter(|site| site.end == end).map(|site| site.live.samples).sum()
    };
    Quality {
        frame_pointers: match header.word(header::FRAME_POINTERS) {
            0 => None,
            works => Some(works == 1),
        },
        dropped_blocks: loss(Loss::LiveFull),
        dropped_stacks: loss(Loss::SitesFull),
        deep_stacks: samples(StackEnd::Deep),
        broken_stacks: samples(StackEnd::Broken),
        unknown_stacks: samples(StackEnd::Unknown),
        reentrant: loss(Loss::Reentrant),
        shared_threads: loss(Loss::Threads),
        dropped_tags: loss(Loss::Tags),
        dropped_modules: loss(Loss::Modules),
        in_flight: live.in_flight,
        unstable: live.unstable,
    }
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}
