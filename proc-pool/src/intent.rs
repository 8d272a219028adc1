//! What a worker is about to do, noted before it does it: what it was at when it died.

/// What a worker was doing when it died; see [`Pool::deaths`](crate::Pool::deaths).
///
/// The worker notes it in shared memory before each step, so it is the last step that was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Intent {
    /// Becoming a worker: its program had started, and it had not looked for a task yet.
    Start,
    /// Waiting for a task, awake or asleep.
    Wait,
    /// Taking a task out of its queue.
    Claim,
    /// Running a task.
    Run,
    /// Giving a result: encoding it, putting it where it outlives the worker, or sending it.
    Publish,
}

impl Intent {
    pub(crate) fn from_number(number: u32) -> Intent {
        match number {
            1 => Intent::Wait,
            2 => Intent::Claim,
            3 => Intent::Run,
            4 => Intent::Publish,
            _ => Intent::Start,
        }
    }
}
