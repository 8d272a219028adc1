//! The recording path, killed at every instruction: what is left reads and is valid, no block that
//! was recorded before is lost, and the block that was being recorded is there whole or not at all.

use std::error::Error;
use std::ptr::NonNull;

use crash_check::step::{Region, Scenario, is_permitted};

use super::area::Area;
use super::elf::Facts;
use super::format::{Layout, Shape, Step, WalkEnd, header, live};
use super::modules::{self, Mapping};
use super::recorder::{self, Block};
use super::site_table::Stack;
use super::snapshot::{Mode, Snapshot};
use super::{Profile, control, live_table, tags};
use std::sync::atomic::Ordering::Relaxed;

type Said = Result<(), Box<dyn Error>>;

/// A profile of 16 + 64 live blocks and 15 sites: 60 KiB, all of it compared at every step.
pub(super) static SMALL: Layout = Layout::new(Shape {
    threads: 4,
    tags_log2: 4,
    modules: 8,
    string_pages: 1,
    sites_log2: 4,
    frames_log2: 9,
    filter_log2: 12,
    live_log2: 4,
    live_levels: 2,
});

/// The first of the blocks that are there before the operation.
const FIRST: u64 = 0x7f00_0000_1000;
/// The block of the operation.
const NEW: u64 = 0x7f00_0000_0010;
const BYTES: u64 = 100;

fn area(region: &Region) -> Area<'static> {
    let base = NonNull::new(region.as_ptr()).unwrap();
    // SAFETY: the region is mapped for as long as the process runs, and has this length (`init`
    // checks); the kit reads it while nobody writes.
    unsafe { Area::new(base, &SMALL) }
}

fn record(area: Area<'_>, address: u64, site: u64) {
    let slot = area.slot(1);
    slot.allocated(BYTES);
    slot.tell(area, 1);
    let frames = [0x1000 + site, 0x2000, 0x3000 + site];
    let (weight, filtered, tag, thread) = (1.0, true, 0, 1);
    let block = Block { address, bytes: BYTES, weight, filtered, tag, thread };
    let stack = Stack { frames: &frames, end: WalkEnd::Zero };
    recorder::record(area, stack, block, |step: Step| slot.step.store(step as u64, Relaxed));
}

fn free(area: Area<'_>, address: u64) {
    let slot = area.slot(1);
    slot.freed(BYTES);
    slot.tell(area, 1);
    recorder::remove_in(area, address, |step| slot.step.store(step as u64, Relaxed));
}

/// An exact profile of `blocks` blocks of one site each, up to the number of sites.
pub(super) fn prepare(region: &Region, blocks: u64, sites: u64) -> Said {
    if region.len() != SMALL.length {
        return Err(format!("the region has {} bytes, not {}", region.len(), SMALL.length).into());
    }
    let area = area(region);
    control::lay_out(area, (SMALL.max_sites() as u64, SMALL.max_frames() as u64));
    area.word(header::MODE).store(Mode::Exact.to_word(), Relaxed);
    area.word(header::STATE).store(header::READY, Relaxed);
    // So that a new site does not look for modules: all of its code is known.
    let all = Mapping { start: 1, end: u64::MAX, offset: 0, is_code: true, path: b"/all" };
    modules::add(area, all, Facts::default());
    if !area.slot(1).claim(1, 1, 0) {
        return Err("slot 1 is taken".into());
    }
    (0..blocks).for_each(|nth| record(area, FIRST + 64 * nth, nth % sites));
    Ok(())
}

fn look(region: &Region) -> Result<Snapshot, Box<dyn Error>> {
    let profile = Profile::from_file(region.file()?)?;
    profile.validate()?;
    Ok(profile.snapshot()?)
}

fn count(snapshot: &Snapshot) -> (u64, u64, u64) {
    let samples = snapshot.sites.iter().map(|site| site.live.samples).sum();
    let lost = snapshot.quality.dropped_blocks + snapshot.quality.in_flight;
    (samples, snapshot.totals.live_blocks(), lost)
}

/// The operation's block is there or not; all others are.
fn within(region: &Region, live: std::ops::RangeInclusive<u64>) -> Said {
    let snapshot = look(region)?;
    let (samples, counted, in_flight) = count(&snapshot);
    let bytes: f64 = snapshot.sites.iter().map(|site| site.live.bytes).sum();
    if !live.contains(&samples) || bytes != (samples * BYTES) as f64 {
        return Err(format!("{samples} blocks of {bytes} bytes are live, not {live:?}").into());
    }
    if !live.contains(&counted) || in_flight > 1 {
        return Err(format!("{counted} are counted, not {live:?}; {in_flight} in flight").into());
    }
    let stacks = snapshot.sites.iter().filter(|site| site.live.samples > 0);
    match stacks.into_iter().find(|site| site.frames.len() != 3 || site.frames[1] != 0x2000) {
        Some(site) => Err(format!("a stack is not whole: {:x?}", site.frames).into()),
        None => Ok(()),
    }
}

