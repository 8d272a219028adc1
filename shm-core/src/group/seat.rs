//! A member without a keeper: the thread that joins does the keeper's work, call by call.
//!
//! For the tests that kill a process at every instruction of that work, which follow one thread. The
//! functions are those that keepers call. No part of the stable API.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::control::{self, Control};
use super::keeper::{self, ListBox};
use super::recover::Scan;
use super::robust::List;
use super::{Member, Owner, Ticket, attach};
use crate::futex::{self, Futex, Waited};
use crate::{Error, backing};

/// A new control file that nobody is in.
///
/// # Errors
/// Those of [`Group::anonymous`](super::Group::anonymous).
pub fn control_file() -> Result<OwnedFd, Error> {
    let header = control::header()?;
    let file = backing::memfd(&header)?;
    control::fill(file.as_fd(), &header)?;
    Ok(File::into(file))
}

/// A control file, mapped by somebody who is not in the group yet.
///
/// Neither the mapping nor the robust list of the thread that joins are ever freed: the kernel reads
/// them when that thread ends.
#[derive(Clone, Copy, Debug)]
pub struct Door {
    control: &'static Control,
}

impl Door {
    /// Maps the file.
    ///
    /// # Errors
    /// Those of [`Group::attach`](super::Group::attach).
    pub fn open(fd: BorrowedFd<'_>) -> Result<Door, Error> {
        Ok(Door { control: Box::leak(Box::new(Control::reopen(fd)?)) })
    }

    /// Joins: what a new keeper does first.
    ///
    /// # Errors
    /// [`Error::GroupFull`], [`Error::System`].
    pub fn join(self) -> Result<Seat, Error> {
        let list = ListBox(Box::into_raw(Box::new(List::new())));
        // SAFETY: neither the list nor the mapping is ever freed.
        let me = unsafe { attach::join(self.control, list.0) }?;
        Ok(Seat { control: self.control, list, me })
    }

    /// Who is there.
    #[must_use]
    pub fn members(self) -> Vec<Member> {
        self.control.members()
    }

    /// As [`Group::validate`](super::Group::validate).
    ///
    /// # Errors
    /// As there.
    pub fn validate(self) -> Result<(), Error> {
        self.control.validate()
    }
}

/// One who has joined. To be used by that thread alone.
#[derive(Debug)]
pub struct Seat {
    control: &'static Control,
    list: ListBox,
    me: Owner,
}

impl Seat {
    /// Who we are.
    #[must_use]
    pub fn me(&self) -> Owner {
        self.me
    }

    fn scan(&self) -> Scan {
        // SAFETY: neither the list nor the mapping is ever freed.
        unsafe { keeper::look(self.control, &self.list, self.me) }
    }

    /// A keeper's look around, in which it recovers the dead; `false` when it must look again,
    /// since somebody's death is not proven yet.
    #[must_use]
    pub fn look(&self) -> bool {
        !self.scan().unproven
    }

    /// As [`Peers::is_gone`](super::Peers::is_gone).
    #[must_use]
    pub fn is_gone(&self, owner: Owner) -> bool {
        owner != self.me
            && !self.control.looks_alive(owner)
            && self.control.prove_gone(self.me, owner)
    }

    /// As [`Peers::ticket`](super::Peers::ticket).
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        self.control.ticket()
    }

    /// As [`Peers::park`](super::Peers::park), for ever: only a wake or a death ends it.
    #[must_use]
    pub fn park(&self, word: &Futex, expected: u32, ticket: Ticket) -> Option<Waited> {
        futex::wait_any(&[(word, expected), (&self.control.words().events.0, ticket.0)], None)
    }

    /// Leaves: what a keeper does last.
    pub fn leave(self) {
        attach::leave(self.control, self.me, &self.scan());
    }
}
