//! A scope: what was made in it ends with it, whoever still uses it and however it ends.

use std::sync::{Arc, Mutex, PoisonError};

use crate::header::Lifetime;
use crate::name::NamedFile;
use crate::options::Options;
use crate::{Error, Frozen, NamedFrozen, Segment, SegmentId, ShmSafe};

/// Owns the shared data that is made in it, and takes it away when it is dropped: at the end of a
/// block, by a panic, and after a kill. The counterpart of Python's `SharedMemoryManager`, without
/// a server process.
///
/// | made in it | while the scope lives | when it ends |
/// |---|---|---|
/// | a named segment or array | the name stays, whoever leaves | the name goes, whoever still uses it: nobody finds it any more, and what is mapped stays mapped |
/// | [`frozen`](Scope::frozen) data | its handles can be redeemed | handles that were not redeemed are [`NotReachable`](Error::NotReachable) |
///
/// The memory itself goes with the last process that maps it: no process is made to fault.
///
/// When the scope's process is **killed**, the kernel tells everybody that the scope is dead; the
/// names go with the next `create` of any name, the next `open` of theirs, or
/// [`sweep`](crate::sweep), even while others use them. Nobody watches in between.
///
/// A forked child does not own the scope it inherits: dropping it there does nothing.
///
/// ```
/// use shm_core::{Error, Scope, Segment};
///
/// let scope = Scope::new();
/// let ours = scope.segment(4096)?; // a name of its own
/// let name = ours.name().unwrap_or_default().to_owned(); // to be sent to others
/// let theirs = Segment::open(&name)?;
/// drop(scope);
/// assert!(matches!(Segment::open(&name), Err(Error::NotFound { .. })));
/// assert_eq!(theirs.size(), 4096); // still mapped
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Scope {
    owned: Mutex<Vec<Owned>>,
}

#[derive(Debug)]
enum Owned {
    Name(Arc<NamedFile>),
    Data { _kept: Frozen<u8> },
}

impl Scope {
    /// A scope that owns nothing yet. Costs nothing.
    #[must_use]
    pub fn new() -> Scope {
        Scope::default()
    }

    /// A new segment of `size` bytes with a name of its own: [`Segment::name`].
    ///
    /// # Errors
    ///
    /// As [`Segment::create`].
    pub fn segment(&self, size: usize) -> Result<Segment, Error> {
        let [low, high] = SegmentId::random()?.0;
        self.create(&format!("scope-{high:016x}{low:016x}"), size)
    }

    /// A new segment that others open by `name`.
    ///
    /// # Errors
    ///
    /// As [`Segment::create`].
    pub fn create(&self, name: &str, size: usize) -> Result<Segment, Error> {
        self.create_with(name, Segment::options().size(size))
    }

    /// A new segment made by these options.
    ///
    /// # Errors
    ///
    /// As [`Options::create`]; [`Error::BadOption`] for one that is to be kept.
    ///
    /// ```
    /// use shm_core::{Scope, Segment};
    ///
    /// let scope = Scope::new();
    /// let name = format!("doc-scope-{}", std::process::id());
    /// let grows = scope.create_with(&name, Segment::options().size(4096).maximum(1 << 20))?;
    /// grows.grow(8192)?;
    /// # Ok::<(), shm_core::Error>(())
    /// ```
    pub fn create_with(&self, name: &str, options: &Options) -> Result<Segment, Error> {
        let segment = options.clone().scoped().create(name)?;
        if let Some(named) = segment.memory.named() {
            self.own(Owned::Name(Arc::clone(named)));
        }
        Ok(segment)
    }

    /// A copy of `values` that others open by `name`.
    ///
    /// # Errors
    ///
    /// As [`NamedFrozen::publish`].
    pub fn publish<T: ShmSafe + Copy>(
        &self,
        name: &str,
        values: &[T],
    ) -> Result<NamedFrozen<T>, Error> {
        let array = NamedFrozen::publish_for(name, values, Lifetime::Scope)?;
        if let Some(named) = array.view().named() {
            self.own(Owned::Name(Arc::clone(named)));
        }
        Ok(array)
    }

    /// A frozen copy of `values`. Its handles can be redeemed as long as the scope lives, also
    /// after every value in this process was dropped.
    ///
    /// # Errors
    ///
    /// As [`Frozen::copy_of`].
    pub fn frozen<T: ShmSafe + Copy>(&self, values: &[T]) -> Result<Frozen<T>, Error> {
        let array = Frozen::copy_of(values)?;
        self.keep(&array);
        Ok(array)
    }

    /// Takes frozen data that was made elsewhere into the scope.
    pub fn keep<T: ShmSafe + Copy>(&self, array: &Frozen<T>) {
        self.own(Owned::Data { _kept: array.to_bytes() });
    }

    fn own(&self, owned: Owned) {
        // A panic under this lock leaves the list whole: single pushes only.
        self.owned.lock().unwrap_or_else(PoisonError::into_inner).push(owned);
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let owned = self.owned.get_mut().unwrap_or_else(PoisonError::into_inner);
        for owned in owned.drain(..) {
            if let Owned::Name(named) = owned {
                named.end_scope();
            }
        }
    }
}
