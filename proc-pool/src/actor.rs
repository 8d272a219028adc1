//! Workers that hold state, behind typed handles.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::builder::InitializerOutput;
use crate::death::DeathNotice;
use crate::error::{PoolError, TaskError};
use crate::future::TaskHandle;
use crate::options::TaskOptions;
use crate::pool::Pool;
use crate::task::Task;

/// A type whose values live in processes of their own; implemented by
/// [`#[proc_pool::actor]`](crate::actor).
///
/// ```standalone_crate
/// use proc_pool::ActorOptions;
///
/// struct Counter(u64);
///
/// #[proc_pool::actor]
/// impl Counter {
///     fn new(start: u64) -> Self {
///         Counter(start)
///     }
///
///     pub fn add(&mut self, n: u64) -> u64 {
///         self.0 += n;
///         self.0
///     }
/// }
///
/// #[proc_pool::main]
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let counter = Counter::spawn(5)?;
///     let (six, eight) = (counter.add(1), counter.add(2));
///     assert_eq!((six.wait()?, eight.wait()?), (6, 8));
///
///     let group = Counter::spawn_group(ActorOptions::new(), 3, 100)?;
///     assert_eq!(group.add(1).reduce(|a, b| a + b)?, Some(303));
///     Ok(())
/// }
/// ```
pub trait Actor: Sized + 'static {
    /// The constructor.
    type New: Task<Output: InitializerOutput>;
    /// The typed handle to one of them.
    type Handle: From<ActorHandle<Self>>;
    /// Constructs one.
    const NEW: Self::New;
}

/// What happens when an actor's process dies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restart {
    /// Nothing: calls under way and later ones fail with [`TaskError::WorkerDied`].
    #[default]
    Never,
    /// Another process is started, and its state made by the constructor from the same arguments;
    /// what calls had changed is lost. The call that ran fails with [`TaskError::WorkerDied`], or
    /// is made again, to the new state, if its method is marked `#[pure]`; calls that had not begun
    /// are made to the new state.
    Always,
}

/// How actors are started.
#[derive(Clone, Copy, Debug, Default)]
pub struct ActorOptions {
    restart: Restart,
}

impl ActorOptions {
    /// No restart.
    #[must_use]
    pub fn new() -> ActorOptions {
        ActorOptions::default()
    }

    /// What happens when an actor's process dies.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> ActorOptions {
        self.restart = restart;
        self
    }
}

/// Reaches an actor; clones reach the same. The process ends when the last is dropped.
///
/// Calls are made in the order in which they are submitted from one thread, one at a time.
pub struct ActorHandle<A> {
    pool: Arc<Pool>,
    number: usize,
    actor: PhantomData<fn() -> A>,
}

impl<A: Actor> ActorHandle<A> {
    /// Starts an actor; returns once it is constructed.
    ///
    /// # Errors
    ///
    /// As [`Builder::build`](crate::Builder::build): [`PoolError::InitializerFailed`] when the
    /// constructor fails.
    pub fn spawn(
        options: ActorOptions,
        input: <A::New as Task>::Input,
    ) -> Result<ActorHandle<A>, PoolError> {
        Ok(ActorGroup::spawn(options, 1, input)?.handle(0))
    }

    /// Calls one of its methods, by the task that `#[proc_pool::actor]` made of it.
    pub fn call<T: Task>(&self, task: T, input: T::Input) -> TaskHandle<T> {
        let _ = task;
        self.pool.submit_to::<T>(&input, TaskOptions::default(), Some(self.number))
    }

    /// Its process id; `None` while it is restarted, and once it is dead.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.pool.shared().lock().pid_of(self.number)
    }

    /// How it ended, if it has for good.
    #[must_use]
    pub fn death(&self) -> Option<DeathNotice> {
        self.pool.shared().lock().end_of(self.number).map(|end| DeathNotice::clone(end))
    }

    /// Kills its process. With [`Restart::Always`] another takes its place.
    pub fn kill(&self) {
        self.pool.shared().lock().kill(self.number);
    }
}

impl<A> Clone for ActorHandle<A> {
    fn clone(&self) -> Self {
        ActorHandle { pool: Arc::clone(&self.pool), number: self.number, actor: PhantomData }
    }
}

impl<A> fmt::Debug for ActorHandle<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActorHandle").field("number", &self.number).finish_non_exhaustive()
    }
}

/// Some actors of one type, constructed from the same arguments;
/// [`worker_state::number`](crate::worker_state::number) tells each which it is.
pub struct ActorGroup<A> {
    pool: Arc<Pool>,
    size: usize,
    actor: PhantomData<fn() -> A>,
}

impl<A: Actor> ActorGroup<A> {
    /// Starts these many actors; returns once all are constructed.
    ///
    /// # Errors
    ///
    /// As [`ActorHandle::spawn`]; [`PoolError::NoWorkers`] for 0.
    pub fn spawn(
        options: ActorOptions,
        size: usize,
        input: <A::New as Task>::Input,
    ) -> Result<ActorGroup<A>, PoolError> {
        let builder = Pool::builder().workers(size).in_processes().initializer(A::NEW, input);
        let builder = match options.restart {
            Restart::Always => builder,
            Restart::Never => builder.once(false),
        };
        Ok(ActorGroup { pool: Arc::new(builder.build()?), size, actor: PhantomData })
    }

    fn handle(&self, number: usize) -> ActorHandle<A> {
        ActorHandle { pool: Arc::clone(&self.pool), number, actor: PhantomData }
    }

    /// How many there are.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a group of none cannot be made")]
    pub fn len(&self) -> usize {
        self.size
    }

    /// The one with this number, from 0 on.
    #[must_use]
    pub fn get(&self, number: usize) -> Option<A::Handle> {
        (number < self.size).then(|| self.handle(number).into())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = A::Handle> {
        (0..self.size).map(|number| self.handle(number).into())
    }

    /// Calls a method of each; the results come in the order of their numbers.
    pub fn broadcast<T: Task<Input: Clone>>(&self, task: T, input: T::Input) -> Calls<T> {
        let call = |number| self.handle(number).call(task, input.clone());
        Calls { handles: (0..self.size).map(call).collect() }
    }
}

impl<A> fmt::Debug for ActorGroup<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActorGroup").field("size", &self.size).finish_non_exhaustive()
    }
}

/// The same call to every actor of a group.
#[must_use = "dropping calls leaves them running, and their results unseen"]
pub struct Calls<T: Task> {
    /// In the order of the actors.
    pub handles: Vec<TaskHandle<T>>,
}

impl<T: Task> Calls<T> {
    /// Waits for all results.
    ///
    /// # Errors
    ///
    /// The first actor's error, in their order.
    pub fn wait(self) -> Result<Vec<T::Output>, TaskError> {
        self.handles.into_iter().map(TaskHandle::wait).collect()
    }

    /// Waits for all results, and combines them in the order of the actors. `None` never comes from
    /// a group, which has at least one.
    ///
    /// # Errors
    ///
    /// As [`wait`](Calls::wait).
    pub fn reduce(
        self,
        combine: impl FnMut(T::Output, T::Output) -> T::Output,
    ) -> Result<Option<T::Output>, TaskError> {
        Ok(self.wait()?.into_iter().reduce(combine))
    }
}

impl<T: Task> fmt::Debug for Calls<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Calls").field(&self.handles).finish()
    }
}
