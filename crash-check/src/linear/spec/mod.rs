//! Ready-made specifications.

mod container;
mod counter;
mod keyed;
mod mutex;
mod order;
mod register;
mod semaphore;

pub use container::{Bag, ItemOp, ItemRet, Queue, Stack};
pub use counter::{Counter, CounterOp};
pub use keyed::Keyed;
pub use mutex::{Mutex, MutexOp, MutexRet, MutexState};
pub use register::{Register, RegisterOp, RegisterRet};
pub use semaphore::{Semaphore, SemaphoreOp, SemaphoreRet};
