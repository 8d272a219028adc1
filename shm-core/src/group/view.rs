//! What one look at the words of a group tells.

use super::control::{Control, Life};
use super::owner::{INDICES, Owner};
use super::{Member, Ticket, recover};
use crate::Error;
use crate::primitive::Ordering;

impl Control {
    /// See [`Group::looks_alive`](super::Group::looks_alive).
    #[inline]
    pub fn looks_alive(&self, owner: Owner) -> bool {
        let line = &self.words().lines[owner.index()];
        // Acquire: whoever sees the end of a stay sees what was done in it.
        owner.is_of(line.generation.load(Ordering::Acquire))
            && Life::of(line.life.word().load(Ordering::Acquire)) == Life::Armed
    }

    /// Whether an owner that does not look alive is gone, as `me` finds.
    #[cold]
    pub fn prove_gone(&self, me: Owner, owner: Owner) -> bool {
        let line = &self.words().lines[owner.index()];
        // Acquire: as in `looks_alive`.
        if !owner.is_of(line.generation.load(Ordering::Acquire)) {
            return true;
        }
        // A process does not see its own locks; its own index is of its own stay, or of an ended
        // one, which the line above found.
        owner.index() != me.index()
            && Life::of(line.life.word().load(Ordering::Acquire)).is_stamped()
            && self.is_proven_gone(owner.index())
    }

    /// The count of deaths.
    pub fn ticket(&self) -> Ticket {
        // Acquire: pairs with the Release in `ring_all`: whoever is counted in this ticket is seen
        // as gone.
        Ticket(self.words().events.0.word().load(Ordering::Acquire))
    }

    // Orderings: what is shown here is Relaxed; it is for people.
    /// Who is there: members that are alive, or not yet proven dead.
    pub fn members(&self) -> Vec<Member> {
        let lines = self.words().lines.iter().enumerate().take(recover::mark(self));
        lines
            .filter_map(|(index, line)| {
                // Acquire: as in `looks_alive`.
                let life = Life::of(line.life.word().load(Ordering::Acquire));
                (life != Life::Free).then(|| Member {
                    owner: Owner::new(index, line.generation.load(Ordering::Relaxed)),
                    pid: line.pid.load(Ordering::Relaxed),
                    start_time: line.start_time.load(Ordering::Relaxed),
                    pid_namespace: line.namespace.load(Ordering::Relaxed),
                    is_armed: life == Life::Armed,
                })
            })
            .collect()
    }

    /// See [`Group::validate`](super::Group::validate).
    pub fn validate(&self) -> Result<(), Error> {
        let broken = |what| Err(Error::Corrupted { what });
        let words = self.words();
        // Acquire: a newcomer raises the mark before it arms its word.
        let lives = words.lines.each_ref().map(|line| line.life.word().load(Ordering::Acquire));
        // Relaxed: one number.
        if words.roster.0.word().load(Ordering::Relaxed) as usize & 0xff > INDICES {
            return broken("more places are in use in its group than there are");
        }
        let mark = recover::mark(self);
        for (index, word) in lives.into_iter().enumerate() {
            match Life::of(word) {
                Life::Strange => return broken("a life word of its group says nothing known"),
                Life::Claimed(by) if by.index() == index => {
                    return broken("a dead member of its group recovers itself");
                }
                Life::Free => {}
                _ if index >= mark => {
                    return broken("a place of its group is in use, and nobody watches it");
                }
                _ => {}
            }
        }
        Ok(())
    }
}
