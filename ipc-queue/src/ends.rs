//! The two ends of a mapped ring, whatever its units are: role, positions, closing, and what a
//! drop does. Typed rings and pipes are these plus copying.

use std::ptr::NonNull;
use std::sync::Arc;

use shm_core::barrier;
use shm_core::{Peers, Segment};

use crate::Error;
use crate::bell::{Bell, Doorbell};
use crate::mapped::Mapped;
use crate::preamble::Unit;
use crate::ring::{self, Company, RecvSide, SendSide, Shared, Stop};
use crate::role::{self, Holder, Side};
use crate::select::source::Source;
use crate::spsc::slots::Slot;
use crate::wait::{Deadline, SideStats};

/// From whom a side is claimed.
pub(crate) enum From {
    Nobody,
    /// From a holder that the caller knows dead.
    Dead(Holder),
    /// From nobody, or from a member of the group that is gone.
    AnyoneGone(Arc<dyn Peers + Send + Sync>),
}

/// What both ends have.
#[derive(Debug)]
struct End {
    mapped: Mapped,
    side: Side,
    mine: Holder,
}

impl End {
    fn attach(
        segment: &Segment,
        offset: usize,
        unit: Unit,
        side: Side,
        from: From,
    ) -> Result<(Self, Company), Error> {
        // Registers this process before its first publication (see `barrier`).
        barrier::mode();
        let mapped = Mapped::attach(segment, offset, unit)?;
        let (mine, company) = match from {
            From::Nobody => (role::claim(mapped.shared(), side, None)?, Company::default()),
            From::Dead(holder) => {
                (role::claim(mapped.shared(), side, Some(holder))?, Company::default())
            }
            From::AnyoneGone(peers) => {
                let mine = role::claim_among(mapped.shared(), side, &*peers)?;
                (mine, Company(Some(peers)))
            }
        };
        Ok((End { mapped, side, mine }, company))
    }

    /// A forked child inherits the value, not the role: there it must do nothing.
    fn inherited_by_fork(&self) -> bool {
        self.mine.pid() != std::process::id()
    }

    fn close(&self) {
        if !self.inherited_by_fork() {
            self.mapped.shared().end(match self.side {
                Side::Producer => ring::PRODUCER_CLOSED,
                Side::Consumer => ring::CONSUMER_CLOSED,
            });
        }
    }

    fn release(&self) {
        if !self.inherited_by_fork() {
            role::release(self.mapped.shared(), self.side, self.mine);
        }
    }
}

/// A failed attach gives the role back.
fn corrupted(end: &End) -> Error {
    end.release();
    Error::Corrupted("the positions are further apart than the capacity")
}

/// The producing end.
#[derive(Debug)]
pub(crate) struct SendEnd {
    end: End,
    side: SendSide,
    open: bool,
}

/// The consuming end.
#[derive(Debug)]
pub(crate) struct RecvEnd {
    end: End,
    side: RecvSide,
    open: bool,
}

/// What the two ends share in form.
macro_rules! both_ends {
    ($name:ident, $half:ident, $side:expr, $words:ident) => {
        impl $name {
            /// Claims the side.
            pub(crate) fn attach(
                segment: &Segment,
                offset: usize,
                unit: Unit,
                from: From,
            ) -> Result<Self, Error> {
                let (end, company) = End::attach(segment, offset, unit, $side, from)?;
                match $half::resume(end.mapped.shared(), end.mapped.capacity()) {
                    Err(_) => Err(corrupted(&end)),
                    Ok(mut side) => {
                        side.company = company;
                        Ok($name { end, side, open: true })
                    }
                }
            }

            #[inline(always)]
            pub(crate) fn shared(&self) -> &Shared {
                self.end.mapped.shared()
            }

            #[inline(always)]
            pub(crate) fn units(&self) -> NonNull<u8> {
                self.end.mapped.units()
            }

            #[inline(always)]
            pub(crate) fn capacity(&self) -> u64 {
                self.end.mapped.capacity()
            }

            #[inline(always)]
            pub(crate) fn position(&self) -> u64 {
                self.side.position()
            }

            /// What the functions on slots work with.
            #[inline(always)]
            pub(crate) fn parts<T>(&mut self) -> (&mut $half, &Shared, &[Slot<T>]) {
                let mapped = &self.end.mapped;
                (&mut self.side, mapped.shared(), mapped.slots())
            }

            pub(crate) fn len(&self) -> usize {
                self.shared().len(self.capacity()) as usize
            }

            pub(crate) fn stats(&self) -> SideStats {
                self.shared().$words.0.counters.read()
            }

            pub(crate) fn set_looks(&mut self, looks: u32) {
                self.side.patience.limit(looks);
            }

            /// Rings `bell` too after every change of our position and when we close.
            pub(crate) fn also_ring(&mut self, bell: Doorbell) {
                self.side.tells.also(bell);
            }

            pub(crate) fn close(&mut self) {
                self.end.close();
                self.side.tells.ring_also();
            }

            /// Gives the role back without closing.
            pub(crate) fn detach(mut self) {
                self.open = false;
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                if self.open {
                    self.close();
                }
                self.end.release();
            }
        }
    };
}

both_ends!(SendEnd, SendSide, Side::Producer, producer);
both_ends!(RecvEnd, RecvSide, Side::Consumer, consumer);

impl Source for SendEnd {
    fn is_ready(&self) -> bool {
        self.shared().is_sendable(self.position(), self.capacity(), &self.side.company)
    }

    fn bell(&self) -> &Bell {
        &self.shared().control.0.space
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn peers(&self) -> Option<&dyn Peers> {
        self.side.company.peers()
    }
}

impl Source for RecvEnd {
    fn is_ready(&self) -> bool {
        self.shared().is_receivable(self.position(), &self.side.company)
    }

    fn bell(&self) -> &Bell {
        &self.shared().control.0.data
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn peers(&self) -> Option<&dyn Peers> {
        self.side.company.peers()
    }
}

impl SendEnd {
    #[inline(always)]
    pub(crate) fn wait_room(&mut self, want: u64, deadline: Deadline) -> Result<u64, Stop> {
        self.side.wait_room(self.end.mapped.shared(), want, deadline)
    }

    #[inline(always)]
    pub(crate) fn publish(&mut self, count: u64) {
        self.side.publish(self.end.mapped.shared(), count);
    }
}

impl RecvEnd {
    #[inline(always)]
    pub(crate) fn wait_ready(&mut self, want: u64, deadline: Deadline) -> Result<u64, Stop> {
        self.side.wait_ready(self.end.mapped.shared(), want, deadline)
    }

    #[inline(always)]
    pub(crate) fn consume(&mut self, count: u64) {
        self.side.consume(self.end.mapped.shared(), count);
    }
}
