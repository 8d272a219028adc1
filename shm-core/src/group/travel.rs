//! What a handle of a group needs: the identity behind a descriptor, and the membership behind an
//! identity.

use std::os::fd::BorrowedFd;
use std::sync::Weak;

use super::control::{self, Control};
use super::{Group, Inner, table};
use crate::{Error, SegmentId};

/// The identity of the group behind a descriptor from [`Group`]'s `as_fd`.
pub(crate) fn identity(fd: BorrowedFd<'_>) -> Result<SegmentId, Error> {
    let _joining = table::joining();
    if let Some(group) = Group::known(control::inode_of(fd)?) {
        return Ok(group.id());
    }
    // This process is no member, and does not become one meanwhile: so the file that is opened and
    // closed in here takes no record lock of ours with it.
    Control::reopen(fd).map(|control| control.id())
}

impl Group {
    /// The membership that this process has in the group of this identity.
    pub(crate) fn by_id(id: SegmentId) -> Option<Group> {
        let inodes = table::with(|table| table.keys().copied().collect::<Vec<_>>());
        // Outside the table's lock: the last handle of a group may be dropped in here.
        inodes.into_iter().filter_map(Group::known).find(|group| group.id() == id)
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.control().name()
    }

    pub(crate) fn downgrade(&self) -> Weak<Inner> {
        std::sync::Arc::downgrade(&self.inner)
    }
}
