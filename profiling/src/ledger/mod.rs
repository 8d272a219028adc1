//! The ledger: who belongs to a process tree, and what memory each of them and each shared segment
//! takes right now.

mod budget;
mod families;
mod member;
mod segments;

use std::collections::HashSet;
use std::time::Instant;

use crate::error::{Error, Result};
use crate::proc_files::{ProcessDirectory, children, maps, stat::Stat};
use crate::processor_time;
use crate::snapshot::Snapshot;
use budget::Budget;
use families::Families;
use member::Member;
use segments::SegmentTable;

/// The memory of a process and all its descendants, sampled when asked.
///
/// A process belongs to the tree from the moment it is found until it ends, even when its parent
/// dies and it is handed to init. Processes that come and go are never an error. A handle on the
/// process's folder in `/proc` is kept for each, so that a pid given away anew is not mistaken
/// for it: one file descriptor a process.
///
/// # Two speeds
///
/// [`quick`](Self::quick) reads the kernel's running counters (`/proc/PID/status`) and asks
/// `stat` for each known segment: some 16 µs of processor time a process, whatever its size.
/// [`full`](Self::full) also has the kernel walk page tables (`smaps_rollup`): 1 to 6 ms for each
/// 256 MiB that a process has resident in 4 KiB pages, depending on how busy the memory is.
/// `examples/cost.rs` measures both. What [fork copied](crate::ForkCopies) is counted only
/// where somebody was forked without `exec`: each page that began shared is looked up for every
/// relative (some 10 ms for each GiB and process), in each full sample, and in quick ones as far as
/// a fiftieth of one processor goes.
///
/// ```
/// let mut ledger = profiling::Ledger::of(std::process::id())?;
/// let now = ledger.full();
/// assert!(now.total() > 0);
/// # Ok::<(), profiling::Error>(())
/// ```
#[derive(Debug)]
pub struct Ledger {
    root: u32,
    excluded: HashSet<u32>,
    members: Vec<Member>,
    segments: SegmentTable,
    families: Families,
    /// The pid given out last when the tree was last walked.
    last_pid: Option<u32>,
    /// Walk the tree in the next sample whatever `last_pid` says: the kernel's lists of children
    /// may be incomplete while a child exits.
    walk_again: bool,
    /// Whether any sample was taken; the first one is always a full one.
    sampled: bool,
    /// For reading `maps` in quick samples.
    budget: Budget,
    /// For looking at pages that began shared, in quick samples.
    fork_budget: Budget,
    buffer: Vec<u8>,
}

impl Ledger {
    /// The tree that starts at `pid`: that process, its children, theirs, and so on.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchProcess`] when there is none, [`Error::ProcUnreadable`] without `/proc`.
    pub fn of(pid: u32) -> Result<Self> {
        let mut buffer = Vec::with_capacity(8192);
        let root = open_member(pid, &mut buffer).ok_or(Error::NoSuchProcess { pid });
        let root = root.map_err(|missing| match std::fs::metadata("/proc/self/stat") {
            Ok(_) => missing,
            Err(source) => Error::ProcUnreadable { path: "/proc/self/stat".into(), source },
        })?;
        if root.directory.read(c"mountinfo", &mut buffer).is_err() {
            buffer.clear(); // another user's process: named tmpfs files are then left out
        }
        let tmpfs = maps::tmpfs_devices(&buffer);
        Ok(Self {
            root: pid,
            excluded: HashSet::new(),
            members: vec![root],
            segments: SegmentTable::new(tmpfs),
            families: Families::new(),
            last_pid: None,
            walk_again: true,
            sampled: false,
            budget: Budget::new(Instant::now()),
            fork_budget: Budget::new(Instant::now()),
            buffer,
        })
    }

    /// Leaves one process out: its memory, and the segments that nobody else in the tree maps or
    /// holds. Its descendants stay in. Meant for a process that does nothing but watch.
    pub fn exclude(&mut self, pid: u32) {
        self.excluded.insert(pid);
        self.segments.forget(pid);
    }

    /// The process at the root of the tree.
    pub fn root(&self) -> u32 {
        self.root
    }

    /// A sample from the kernel's running counters: cheap, for timelines.
    ///
    /// Processes that are new are found here too, and so are new segments, as long as reading
    /// `maps` takes less than a fiftieth of the time (a process that maps and unmaps without end
    /// has its own looked at less often). The first sample of a ledger is a
    /// [`full`](Self::full) one whichever is called.
    pub fn quick(&mut self) -> Snapshot {
        if !self.sampled {
            return self.full();
        }
        if self.has_grown() {
            self.walk();
        }
        self.refresh();
        self.segments.measure(&mut self.members);
        self.look_at_newcomers(false);
        self.count_copies();
        self.remap_stale();
        self.segments.locate_lost(&self.members);
        self.infer_touched();
        self.snapshot()
    }

    fn infer_touched(&mut self) {
        let Self { members, segments, excluded, .. } = self;
        let counted = members.iter().filter(|member| !excluded.contains(&member.pid()));
        counted.for_each(|member| segments.infer_touched(member));
    }

