//! Work that was sent to a busy worker goes to an idle one.

use std::time::Instant;

use super::held::last_items;
use super::{SHORT, State};
#[cfg(feature = "tracing")]
use crate::events::Event;

impl State {
    /// Gives an idle worker half of what the worker with the most has not begun, once that one has
    /// been at the same request for a while: taking something back costs some microseconds.
    ///
    /// Until then the keeper is asked to come back, since the idle have nothing to say.
    pub(super) fn balance(&mut self) {
        if self.seats.len() < 2 || !self.has_idle() {
            return;
        }
        let Some((number, unstarted, since)) = self.busiest() else { return };
        let now = Instant::now();
        if self.balance_at.is_some_and(|at| at > now) {
            // The keeper will come.
            return;
        }
        self.balance_at = None;
        let due = since + SHORT;
        if due > now {
            self.balance_at = Some(due);
            self.wants_keeper = true;
            return;
        }
        let depth = self.depth();
        let Some(member) = self.seats[number].member.as_mut() else { return };
        let from = last_items(&member.held, unstarted.div_ceil(2));
        let freed = member.revoke(from);
        for job in freed {
            let free = (self.seats.iter_mut().enumerate())
                .filter(|(other, _)| *other != number)
                .filter_map(|(_, seat)| seat.member.as_mut())
                .filter(|member| member.takes_work() && member.held.len() < depth)
                .min_by_key(|member| member.held.len());
            match free {
                Some(member) => {
                    #[cfg(feature = "tracing")]
                    Event::Given { task: job.task.name, items: job.items }.note(&mut self.notices);
                    member.hold(job, self.next_ticket);
                    self.next_ticket += 1;
                }
                None => self.queue.push_back(job),
            }
        }
    }

    /// Takes back what worker `number` has not begun, from its item `from` on, for whoever is free.
    pub fn take_back(&mut self, number: usize, from: u64) {
        let Some(member) = self.seats.get_mut(number).and_then(|seat| seat.member.as_mut()) else {
            return;
        };
        let freed = member.revoke(from);
        self.give_back(freed);
    }

    fn has_idle(&self) -> bool {
        let limit = self.rules.recycle_after.unwrap_or(u64::MAX);
        self.members().any(|m| m.ready && m.takes_work() && m.held.is_empty() && m.sent < limit)
    }

    /// The worker with the most that it has not begun, how much that is, and since when it has
    /// been at its first request.
    fn busiest(&self) -> Option<(usize, u64, Instant)> {
        self.seats
            .iter()
            .enumerate()
            .filter_map(|(number, seat)| seat.member.as_ref().map(|member| (number, member)))
            .filter(|(_, member)| member.has_several())
            .filter(|(_, member)| member.held.iter().all(|held| held.job.pin.is_none()))
            .map(|(number, member)| (number, member.unstarted(), member.since))
            .filter(|(_, unstarted, _)| *unstarted > 0)
            .max_by_key(|(_, unstarted, _)| *unstarted)
    }
}
