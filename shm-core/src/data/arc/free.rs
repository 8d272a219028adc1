//! Which slots may be free, as far as one process knows: hints, and the mask decides.

use super::steps;
use super::table::{InHeap, Range, Tables};
use crate::heap::Local;
use crate::primitive::Ordering;
use crate::{Error, Peers};

/// More than these are found by a look at the slots.
const MOST_HINTS: usize = 1024;

/// Where to look for a slot that nobody has.
#[derive(Debug, Default)]
pub(super) struct Free {
    /// The tables that we know of.
    ranges: Vec<Range>,
    /// Slots that we have given up.
    hints: Vec<u32>,
    /// Where the last look ended.
    cursor: u32,
}

impl Free {
    /// Learns of tables that others have made.
    pub fn learn<P: Peers + Clone>(
        &mut self,
        tables: &Tables,
        local: &Local<P>,
    ) -> Result<(), Error> {
        self.ranges = tables.slots(local.heap())?;
        Ok(())
    }

    /// Notes a slot that nobody had a moment ago.
    pub fn note(&mut self, slot: u32) {
        if self.hints.len() < MOST_HINTS {
            self.hints.push(slot);
        }
    }

    /// A slot that nobody has becomes ours: its number, and where it lies.
    #[inline]
    pub fn claim<P: Peers + Clone>(&mut self, local: &Local<P>, mine: u64) -> Option<(u32, u64)> {
        while let Some(slot) = self.hints.pop() {
            let range = self.ranges.iter().find_map(|range| range.at(slot).map(|at| (range, at)));
            if let Some((range, at)) = range
                && try_claim(*range, local, (slot, at), mine)
            {
                return Some((slot, at));
            }
        }
        self.search(local, mine)
    }

    /// Looks at every slot, beginning where one may be free.
    fn search<P: Peers + Clone>(&mut self, local: &Local<P>, mine: u64) -> Option<(u32, u64)> {
        let claims = |range: &Range, from| {
            range.from(from).find(|&found| try_claim(*range, local, found, mine))
        };
        let behind = self.ranges.iter().find_map(|range| claims(range, self.cursor));
        let found = behind.or_else(|| self.ranges.iter().find_map(|range| claims(range, 0)));
        self.cursor = found.map_or(0, |(slot, _)| slot + 1);
        found
    }
}

#[inline]
fn try_claim<P: Peers + Clone>(
    range: Range,
    local: &Local<P>,
    (slot, at): (u32, u64),
    mine: u64,
) -> bool {
    // Relaxed: the exchange of the claim decides.
    if local.heap().word(at).load(Ordering::Relaxed) != 0 {
        return false;
    }
    range.mark(local.heap(), slot);
    steps::claim(&InHeap { local, at }, mine)
}
