//! What the session found, before source lines are looked up.

use super::wire::Wire;

/// Which promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureKind {
    /// The operation itself crashed, panicked or returned an error, with nobody killed.
    Operation,
    /// A recovery crashed, panicked, hung or returned an error.
    Recovery,
    /// `validate` named a broken invariant, crashed or hung.
    Invariant,
    /// The survivors could not go on: the continuation failed or hung.
    Continuation,
    /// A live bystander was never woken, or failed.
    Peer,
    /// After a real kill the memory differed from what the kit had predicted.
    Stamp,
    /// Two interleaved operations wait for each other.
    Deadlock,
}

const KINDS: [FailureKind; 7] = [
    FailureKind::Operation,
    FailureKind::Recovery,
    FailureKind::Invariant,
    FailureKind::Continuation,
    FailureKind::Peer,
    FailureKind::Stamp,
    FailureKind::Deadlock,
];

impl Wire for FailureKind {
    fn put(&self, out: &mut Vec<u8>) {
        let index = KINDS.iter().position(|kind| kind == self).unwrap_or(0);
        (index as u64).put(out);
    }
    fn take(from: &mut &[u8]) -> Option<FailureKind> {
        KINDS.get(usize::try_from(u64::take(from)?).ok()?).copied()
    }
}

/// Where the victim stood with respect to a wake-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// It runs, and nobody had to wake it.
    Running,
    /// It sleeps in a system call.
    Asleep,
    /// It was woken by the waker, and may owe that wake-up to somebody else.
    Woken,
}

impl Wire for Phase {
    fn put(&self, out: &mut Vec<u8>) {
        (*self as u64).put(out);
    }
    fn take(from: &mut &[u8]) -> Option<Phase> {
        match u64::take(from)? {
            0 => Some(Phase::Running),
            1 => Some(Phase::Asleep),
            2 => Some(Phase::Woken),
            _ => None,
        }
    }
}

/// A kill point: after so many instructions of an operation or a recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Instructions executed before the kill.
    pub instruction: u64,
    /// Address of the last instruction executed; 0 before the first.
    pub address: u64,
    /// Whether the victim slept, or had just been woken.
    pub phase: Phase,
    /// The same point counted from the last system call, where each of them is a case of its own:
    /// [`Scenario::each_system_call`](super::Scenario::each_system_call).
    pub after_call: Option<AfterCall>,
}

/// How many system calls had returned, and how many instructions were executed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AfterCall {
    /// System calls that had returned.
    pub calls: u64,
    /// Instructions since the last of them.
    pub instructions: u64,
}

impl Place {
    /// Does somebody who walks to `self` stop here, at `other`? The number of instructions can
    /// differ from walk to walk where the kernel's answers do; the number of calls seldom does.
    pub(super) fn is_reached_at(&self, other: &Place) -> bool {
        self.phase == other.phase
            && match (self.after_call, other.after_call) {
                (Some(wanted), Some(found)) => found >= wanted,
                _ => self.instruction == other.instruction,
            }
    }
}

impl Wire for Place {
    fn put(&self, out: &mut Vec<u8>) {
        self.instruction.put(out);
        self.address.put(out);
        self.phase.put(out);
        let after = self.after_call.map(|after| (after.calls, after.instructions));
        u64::from(after.is_some()).put(out);
        let (calls, instructions) = after.unwrap_or_default();
        calls.put(out);
        instructions.put(out);
    }
    fn take(from: &mut &[u8]) -> Option<Place> {
        let (instruction, address) = (u64::take(from)?, u64::take(from)?);
        let phase = Phase::take(from)?;
        let counts = u64::take(from)? == 1;
        let after = AfterCall { calls: u64::take(from)?, instructions: u64::take(from)? };
        Some(Place { instruction, address, phase, after_call: counts.then_some(after) })
    }
}

/// The unit in which images are compared first, in bytes.
const PAGE: usize = 4096;

/// One changed word of an image: 8 bytes, at an offset that is a multiple of 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Change {
    /// Offset in the region, in bytes.
    pub offset: u64,
    /// The word before.
    pub old: u64,
    /// The word after.
    pub new: u64,
}

