//! What fork copied: processes that descend from one another by `fork` alone, and the pages that
//! began shared among them.
//!
//! A page that two relatives share is one page with two mappers. When one of them writes, it gets
//! a copy, which it alone maps. So at an address that was once seen shared, the members of the
//! family that have a page alone have one each, and those that do not have one among them.

use std::ops::Range;

use super::member::Member;
use crate::proc_files::pagemap::{PageEntry, Pagemap};
use crate::proc_files::{ReadError, smaps};

/// So many pages are read at a time.
const CHUNK: usize = 2048;

/// At a first look, no more than so many pages of address space are gone through (64 GiB of
/// 4 KiB pages): a process may reserve any amount.
const MAX_PAGES: u64 = 1 << 24;

/// All families of a tree.
#[derive(Debug)]
pub(super) struct Families {
    families: Vec<Family>,
    next: u32,
    page_size: u64,
}

#[derive(Debug)]
struct Family {
    number: u32,
    /// Page numbers that were seen shared; sorted, not overlapping.
    began_shared: Vec<Range<u64>>,
}

impl Families {
    pub(super) fn new() -> Self {
        Self { families: Vec::new(), next: 0, page_size: rustix::param::page_size() as u64 }
    }

    /// Whether nothing was ever seen shared.
    pub(super) fn is_empty(&self) -> bool {
        self.families.is_empty()
    }

    /// The place of a process that was forked and has not been looked at yet.
    pub(super) fn newcomer(members: &[Member]) -> Option<usize> {
        members
            .iter()
            .position(|member| member.forked && !member.looked_at && !member.has_no_memory())
    }

    /// Looks at a newly forked process: what it shares now began shared.
    pub(super) fn look(&mut self, members: &mut [Member], place: usize, buffer: &mut Vec<u8>) {
        let number = self.number_for(members, place);
        let member = &mut members[place];
        member.looked_at = true;
        let pages = match shared_pages(member, self.page_size, buffer) {
            Ok(pages) => pages,
            Err(refused) => {
                member.memory.denied.pagemap = refused == ReadError::Refused;
                return;
            }
        };
        let count: u64 = pages.iter().map(|run| run.end - run.start).sum();
        member.memory.fork.inherited = count * self.page_size;
        match self.families.iter_mut().find(|family| family.number == number) {
            Some(family) => {
                family.began_shared.extend(pages);
                family.began_shared = union(std::mem::take(&mut family.began_shared));
            }
            None => self.families.push(Family { number, began_shared: pages }),
        }
    }

    /// The number of the family that a process belongs to by its parent; a new one if need be.
    fn number_for(&mut self, members: &mut [Member], place: usize) -> u32 {
        let parent = members[place].memory.parent;
        let parent = members.iter().position(|member| member.pid() == parent);
        let known = parent.and_then(|parent| members[parent].family);
        let number = known.unwrap_or(self.next);
        self.next = self.next.max(number.saturating_add(1));
        if let Some(parent) = parent {
            members[parent].family = Some(number);
        }
        members[place].family = Some(number);
        number
    }

    /// Counts the copies in every family.
    pub(super) fn measure(&mut self, members: &mut [Member]) {
        self.families
            .retain(|family| members.iter().any(|member| member.family == Some(family.number)));
        for family in &self.families {
            let mut relatives: Vec<&mut Member> =
                members.iter_mut().filter(|member| member.family == Some(family.number)).collect();
            let mut open = Vec::new();
            for (place, member) in relatives.iter_mut().enumerate() {
                member.memory.fork.copied = 0;
                if member.has_no_memory() {
                    continue;
                }
                match Pagemap::open(&member.directory) {
                    Ok(pagemap) => open.push((place, pagemap)),
                    Err(error) => member.memory.denied.pagemap = error == ReadError::Refused,
                }
            }
            if open.len() < 2 {
                continue; // whoever is alone has no copies: all pages are its own
            }
            let copies = family.copies(&open);
            for ((place, _), pages) in open.iter().zip(copies) {
                relatives[*place].memory.fork.copied = pages * self.page_size;
            }
        }
    }
}

impl Family {
    /// How many copies each of the relatives has.
    fn copies(&self, relatives: &[(usize, Pagemap)]) -> Vec<u64> {
        let mut copies = vec![0u64; relatives.len()];
        let mut entries = vec![Vec::new(); relatives.len()];
        for run in &self.began_shared {
            let mut first = run.start;
            while first < run.end {
                let count = usize::try_from(run.end - first).map_or(CHUNK, |left| left.min(CHUNK));
                for ((_, pagemap), entries) in relatives.iter().zip(&mut entries) {
                    pagemap.read(first, count, entries);
                }
                (0..count).for_each(|page| count_copies(&entries, page, &mut copies));
                first += count as u64;
            }
        }
        copies
    }
}

