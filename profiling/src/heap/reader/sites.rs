//! The sites of a profile: stacks, scopes, and what they allocated.

use super::super::MAX_FRAMES;
use super::super::format::{BLOCK_UNIT, Layout, Place, WalkEnd, header, site};
use super::super::snapshot::{Estimate, Module, Site, StackEnd};
use super::bytes::{Bytes, Copied};
use super::live::Live;
use crate::error::Result;

/// Puts live blocks and totals to their sites; those that hold and allocated nothing are left out.
///
/// Read after the live blocks: a site is published before the first block that names it.
pub(super) fn read(
    bytes: &Bytes,
    layout: &Layout,
    live: &Live,
    modules: &[Module],
) -> Result<Vec<Site>> {
    let used = used(bytes, header::SITES_USED, layout.max_sites())?;
    let records = bytes.read(layout.sites, used * site::SIZE / 8)?;
    let mut estimates = vec![Estimate::default(); used];
    for block in &live.blocks {
        let Some(estimate) = estimates.get_mut(block.site) else {
            let (site, at) = (block.site, block.address);
            return Err(bytes.invalid(format!("the block at {at:#x} names site {site} of {used}")));
        };
        estimate.add(block.bytes as f64, block.weight);
    }
    let mut allocated = vec![Estimate::default(); used];
    for stripe in 0..site::STRIPES {
        let totals = bytes.read(layout.total(stripe, 0), used * site::TOTAL_SIZE / 8)?;
        for (nth, total) in allocated.iter_mut().enumerate() {
            total.bytes += totals.word(nth * site::TOTAL_SIZE) as f64;
            total.blocks += totals.word(nth * site::TOTAL_SIZE + 8) as f64 / BLOCK_UNIT;
        }
    }
    // Frames are written before the site that names them.
    let used = self::used(bytes, header::FRAMES_USED, layout.max_frames())?;
    let frames = bytes.read(layout.frames, used)?;
    let mut sites = Vec::new();
    for (nth, (live, allocated)) in estimates.into_iter().zip(allocated).enumerate() {
        if live.samples == 0 && allocated.blocks == 0.0 {
            continue;
        }
        let place = place(bytes, layout, &records, nth, used)?;
        let frames: Vec<u64> =
            (place.first..place.first + place.frames).map(|at| frames.word(at * 8)).collect();
        let end = stack_end(place.end, &frames, modules);
        let tag = (place.tag != 0).then_some(place.tag as u32);
        sites.push(Site { frames, end, tag, live, allocated });
    }
    sites.sort_by(|a, b| b.live.bytes.total_cmp(&a.live.bytes));
    Ok(sites)
}

/// How much of a section is used: never more than there is. A writer that found it full may have
/// asked for more.
fn used(bytes: &Bytes, counter: usize, most: usize) -> Result<usize> {
    let used = bytes.word(counter)?;
    if used > 1 << 40 {
        return Err(bytes.invalid(format!("{used} records in a section of {most}")));
    }
    Ok(usize::try_from(used).unwrap_or(most).min(most))
}

/// A site's record, its bounds checked.
fn place(
    bytes: &Bytes,
    layout: &Layout,
    records: &Copied,
    nth: usize,
    frames: usize,
) -> Result<Place> {
    let word = records.word(nth * site::SIZE + site::PLACE);
    let fits = |place: &Place| {
        place.frames <= MAX_FRAMES
            && place.first.checked_add(place.frames).is_some_and(|end| end <= frames)
            && place.tag < layout.max_tags()
    };
    let is_published = nth == 0 || records.word(nth * site::SIZE + site::HASH) != 0;
    match Place::from_word(word).filter(fits) {
        Some(place) if is_published => Ok(place),
        _ => Err(bytes.invalid(format!("site {nth} is {word:#x}, which no site can be"))),
    }
}

/// The C library's start of a program or a thread keeps no frame pointers: a walk that ends in it
/// is whole.
fn stack_end(end: WalkEnd, frames: &[u64], modules: &[Module]) -> StackEnd {
    let outermost = || {
        let last = *frames.last()?;
        modules.iter().rev().find(|module| (module.start..module.end).contains(&last))
    };
    let is_c_library = |module: &Module| {
        let name = module.path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libc.so") || name.starts_with("libc-") || name.starts_with("libpthread")
    };
    match end {
        WalkEnd::None => StackEnd::Unknown,
        WalkEnd::Zero => StackEnd::Complete,
        WalkEnd::Deep => StackEnd::Deep,
        WalkEnd::Outside if outermost().is_some_and(is_c_library) => StackEnd::Complete,
        WalkEnd::Outside => StackEnd::Broken,
    }
}

impl Estimate {
    /// Adds a sample of a block of `bytes` that stands for `weight` blocks.
    ///
    /// The Horvitz–Thompson estimate: with probability `p = 1 / weight` of being drawn, the sample
    /// counts `bytes / p`, and adds `bytes² (1 - p) / p²` to the estimate of its variance.
    fn add(&mut self, bytes: f64, weight: f64) {
        self.bytes += bytes * weight;
        self.blocks += weight;
        self.samples += 1;
        self.bytes_variance += bytes * bytes * weight * (weight - 1.0);
    }
}
