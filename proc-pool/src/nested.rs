//! A pool inside of a worker for which no process is left: its tasks run in the worker itself.
//!
//! One thread, the pool's own, does what a worker would: the initializer, tasks one after another,
//! the exit hook. Everything that waits (queues, deadlines of what has not begun, streams) is as in
//! any pool. What needs a process of its own is not there: a task that ends its process ends the
//! worker, which its own pool treats as any death; what runs cannot be cancelled.

use std::cell::{Cell, RefCell};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Instant;

use shm_core::handle;

use crate::codec::{Arrived, BlobSource, Encoded};
use crate::link::{Answer, redeem_buffer};
use crate::protocol::{Outcome, Response};
use crate::shared::Shared;
use crate::state::{Call, Ended, Job};
use crate::task::{Registry, TaskEntry, TaskId};
use crate::worker::{answer_of, in_task};
use crate::{record, worker_state};

/// What a nested pool has instead of seats.
#[derive(Debug, Default)]
pub(crate) struct Nested {
    /// Whether the initializer has run.
    pub ready: bool,
    /// Tasks that run: several where one waits for another of the same pool.
    pub running: u32,
}

/// Results of a job's items, in their order.
pub(crate) enum Given {
    /// Of one item.
    One(Box<Answer>),
    /// Of so many items, as records.
    Records(u32, Box<Answer>),
}

thread_local! {
    /// In a nested pool's own thread: the pool, for comparison only.
    static OWN: Cell<*const Shared> = const { Cell::new(std::ptr::null()) };
    /// And its tasks.
    static REGISTRY: RefCell<Option<Rc<Registry>>> = const { RefCell::new(None) };
}

/// Runs a task of this pool if this is its own thread; whether there was one.
///
/// A task that waits for another of the pool that it runs in itself comes here: nobody else would
/// run that.
pub(crate) fn help(shared: &Shared) -> bool {
    if !is_own(shared) {
        return false;
    }
    let Some(registry) = REGISTRY.with_borrow(Option::clone) else { return false };
    let Some(job) = shared.lock().take_nested() else { return false };
    let (given, nanos) = execute(&registry, &job);
    shared.lock().give_nested(job, given, nanos);
    shared.ring();
    true
}

/// Whether this is the own thread of a nested pool, which runs its tasks.
pub(crate) fn is_own(shared: &Shared) -> bool {
    std::ptr::eq(OWN.get(), shared)
}

/// What the pool's own thread does: the worker's part.
pub(crate) fn work(shared: &Shared, calls: &[Call]) {
    let registry = match Registry::collect() {
        Ok(registry) => registry,
        Err(error) => {
            shared.lock().end(Ended::NoWorkers(error.to_string()));
            return shared.ring();
        }
    };
    for call in calls {
        if let Err(why) = call.result(run(&registry, call.task.id, &call.input)) {
            let reason = format!("the initializer {} failed: {why}", call.task.name);
            shared.lock().end(Ended::Initializer(reason));
            return shared.ring();
        }
    }
    shared.lock().nested_is_ready();
    shared.ring();
    OWN.set(std::ptr::from_ref(shared));
    REGISTRY.set(Some(Rc::new(registry)));
    while !shared.is_ending() {
        // Before the look: a submit after it unparks this thread.
        shared.driving.will_sleep();
        if !help(shared) {
            std::thread::park();
        }
    }
    let registry = REGISTRY.take().unwrap_or_default();
    let exit_hook = shared.lock().take_exit_hook();
    if let Some(call) = exit_hook {
        // What it returns is not looked at.
        let _ = run(&registry, call.task.id, &call.input);
    }
    worker_state::clear();
}

/// Runs all items of a job; what they gave, and how long it took.
fn execute(registry: &Registry, job: &Job) -> (Vec<Given>, u64) {
    let began = Instant::now();
    let mut given = Vec::new();
    if job.chunk {
        let mut rest = job.input.bytes.as_slice();
        let (mut records, mut count) = (Vec::new(), 0);
        for _ in 0..job.items {
            let input = record::next(&mut rest).map_or(&[][..], |(_, input)| input);
            let (outcome, body) =
                run_entry(registry.get(job.task.id), input, &mut Arrived { rest: &[] });
            let plain = body.blobs.is_empty() && body.files.is_empty();
            if plain && body.bytes.len() <= record::LONGEST {
                records.extend_from_slice(&record::word(body.bytes.len(), outcome));
                records.extend_from_slice(&body.bytes);
                count += 1;
                continue;
            }
            put(&mut given, &mut records, &mut count);
            given.push(Given::One(Box::new(answer(outcome, body))));
        }
        put(&mut given, &mut records, &mut count);
    } else {
        given.push(Given::One(Box::new(run(registry, job.task.id, &job.input))));
    }
    (given, u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

fn put(given: &mut Vec<Given>, records: &mut Vec<u8>, count: &mut u32) {
    let (records, count) = (std::mem::take(records), std::mem::take(count));
    if count > 0 {
        given.push(Given::Records(count, Box::new(Answer::of(Outcome::Records, count, records))));
    }
}

/// Runs one input.
fn run(registry: &Registry, task: TaskId, input: &Encoded) -> Answer {
    let blobs: Vec<u8> = input.blobs.iter().flat_map(|blob| blob.bytes()).copied().collect();
    let (outcome, body) =
        run_entry(registry.get(task), &input.bytes, &mut Arrived { rest: &blobs });
    answer(outcome, body)
}

fn run_entry(
    entry: Option<&TaskEntry>,
    bytes: &[u8],
    blobs: &mut dyn BlobSource,
) -> (Outcome, Encoded) {
    let Some(entry) = entry else { return (Outcome::Unknown, Encoded::default()) };
    in_task(entry.name, || answer_of(catch_unwind(AssertUnwindSafe(|| (entry.run)(bytes, blobs)))))
}

/// A result as its receiver will find it, who is in this process too.
fn answer(outcome: Outcome, body: Encoded) -> Answer {
    let mut answer = Answer::of(outcome, 1, body.bytes);
    answer.head.arena = body.blobs.iter().map(|blob| blob.in_arena()).sum();
    for blob in &body.blobs {
        blob.give_to_parent();
        answer.body.extend_from_slice(blob.bytes());
    }
    for file in &body.files {
        answer.leases.extend(redeem_buffer(file.id()));
        // Kept until the receiver has it, as if it had come by a socket; not what had.
        if !handle::was_offered(file.id())
            && let Ok(Ok(id)) = file.as_fd().try_clone_to_owned().map(handle::offer)
        {
            answer.files.push(id);
        }
    }
    answer
}

/// What a worker's answer to such a job would say of itself.
pub(crate) fn head(count: u32, nanos: u64) -> Response {
    Response { nanos, ..Answer::of(Outcome::Records, count, Vec::new()).head }
}