impl Wire for Change {
    fn put(&self, out: &mut Vec<u8>) {
        self.offset.put(out);
        self.old.put(out);
        self.new.put(out);
    }
    fn take(from: &mut &[u8]) -> Option<Change> {
        let (offset, old) = (u64::take(from)?, u64::take(from)?);
        Some(Change { offset, old, new: u64::take(from)? })
    }
}

/// The words in which two images of equal length differ, by rising offset.
pub(super) fn changes(old: &[u8], new: &[u8]) -> Vec<Change> {
    // By pages first: most are equal, and comparing whole slices is fast in any build.
    let pages = old.chunks(PAGE).zip(new.chunks(PAGE)).enumerate();
    pages
        .filter(|(_, (old, new))| old != new)
        .flat_map(|(page, (old, new))| {
            let words = old.chunks(8).zip(new.chunks(8)).enumerate();
            words.filter(|(_, (old, new))| old != new).map(move |(at, (old, new))| Change {
                offset: (page * PAGE + at * 8) as u64,
                old: word(old),
                new: word(new),
            })
        })
        .collect()
}

/// Makes in `image` what [`changes`] found.
pub(super) fn apply(changes: &[Change], image: &mut [u8]) {
    for change in changes {
        let rest = usize::try_from(change.offset).ok().and_then(|at| image.get_mut(at..));
        for (byte, new) in rest.unwrap_or_default().iter_mut().zip(change.new.to_le_bytes()) {
            *byte = new;
        }
    }
}

fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// A failure as the session saw it.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) kind: FailureKind,
    pub(super) message: String,
    /// The operation's kill point, then those of recoveries.
    pub(super) path: Vec<Place>,
    /// Addresses of the last instructions of the last victim, oldest first.
    pub(super) trail: Vec<u64>,
    /// Address of the instruction that was not executed any more.
    pub(super) next: u64,
    /// Address of the last instruction that changed the image, and what it changed.
    pub(super) changed_at: u64,
    pub(super) changes: Vec<Change>,
    /// What replays it, after the scenario's name.
    pub(super) replay: String,
    /// How the victim was killed, or the schedule that was run.
    pub(super) how: String,
}

impl Wire for Finding {
    fn put(&self, out: &mut Vec<u8>) {
        self.kind.put(out);
        self.message.put(out);
        self.path.put(out);
        self.trail.put(out);
        self.next.put(out);
        self.changed_at.put(out);
        self.changes.put(out);
        self.replay.put(out);
        self.how.put(out);
    }
    fn take(from: &mut &[u8]) -> Option<Finding> {
        Some(Finding {
            kind: FailureKind::take(from)?,
            message: String::take(from)?,
            path: Vec::take(from)?,
            trail: Vec::take(from)?,
            next: u64::take(from)?,
            changed_at: u64::take(from)?,
            changes: Vec::take(from)?,
            replay: String::take(from)?,
            how: String::take(from)?,
        })
    }
}

/// The numbers of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) instructions: u64,
    pub(super) images: u64,
    pub(super) recoveries: u64,
    pub(super) real_kills: u64,
    pub(super) schedules: u64,
    /// 1 when the operation was left asleep.
    pub(super) asleep: u64,
    /// 1 when every schedule within the bound was run.
    pub(super) exhausted: u64,
}

impl Wire for Tally {
    fn put(&self, out: &mut Vec<u8>) {
        self.instructions.put(out);
        self.images.put(out);
        self.recoveries.put(out);
        self.real_kills.put(out);
        self.schedules.put(out);
        self.asleep.put(out);
        self.exhausted.put(out);
    }
    fn take(from: &mut &[u8]) -> Option<Tally> {
        Some(Tally {
            instructions: u64::take(from)?,
            images: u64::take(from)?,
            recoveries: u64::take(from)?,
            real_kills: u64::take(from)?,
            schedules: u64::take(from)?,
            asleep: u64::take(from)?,
            exhausted: u64::take(from)?,
        })
    }
}

/// Everything a session sends back.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) tally: Tally,
    pub(super) finding: Option<Finding>,
}

impl Wire for Outcome {
    fn put(&self, out: &mut Vec<u8>) {
        self.tally.put(out);
        self.finding.put(out);
    }
    fn take(from: &mut &[u8]) -> Option<Outcome> {
        Some(Outcome { tally: Tally::take(from)?, finding: <Option<Finding> as Wire>::take(from)? })
    }
}
