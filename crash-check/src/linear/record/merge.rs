//! Stamped events of many processes into one history.

use crate::linear::{Event, History};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// An event and when it happened.
pub(super) type Stamped<Op, Ret> = (u64, Event<Op, Ret>);

/// Merges lanes, one a process, each in the order of its own stamps.
///
/// At equal stamps invocations stand first: then the operations overlap, and neither is claimed
/// to precede the other.
pub(super) fn merge<Op, Ret>(lanes: Vec<Vec<Stamped<Op, Ret>>>) -> History<Op, Ret> {
    let mut lanes: Vec<_> = lanes.into_iter().map(|lane| lane.into_iter().peekable()).collect();
    let rank = |(stamp, event): &Stamped<Op, Ret>| (*stamp, !matches!(event, Event::Invoke(..)));
    let mut heads: BinaryHeap<_> = lanes
        .iter_mut()
        .enumerate()
        .filter_map(|(lane, events)| Some(Reverse((rank(events.peek()?), lane))))
        .collect();
    let mut history = History::new();
    while let Some(Reverse((_, lane))) = heads.pop() {
        if let Some((_, event)) = lanes[lane].next() {
            history.push(event);
        }
        heads.extend(lanes[lane].peek().map(|head| Reverse((rank(head), lane))));
    }
    history
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::Process;

    #[test]
    fn operations_with_equal_stamps_overlap_and_each_process_keeps_its_order() {
        let (a, b) = (Process(0), Process(1));
        let first = vec![(1, Event::Invoke(a, ())), (5, Event::Return(a, ()))];
        let second =
            vec![(5, Event::Invoke(b, ())), (5, Event::Return(b, ())), (5, Event::Invoke(b, ()))];
        let merged = merge(vec![first, second]);
        assert_eq!(
            merged.events(),
            [
                Event::Invoke(a, ()),
                Event::Invoke(b, ()),
                Event::Return(a, ()),
                Event::Return(b, ()),
                Event::Invoke(b, ()),
            ]
        );
    }
}