/// Counts the copies of one page at those that have them.
fn count_copies(entries: &[Vec<PageEntry>], page: usize, copies: &mut [u64]) {
    let entry_of = |relative: &Vec<PageEntry>| relative.get(page).copied();
    // Those who share have one page among them; where nobody shares, the eldest has the original.
    let mut original = entries.iter().filter_map(entry_of).any(PageEntry::is_shared);
    for (relative, copies) in entries.iter().zip(copies) {
        let alone = entry_of(relative).is_some_and(|it| it.is_anonymous() && !it.is_shared());
        if alone && std::mem::replace(&mut original, true) {
            *copies += 1;
        }
    }
}

/// The runs of pages that a process shares with a relative now.
fn shared_pages(
    member: &Member,
    page_size: u64,
    buffer: &mut Vec<u8>,
) -> Result<Vec<Range<u64>>, ReadError> {
    member.directory.read(c"smaps", buffer)?;
    let pagemap = Pagemap::open(&member.directory)?;
    let mut runs: Vec<Range<u64>> = Vec::new();
    let mut entries = Vec::new();
    let mut left = MAX_PAGES;
    for range in smaps::anonymous_ranges(buffer) {
        let (mut first, end) = (range.start / page_size, range.end / page_size);
        while first < end && left > 0 {
            let count =
                usize::try_from((end - first).min(left)).map_or(CHUNK, |all| all.min(CHUNK));
            pagemap.read(first, count, &mut entries);
            let shared = (first..).zip(&entries).filter(|(_, entry)| entry.is_shared());
            shared.for_each(|(page, _)| append(&mut runs, page));
            first += count as u64;
            left -= count as u64;
        }
    }
    Ok(runs)
}

/// Adds a page behind all others.
fn append(runs: &mut Vec<Range<u64>>, page: u64) {
    match runs.last_mut() {
        Some(last) if last.end == page => last.end += 1,
        _ => runs.push(page..page + 1),
    }
}

/// Sorted runs, with those that overlap or touch made one.
fn union(mut runs: Vec<Range<u64>>) -> Vec<Range<u64>> {
    runs.sort_unstable_by_key(|run| run.start);
    let mut united: Vec<Range<u64>> = Vec::with_capacity(runs.len());
    for run in runs {
        match united.last_mut() {
            Some(last) if run.start <= last.end => last.end = last.end.max(run.end),
            _ => united.push(run),
        }
    }
    united
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARED: PageEntry = PageEntry::of(true, false);
    const ALONE: PageEntry = PageEntry::of(true, true);
    const ABSENT: PageEntry = PageEntry::of(false, false);

    fn copies(entries: &[PageEntry]) -> Vec<u64> {
        let entries: Vec<Vec<PageEntry>> = entries.iter().map(|entry| vec![*entry]).collect();
        let mut copies = vec![0; entries.len()];
        count_copies(&entries, 0, &mut copies);
        copies
    }

    #[test]
    fn whoever_has_a_page_alone_while_others_share_has_a_copy() {
        assert_eq!(copies(&[SHARED, ALONE, SHARED]), [0, 1, 0]);
        assert_eq!(copies(&[ALONE, SHARED, SHARED]), [1, 0, 0]);
    }

    #[test]
    fn where_nobody_shares_all_but_the_eldest_have_copies() {
        assert_eq!(copies(&[ALONE, ALONE]), [0, 1]);
        assert_eq!(copies(&[ALONE, ALONE, ALONE]), [0, 1, 1]);
    }

    #[test]
    fn a_page_that_only_one_is_left_with_is_no_copy() {
        assert_eq!(copies(&[ABSENT, ALONE]), [0, 0]);
        assert_eq!(copies(&[SHARED, SHARED]), [0, 0]);
    }

    #[test]
    fn runs_of_pages_are_united() {
        assert_eq!(union(vec![8..9, 1..3, 2..5, 5..6]), [1..6, 8..9]);
        let mut runs = Vec::new();
        [1, 2, 3, 7].into_iter().for_each(|page| append(&mut runs, page));
        assert_eq!(runs, [1..4, 7..8]);
    }
}
