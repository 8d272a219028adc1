//! Whose turn it is to drive, of the threads that wait for results: one leads, the others follow.
//!
//! State, steps and why no wake-up is lost: `docs/src/researchers/pool-waiting.md`.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{Thread, ThreadId};

/// The turn, and those who wait for it.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    leader: Option<ThreadId>,
    /// In the order in which they came. A thread waits in one place at a time, so it is here once.
    followers: VecDeque<Thread>,
}

/// What a thread does that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// It drives, and no other does for a result's sake.
    Leader,
    /// It drives beside the leader, which is itself: its `Waker` waits.
    Beside,
    /// It sleeps until it is told.
    Follower,
}

/// A thread that waits. Dropping it hands the turn on.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    turn: &'a Turn,
    thread: Thread,
    role: Role,
}

impl Turn {
    /// A thread begins to wait.
    pub fn enter(&self) -> Place<'_> {
        let thread = std::thread::current();
        let mut state = self.lock();
        let role = match state.leader {
            None => Role::Leader,
            Some(leader) if leader == thread.id() => Role::Beside,
            Some(_) => Role::Follower,
        };
        match role {
            Role::Leader => state.leader = Some(thread.id()),
            Role::Beside => {}
            Role::Follower => state.followers.push_back(thread.clone()),
        }
        drop(state);
        Place { turn: self, thread, role }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget(&mut self, thread: &Thread) {
        self.followers.retain(|follower| follower.id() != thread.id());
    }
}

impl Place<'_> {
    /// Whether it is this thread that drives; a follower takes the turn here if it is free.
    pub fn drives(&mut self) -> bool {
        if self.role == Role::Follower {
            let mut state = self.turn.lock();
            if state.leader.is_none() {
                state.leader = Some(self.thread.id());
                state.forget(&self.thread);
                self.role = Role::Leader;
            }
        }
        self.role != Role::Follower
    }

    /// Who waits here.
    pub fn thread(&self) -> &Thread {
        &self.thread
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.turn.lock();
        match self.role {
            Role::Leader => state.leader = None,
            Role::Beside => return,
            Role::Follower => state.forget(&self.thread),
        }
        let next = if state.leader.is_none() { state.followers.front().cloned() } else { None };
        drop(state);
        if let Some(next) = next {
            next.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_leads_and_the_next_follows_until_the_turn_is_free() {
        let turn = Turn::default();
        let mut first = turn.enter();
        assert!(first.drives());
        std::thread::scope(|threads| {
            let (send, receive) = std::sync::mpsc::channel();
            let turn = &turn;
            threads.spawn(move || {
                let mut second = turn.enter();
                send.send(second.drives()).unwrap();
                while !second.drives() {
                    std::thread::park();
                }
                send.send(true).unwrap();
            });
            assert!(!receive.recv().unwrap());
            drop(first);
            assert!(receive.recv().unwrap());
        });
        assert!(turn.enter().drives());
    }

    #[test]
    fn a_leader_that_waits_once_more_drives_beside_itself_and_keeps_the_turn() {
        let turn = Turn::default();
        let _outer = turn.enter();
        let mut inner = turn.enter();
        assert!(inner.drives());
        drop(inner);
        let follows = std::thread::scope(|threads| {
            let other = threads.spawn(|| !turn.enter().drives());
            other.join().unwrap()
        });
        assert!(follows);
    }

    #[test]
    fn a_follower_that_leaves_passes_on_what_it_was_told() {
        let turn = Turn::default();
        let leader = turn.enter();
        std::thread::scope(|threads| {
            let (turn, (entered, wait)) = (&turn, std::sync::mpsc::channel());
            let in_a_hurry = entered.clone();
            let leaver = threads.spawn(move || {
                let place = turn.enter();
                in_a_hurry.send(()).unwrap();
                // Told that the turn is free, it has no use for it.
                while turn.lock().leader.is_some() {
                    std::thread::park();
                }
                drop(place);
            });
            wait.recv().unwrap();
            let heir = threads.spawn(move || {
                let mut place = turn.enter();
                entered.send(()).unwrap();
                while !place.drives() {
                    std::thread::park();
                }
            });
            wait.recv().unwrap();
            drop(leader);
            leaver.join().unwrap();
            heir.join().unwrap();
        });
    }
}
