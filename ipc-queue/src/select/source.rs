//! What an end must tell of itself to be waited for among others, and one round of listening to
//! several: the part that [`Select`](super::Select) and the futures share.

use std::time::Duration;

use shm_core::Peers;
use shm_core::futex::{self, Futex, Waited};

use crate::bell::{self, Bell};

/// Sleeps are no longer than this where a death cannot be watched together with the bells.
const LONGEST_UNWATCHED: Duration = Duration::from_millis(10);

/// An end of a queue, as whoever waits for it sees it.
///
/// The round is: [`Listening::begin`], look with [`is_ready`](Source::is_ready) (or try), sleep on
/// [`Listening::words`], and, whatever happened, [`Listening::end`].
pub trait Source {
    /// Whether the end's operation would not wait now: there is something for it, or it would say
    /// why there never will be. Takes nothing; may give back what the dead had in hand. A `false`
    /// may be old news, unless the end listens: then whatever makes it `true` rings the bell, or is
    /// a death.
    fn is_ready(&self) -> bool;

    /// What rings when that changes.
    fn bell(&self) -> &Bell;

    /// Whether others may sleep on the same bell: then a ring wakes one of them, and whoever was
    /// woken and leaves something passes the wake on.
    fn is_shared(&self) -> bool;

    /// The group whose deaths may change it.
    fn peers(&self) -> Option<&dyn Peers>;
}

/// What an end is to a selector is what the end inside is.
macro_rules! source_is_its_end {
    ($([$($generics:tt)*])? for $name:ty) => {
        impl$(<$($generics)*>)? $crate::select::source::Source for $name {
            fn is_ready(&self) -> bool {
                self.end.is_ready()
            }

            fn bell(&self) -> &$crate::bell::Bell {
                self.end.bell()
            }

            fn is_shared(&self) -> bool {
                self.end.is_shared()
            }

            fn peers(&self) -> Option<&dyn ::shm_core::Peers> {
                self.end.peers()
            }
        }
    };
}
pub(crate) use source_is_its_end;

/// An end that is a part in a counted queue (`mpmc::end::Part`): only whether it is ready differs.
macro_rules! source_is_its_part {
    ([$($generics:tt)*] for $name:ty, $part:tt, |$self:ident| $is_ready:expr) => {
        impl<$($generics)*> $crate::select::source::Source for $name {
            fn is_ready(&$self) -> bool {
                // In a forked child every operation says so at once.
                $is_ready.unwrap_or(true)
            }

            fn bell(&self) -> &$crate::bell::Bell {
                self.$part.bell()
            }

            fn is_shared(&self) -> bool {
                true
            }

            fn peers(&self) -> Option<&dyn ::shm_core::Peers> {
                Some(self.$part.peers())
            }
        }
    };
}
pub(crate) use source_is_its_part;

/// A round of listening to sources.
#[derive(Debug)]
pub(crate) struct Listening<'a> {
    words: Vec<(&'a Futex, u32)>,
    longest: Duration,
}

impl<'a> Listening<'a> {
    /// Announces a sleep. Look at every source once more after this.
    pub(crate) fn begin(sources: &[&'a dyn Source]) -> Self {
        let mut words: Vec<(&Futex, u32)> = Vec::with_capacity(2 * sources.len());
        let mut longest = Duration::MAX;
        for peers in sources.iter().filter_map(|source| source.peers()) {
            // Before the look, so that a death that the look does not see ends the sleep.
            let ticket = peers.ticket();
            match peers.deaths() {
                None => longest = LONGEST_UNWATCHED,
                Some(word) if words.iter().any(|(known, _)| std::ptr::eq(*known, word)) => {}
                Some(word) => words.push((word, ticket.0)),
            }
        }
        for source in sources {
            let bell = source.bell();
            words.push((bell.word(), bell.announce()));
        }
        Listening { words, longest: longest.min(bell::reach_ringers()) }
    }

    /// Sleeps until any of them rings, somebody dies, or the time is over. Look again, whatever it
    /// was.
    pub(crate) fn sleep(&self, left: Option<Duration>) {
        let within = |limit: Duration| left.map_or(limit, |left| left.min(limit));
        let waited = futex::wait_any(&self.words, Some(within(self.longest)));
        if let (None, Some((word, expected))) = (waited, self.words.last()) {
            // This system watches one word at a time only.
            let _: Waited = word.wait(*expected, Some(within(LONGEST_UNWATCHED)));
        }
    }

    /// What is to be slept on, with what each word holds as long as nothing has happened, and for how
    /// long without a look.
    #[cfg(feature = "async")]
    pub(crate) fn into_parts(self) -> (Vec<(&'a Futex, u32)>, Duration) {
        (self.words, self.longest)
    }

    /// The caller stops listening. If it slept, what it may have been woken for and leaves is
    /// another's.
    pub(crate) fn end(sources: &[&dyn Source], has_slept: bool) {
        for source in sources {
            if !source.is_shared() {
                source.bell().cancel();
            } else if has_slept && source.is_ready() {
                source.bell().ring_some(1);
            }
        }
    }
}