fn run(scenario: Scenario) {
    if is_permitted().is_err() {
        eprintln!("ptrace is not permitted here: not checked");
        return;
    }
    let is_long = std::env::var_os("KILL_LONG").is_some();
    let real_kills = if is_long { usize::MAX } else { 2 };
    scenario.depth(1).real_kills(real_kills).run().unwrap().assert_clean();
}

fn row(operation: &str, state: &str, blocks: u64, sites: u64) -> Scenario {
    Scenario::new(operation)
        .state(state)
        .region(SMALL.length)
        .init(move |r| prepare(r, blocks, sites))
}

#[test]
fn kill_recording_a_block_of_a_new_site() {
    run(row("heap::record", "new site", 3, 3)
        .operation(|r| record(area(r), NEW, 9))
        .validate(|r| within(r, 3..=4)));
}

#[test]
fn kill_recording_a_block_of_a_known_site() {
    run(row("heap::record", "known site", 3, 3)
        .operation(|r| record(area(r), NEW, 1))
        .validate(|r| within(r, 3..=4)));
}

#[test]
fn kill_recording_a_block_that_needs_a_further_level() {
    run(row("heap::record", "first level full", 17, 3)
        .operation(|r| record(area(r), NEW, 1))
        .validate(|r| within(r, 17..=18)));
}

#[test]
fn kill_freeing_a_block() {
    run(row("heap::remove", "three live", 3, 3)
        .operation(|r| free(area(r), FIRST + 64))
        .validate(|r| within(r, 2..=3)));
}

#[test]
fn kill_moving_a_block() {
    run(row("heap::remove, heap::record", "three live", 3, 3)
        .operation(|r| {
            free(area(r), FIRST + 64);
            record(area(r), NEW, 2);
        })
        .validate(|r| within(r, 2..=3)));
}

#[test]
fn kill_recording_when_all_sites_are_used() {
    run(row("heap::record", "no site left", 15, 15)
        .operation(|r| record(area(r), NEW, 90))
        .validate(|r| {
            let (samples, ..) = count(&look(r)?);
            if (15..=16).contains(&samples) { Said::Ok(()) } else { Err("a block is lost".into()) }
        }));
}

#[test]
fn kill_entering_a_scope() {
    run(row("heap::scope", "a name that is new", 1, 1)
        .operation(|r| {
            let tag = tags::intern(area(r), "a name of some words");
            area(r).slot(1).tag.store(tag as u64, Relaxed);
        })
        .validate(|r| {
            let snapshot = look(r)?;
            let name = snapshot.threads[0].tag.map(|tag| snapshot.tags[tag as usize].as_str());
            if matches!(name, None | Some("a name of some words")) {
                Said::Ok(())
            } else {
                Err(format!("the scope is {name:?}").into())
            }
        }));
}

#[test]
fn kill_a_thread_that_begins_and_ends() {
    run(row("heap slot: claim, release", "one thread", 1, 1)
        .operation(|r| {
            let slot = area(r).slot(2);
            assert!(slot.claim(77, 5, 1000));
            slot.allocated(5000);
            slot.look(1000);
            slot.tell(area(r), 1);
            slot.release();
        })
        .validate(|r| {
            let totals = look(r)?.totals;
            let right = [(100, 1), (5100, 1), (5100, 2)];
            if right.contains(&(totals.live_bytes(), totals.live_blocks())) {
                Said::Ok(())
            } else {
                Err(format!("{totals:?}").into())
            }
        }));
}

#[test]
fn kill_adding_a_module() {
    let found = Mapping { start: 64, end: 128, offset: 0, is_code: true, path: b"/lib/libx.so" };
    run(row("heap modules: add", "one module", 1, 1)
        .operation(move |r| modules::add(area(r), found, Facts::default()))
        .validate(|r| match &look(r)?.modules[..] {
            [_] => Said::Ok(()),
            [_, module] if module.path.as_os_str() == "/lib/libx.so" => Ok(()),
            other => Err(format!("{other:?}").into()),
        }));
}

#[test]
fn a_table_that_forgets_to_claim_is_found_out() {
    // The negative control: the address is stored before what belongs to it.
    let report = row("a wrong order of stores", "three live", 3, 3)
        .operation(|r| {
            let area = area(r);
            area.slot(1).allocated(BYTES);
            let [line, _] = live_table::candidate_lines(NEW, SMALL.live[0].lines_log2);
            let place = line * live::LINE + live::LINE - 1;
            let payload = SMALL.live[0].payloads + place * live::PAYLOAD_SIZE;
            area.word(SMALL.live[0].keys + place * live::KEY_SIZE).store(NEW, Relaxed);
            area.word(payload + live::WEIGHT).store(1.0f64.to_bits(), Relaxed);
            area.word(payload + live::BYTES).store(BYTES, Relaxed);
            area.word(payload + live::PLACE).store(1, Relaxed);
        })
        .validate(|r| within(r, 3..=4))
        .depth(1);
    if is_permitted().is_ok() {
        assert!(report.run().unwrap().failure().is_some());
    }
}