    /// Reads the `maps` of those whose mappings may have changed, as far as the budget goes.
    fn remap_stale(&mut self) {
        let Self { members, segments, excluded, budget, buffer, .. } = self;
        for member in members.iter_mut().filter(|member| !excluded.contains(&member.pid())) {
            if !segments.wants_remap(member) {
                continue;
            }
            if budget.allows(Instant::now()) {
                let before = processor_time::of_this_thread();
                segments.remap(member, buffer);
                budget.spend(processor_time::of_this_thread().saturating_sub(before));
            }
        }
    }

    /// A sample with everything: also what only a walk over the page tables tells.
    ///
    /// It makes the kernel look at every resident page of every process of the tree. The watched
    /// processes are not stopped, but one that maps or unmaps memory meanwhile may wait for a
    /// moment; see the costs above.
    pub fn full(&mut self) -> Snapshot {
        self.sampled = true;
        self.has_grown();
        self.walk();
        self.refresh();
        let Self { members, segments, excluded, buffer, .. } = self;
        for member in members.iter_mut().filter(|member| !excluded.contains(&member.pid())) {
            segments.remap(member, buffer);
            segments.find_held(member);
            member.read_detail(buffer);
        }
        segments.measure(members);
        segments.locate_lost(members);
        self.infer_touched();
        let Self { members, segments, excluded, buffer, .. } = self;
        segments.begin_walk();
        for member in members.iter_mut().filter(|member| !excluded.contains(&member.pid())) {
            segments.find_touched(member, buffer);
        }
        self.look_at_newcomers(true);
        self.families.measure(&mut self.members);
        self.snapshot()
    }

    /// Notes what the newly forked share with their relatives; in quick samples as far as the
    /// budget goes, for it is a walk over their pages.
    fn look_at_newcomers(&mut self, whatever_it_costs: bool) {
        while let Some(place) = Families::newcomer(&self.members) {
            if !whatever_it_costs && !self.fork_budget.allows(Instant::now()) {
                return;
            }
            let before = processor_time::of_this_thread();
            self.families.look(&mut self.members, place, &mut self.buffer);
            self.fork_budget.spend(processor_time::of_this_thread().saturating_sub(before));
        }
    }

    /// Counts what fork copied, in quick samples as far as the budget goes.
    fn count_copies(&mut self) {
        if self.families.is_empty() || !self.fork_budget.allows(Instant::now()) {
            return;
        }
        let before = processor_time::of_this_thread();
        self.families.measure(&mut self.members);
        self.fork_budget.spend(processor_time::of_this_thread().saturating_sub(before));
    }

    /// Whether any process was made on this machine since the last look.
    fn has_grown(&mut self) -> bool {
        let last_pid = children::last_pid(&mut self.buffer);
        let changed = last_pid.is_none() || last_pid != self.last_pid;
        self.last_pid = last_pid;
        std::mem::replace(&mut self.walk_again, changed) || changed
    }

    /// Finds the children of everyone in the tree, and theirs.
    fn walk(&mut self) {
        let mut next = 0;
        while let Some(member) = self.members.get(next) {
            next += 1;
            match children::of(&member.directory, &mut self.buffer) {
                Some(children) => children.into_iter().for_each(|child| self.join(child)),
                None => return self.walk_by_parent(),
            }
        }
    }

    /// The same from the parent that each process of the machine names.
    fn walk_by_parent(&mut self) {
        let everyone = children::by_parent(&mut self.buffer);
        let mut next = 0;
        while let Some(parent) = self.members.get(next).map(Member::pid) {
            next += 1;
            let children = everyone.iter().filter(|(_, its_parent)| *its_parent == parent);
            children.for_each(|(child, _)| self.join(*child));
        }
    }

    /// Takes a process into the tree, unless it is there or already gone.
    fn join(&mut self, pid: u32) {
        if self.members.iter().any(|member| member.pid() == pid) {
            return;
        }
        self.members.extend(open_member(pid, &mut self.buffer));
    }

    /// Reads everyone's counters, and lets go of who is gone.
    fn refresh(&mut self) {
        let Self { members, segments, buffer, walk_again, .. } = self;
        members.retain_mut(|member| {
            let alive = member.refresh(buffer).is_ok();
            if !alive {
                segments.forget(member.pid());
                *walk_again = true; // its pid may be somebody else's by now
            }
            alive
        });
        self.find_borrowers();
    }

    /// Marks the children that still run in their parent's memory.
    fn find_borrowers(&mut self) {
        for index in 0..self.members.len() {
            let Some(member) = self.members.get(index).filter(|member| member.forked) else {
                continue;
            };
            let parent = member.memory.parent;
            let borrows = self
                .members
                .iter()
                .any(|other| other.pid() == parent && member.has_the_memory_of(other));
            self.members[index].memory.borrows_parent = borrows;
        }
    }

    fn snapshot(&self) -> Snapshot {
        let counted = |member: &&Member| !self.excluded.contains(&member.pid());
        Snapshot {
            processes: self
                .members
                .iter()
                .filter(counted)
                .map(|member| member.memory.clone())
                .collect(),
            segments: self.segments.memory().cloned().collect(),
        }
    }
}

/// Opens the folder of a process and reads who it is; `None` if it is gone.
fn open_member(pid: u32, buffer: &mut Vec<u8>) -> Option<Member> {
    let directory = ProcessDirectory::open(pid).ok()?;
    directory.read(c"stat", buffer).ok()?;
    Some(Member::new(pid, directory, Stat::parse(buffer)?))
}
