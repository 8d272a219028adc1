//! The worker's loop: take a request, run it, answer.

use std::io::{BufRead, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Instant;

use ipc_queue::bell::Doorbell;
use ipc_queue::pipe::{self, Reader};
use shm_core::Segment;

use super::desk::{Desk, answer_of};
use super::limits::{DataLimit, Growth};
use super::notes::{take_notes, take_posted_notes};
use super::report::{forget_words, in_task};
use crate::Intent;
use crate::codec::{BlobSource, Encoded};
use crate::protocol::{
    FINISH, FIRST_SPECIAL, HELLO, NUDGE, Outcome, Places, Request, Status, TIME_ITEMS, TIME_START,
};
use crate::spin::Spin;
use crate::task::{Registry, TaskEntry, TaskId};
use crate::worker_state;

pub(crate) struct Worker {
    status: &'static Status,
    requests: Reader,
    /// `None` where there are too few processors to look again.
    spin: Option<Spin>,
    desk: Desk,
    registry: Registry,
    bell: Doorbell,
    growth: Growth,
}

impl Worker {
    pub fn attach(
        segment: &'static Segment,
        status: &'static Status,
        pool: &Segment,
        places: &Places,
    ) -> Result<Worker, String> {
        let text = |error: ipc_queue::Error| error.to_string();
        let bell = Doorbell::at(pool, 0).map_err(text)?;
        let mut requests = pipe::attach_reader(segment, places.requests).map_err(text)?;
        let mut responses = pipe::attach_writer(segment, places.responses).map_err(text)?;
        // The parent waits for all its workers on one bell.
        requests.also_ring(bell.clone());
        responses.also_ring(bell.clone());
        // It looks again in its own way, see `look_for_request`.
        requests.set_spin_limit(0);
        // Relaxed: written before the parent sent us the segment in a message.
        let spin = (status.parent.spin.load(Ordering::Relaxed) != 0).then(Spin::default);
        let registry = Registry::collect().map_err(|error| error.to_string())?;
        let desk = Desk::new(segment, status, places, responses).map_err(text)?;
        let growth = Growth::new(status);
        Ok(Worker { status, requests, spin, desk, registry, bell, growth })
    }

    /// Says that this process is a worker, and of what program; whether that is the parent's.
    pub fn greet(&mut self) -> Result<bool, String> {
        let own = crate::build::own(&self.registry);
        let is_same = own == self.status.parent.build();
        let hello = Encoded { bytes: own, ..Encoded::default() };
        self.desk.answer(HELLO, Outcome::Done, hello)?;
        Ok(is_same)
    }

    pub fn run(mut self) -> Result<(), String> {
        if !self.greet()? {
            // The parent sees it too, and says so.
            return Ok(());
        }
        while self.serve()? {}
        worker_state::clear();
        Ok(())
    }

    /// The next request; `false` when there will be none.
    pub fn serve(&mut self) -> Result<bool, String> {
        let Some(request) = self.next_request()? else { return Ok(false) };
        if request.ticket == NUDGE {
            take_notes();
            self.bell.ring();
            return Ok(true);
        }
        self.execute(&request)?;
        self.growth.look();
        if request.ticket == FINISH {
            worker_state::clear();
        }
        Ok(true)
    }

    /// `None` when the parent has closed the pipe and everything in it is done.
    fn next_request(&mut self) -> Result<Option<Request>, String> {
        self.desk.intend(Intent::Wait);
        self.look_for_request();
        let waiting = self.requests.fill_buf().map_err(|error| format!("requests: {error}"))?;
        if waiting.is_empty() {
            return Ok(None);
        }
        self.desk.intend(Intent::Claim);
        let mut head = [0; Request::SIZE];
        self.requests.read_exact(&mut head).map_err(|error| format!("requests: {error}"))?;
        Ok(Some(Request::decode(&head)))
    }

    /// Looks again for a while, so that the next request may find this worker awake.
    fn look_for_request(&self) {
        let Some(spin) = self.spin.as_ref().filter(|_| self.requests.is_empty()) else { return };
        let mut looking = spin.begin();
        while looking.again() {
            if !self.requests.is_empty() {
                return spin.helped();
            }
        }
        spin.did_not_help();
    }

    fn execute(&mut self, request: &Request) -> Result<(), String> {
        let mut bytes = Vec::new();
        let fits = usize::try_from(request.bytes).is_ok_and(|n| bytes.try_reserve_exact(n).is_ok());
        if !fits {
            return Err(format!("an input of {} bytes does not fit in memory", request.bytes));
        }
        bytes.resize(request.bytes as usize, 0);
        self.requests.read_exact(&mut bytes).map_err(|error| format!("requests: {error}"))?;
        // Before anything is started: a worker that cannot take files ends here, at nobody's cost.
        take_posted_notes(self.status)?;
        let entry = self.registry.get(TaskId(request.task)).copied();
        self.desk.begin(request);
        match entry {
            Some(entry) if request.items > 0 => self.execute_chunk(entry, &bytes),
            None if request.items > 0 => self.desk.refuse_chunk(),
            entry => self.execute_one(request, entry, &bytes),
        }
    }

    fn execute_chunk(&mut self, entry: TaskEntry, records: &[u8]) -> Result<(), String> {
        let result = in_task(entry.name, || (entry.run_chunk)(records, &mut self.desk));
        result.and_then(|()| self.desk.end())
    }

    fn execute_one(
        &mut self,
        request: &Request,
        entry: Option<TaskEntry>,
        bytes: &[u8],
    ) -> Result<(), String> {
        let mut blobs = PipeBlobs { pipe: &mut self.requests, left: request.blobs };
        let is_task = request.ticket < FIRST_SPECIAL;
        if is_task && !self.desk.start(request.timed & TIME_START != 0) {
            blobs.skip()?;
            return self.desk.decline();
        }
        let Some(entry) = entry else {
            blobs.skip()?;
            return self.desk.answer_item(Outcome::Unknown, Encoded::default());
        };
        if !is_task {
            self.desk.note_initializer();
        }
        let limit = DataLimit::set(request.memory);
        let began = (request.timed & TIME_ITEMS != 0).then(Instant::now);
        let run = AssertUnwindSafe(|| (entry.run)(bytes, &mut blobs));
        let result = in_task(entry.name, || catch_unwind(run));
        let took = began.map(|began| began.elapsed());
        drop(limit);
        // What a task did not read (its input failed half-way) must not be taken for a request.
        blobs.skip()?;
        let (outcome, body) = answer_of(result);
        self.desk.answer_measured(outcome, body, took)?;
        forget_words(self.status);
        if outcome == Outcome::Panicked {
            // Relaxed: written before the parent sent us the segment in a message.
            if self.status.parent.exit_on_panic.load(Ordering::Relaxed) != 0 {
                std::process::exit(101);
            }
        }
        Ok(())
    }
}

/// Blobs read straight from the request pipe to where the value lies.
struct PipeBlobs<'a> {
    pipe: &'a mut Reader,
    left: u64,
}

impl PipeBlobs<'_> {
    fn skip(&mut self) -> Result<(), String> {
        let mut rest = (&mut *self.pipe).take(self.left);
        std::io::copy(&mut rest, &mut std::io::sink())
            .map_err(|error| format!("requests: {error}"))?;
        self.left = 0;
        Ok(())
    }
}

impl BlobSource for PipeBlobs<'_> {
    fn fill(&mut self, target: &mut [u8]) -> bool {
        let Some(left) = self.left.checked_sub(target.len() as u64) else { return false };
        self.left = left;
        self.pipe.read_exact(target).is_ok()
    }
}
