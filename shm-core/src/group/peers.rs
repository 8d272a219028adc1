//! What a structure must know of those who use it.

use std::time::Duration;

use super::Owner;
use crate::futex::{Futex, Waited};

/// A moment in the life of a group: see [`Peers::ticket`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(pub u32);

/// Who uses a structure, who of them is gone, and how to sleep so that no death is missed.
///
/// [`Group`](crate::Group) is the one that programs use. Structures are written against this trait,
/// so that their models run the very same functions with modelled deaths.
///
/// A wait that no death can strand looks like this:
///
/// 1. take a [`ticket`](Peers::ticket);
/// 2. look at the structure: can we go on? If a word names an owner, ask
///    [`is_gone`](Peers::is_gone), and if so take over what it held by a compare-and-swap of exactly
///    that word;
/// 3. [`park`](Peers::park) with the word as it was seen, and the ticket; then begin anew.
///
/// Whoever dies between a change and the wake that should follow it, or takes a wake with it into
/// its grave, is made up for: after a death everybody who parks in the group is woken.
pub trait Peers {
    /// Who we are; `None` in a child that inherited this value by `fork` and has not joined itself:
    /// it may touch nothing.
    fn me(&self) -> Option<Owner>;

    /// Whether an owner is gone for good: proven, never guessed.
    ///
    /// `true`: its last store is visible to the caller, and no other will come. `false` may be old
    /// news; whoever parks afterwards with an older ticket is woken when it becomes true. One's own
    /// owner is not gone.
    fn is_gone(&self, owner: Owner) -> bool;

    /// The group's count of deaths, to be read before looking at anything that hangs on them.
    fn ticket(&self) -> Ticket;

    /// Sleeps while `word` holds `expected` and nobody has died since `ticket`, for at most
    /// `timeout`. May return for no reason.
    fn park(
        &self,
        word: &Futex,
        expected: u32,
        ticket: Ticket,
        timeout: Option<Duration>,
    ) -> Waited;

    /// The word that a ticket was read from, for a sleep by other means than [`park`](Peers::park);
    /// asked for right before each such sleep. `None`: deaths are told in another way.
    #[doc(hidden)]
    fn deaths(&self) -> Option<&Futex> {
        None
    }
}

impl<P: Peers + ?Sized> Peers for &P {
    #[inline(always)]
    fn me(&self) -> Option<Owner> {
        (**self).me()
    }

    #[inline]
    fn is_gone(&self, owner: Owner) -> bool {
        (**self).is_gone(owner)
    }

    fn ticket(&self) -> Ticket {
        (**self).ticket()
    }

    fn park(
        &self,
        word: &Futex,
        expected: u32,
        ticket: Ticket,
        timeout: Option<Duration>,
    ) -> Waited {
        (**self).park(word, expected, ticket, timeout)
    }

    fn deaths(&self) -> Option<&Futex> {
        (**self).deaths()
    }
}
