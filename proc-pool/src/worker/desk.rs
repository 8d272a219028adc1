//! Where a worker numbers its items, and from where its answers go.

use std::any::Any;
use std::io::{ErrorKind, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ipc_queue::pipe::Writer;
use ipc_queue::work::range;
use shm_core::Segment;

use super::notes::send_files;
use super::report::{forget_words, report};
use crate::Intent;
use crate::codec::{self, Encoded, Failure, Placed};
use crate::link::monotonic_nanos;
use crate::protocol::{self, AREA, Outcome, Places, Request, Response, Status, TIME_ITEMS};
use crate::record;
use crate::task::{Task, Transfer};

/// Results of a chunk are sent when these have gathered for so long.
const SEND_AFTER: Duration = Duration::from_millis(1);

/// Set in a forked child of a worker.
static FORKED: AtomicBool = AtomicBool::new(false);

extern "C" fn note_fork() {
    // Relaxed: the child has one thread, this one.
    FORKED.store(true, Ordering::Relaxed);
}

/// Records up to so many bytes are copied rather than sent apart from their head.
const SMALL: usize = 256;

/// What stands between a task and the parent.
///
/// Results of a chunk's items gather in the area, one record each; they are sent when the chunk
/// ends, when the area is full, or when they have waited. A worker that is killed leaves them
/// there: the ledger counts only whole ones as finished.
pub(crate) struct Desk {
    status: &'static Status,
    area: NonNull<u8>,
    responses: Writer,
    ticket: u64,
    /// What has become of the items.
    ledger: range::Worker,
    /// Number after the last item of the request.
    end: u64,
    /// Bytes in the area.
    filled: usize,
    /// Items in the area.
    gathered: u32,
    /// Whether the parent wants to know how long items take.
    measured: bool,
    /// When the area was empty last; only of chunks of several items, or measured ones.
    since: Instant,
    /// The clock is looked at when so many items are in the area.
    look_at: u32,
}

impl Desk {
    pub fn new(
        segment: &'static Segment,
        status: &'static Status,
        places: &Places,
        responses: Writer,
    ) -> Result<Desk, ipc_queue::Error> {
        let ledger = range::Worker::at(segment, places.ledger)?;
        // SAFETY: the handler stores a word, and nothing else.
        unsafe { libc::pthread_atfork(None, None, Some(note_fork)) };
        // SAFETY: `Places` puts the area inside the segment, whose size was checked.
        let area = unsafe { segment.data().add(places.area) };
        Ok(Desk {
            status,
            area,
            responses,
            ticket: 0,
            ledger,
            end: 0,
            filled: 0,
            gathered: 0,
            measured: false,
            since: Instant::now(),
            look_at: 1,
        })
    }

    /// Notes what comes next, for whoever asks when this process is dead.
    #[inline]
    pub fn intend(&self, intent: Intent) {
        // Relaxed: the parent looks only once this process is dead.
        self.status.worker.intent.store(intent as u32, Ordering::Relaxed);
    }

    /// A request has come.
    pub fn begin(&mut self, request: &Request) {
        self.ticket = request.ticket;
        if request.ticket < protocol::FIRST_SPECIAL {
            self.end = self.ledger.next() + u64::from(request.items.max(1));
        }
        if request.items > 0 {
            self.measured = request.timed & TIME_ITEMS != 0;
            if self.measured || request.items > 1 {
                self.since = Instant::now();
            }
            self.look_at = 1;
        }
    }

    /// Announces that the next item is started, unless it was revoked; whether it may be.
    #[inline]
    pub fn start(&mut self, timed: bool) -> bool {
        if timed {
            // Relaxed: ordered by the ledger's store.
            self.status.worker.since.store(monotonic_nanos(), Ordering::Relaxed);
        }
        if !self.ledger.start() {
            return false;
        }
        self.intend(Intent::Run);
        true
    }

    /// Whether every item of the request was started, or declined.
    #[inline]
    fn is_done(&self) -> bool {
        self.ledger.next() >= self.end
    }

    /// Says that the rest of the request is not run.
    pub fn decline(&mut self) -> Result<(), String> {
        self.flush()?;
        let count = (self.end - self.ledger.next()) as u32;
        self.ledger.skip_to(self.end);
        self.send(Outcome::Declined, count, Encoded::default(), 0)
    }

    /// The result of an item of a chunk, which was just started.
    #[inline]
    fn give<V: Transfer>(&mut self, value: &V) -> Result<(), Failure> {
        self.intend(Intent::Publish);
        let (start, room) = (self.filled, AREA - self.filled);
        if room > record::WORD {
            // SAFETY: `filled` is within the area.
            let place = unsafe { self.area.add(start) };
            // SAFETY: the area is this process's alone until it is dead; these bytes lie in it,
            // and shared memory is initialised.
            let place = unsafe { std::slice::from_raw_parts_mut(place.as_ptr(), room) };
            let (word, bytes) = place.split_at_mut(record::WORD);
            match codec::encode_into(value, bytes).map_err(Failure::Output)? {
                Placed::Here(length) => {
                    word.copy_from_slice(&record::word(length, Outcome::Done));
                    self.place(record::WORD + length);
                    return Ok(());
                }
                Placed::Elsewhere(body) => return self.give_apart(body).map_err(Failure::Lost),
            }
        }
        self.flush().map_err(Failure::Lost)?;
        self.give(value)
    }

    /// Counts a record that was written into the area.
    #[inline]
    fn place(&mut self, length: usize) {
        self.filled += length;
        self.gathered += 1;
        // The record is whole. It belongs to the first item that the parent has no answer to, plus
        // the records before it in the area; that stays true when the area was just sent, since the
        // parent then has the answers.
        self.ledger.finish();
    }

    /// A result that is no record: in a response of its own, after those before it.
    fn give_apart(&mut self, body: Encoded) -> Result<(), String> {
        if body.files.is_empty() && body.blobs.is_empty() && body.bytes.len() < AREA / 2 {
            // It would have been a record, had there been room.
            self.flush()?;
            return self.put_record(Outcome::Done, &body.bytes);
        }
        self.flush()?;
        self.answer_item(Outcome::Done, body)
    }

    /// Writes a record that fits into the empty area.
    fn put_record(&mut self, outcome: Outcome, bytes: &[u8]) -> Result<(), String> {
        let length = record::WORD + bytes.len();
        if AREA - self.filled < length {
            self.flush()?;
        }
        if AREA < length {
            let body = Encoded { bytes: bytes.to_vec(), ..Encoded::default() };
            return self.answer_item(outcome, body);
        }
        // SAFETY: `filled` is within the area.
        let place = unsafe { self.area.add(self.filled) };
        // SAFETY: as in `give`; the length was checked.
        let place = unsafe { std::slice::from_raw_parts_mut(place.as_ptr(), length) };
        place[..record::WORD].copy_from_slice(&record::word(bytes.len(), outcome));
        place[record::WORD..].copy_from_slice(bytes);
        self.place(length);
        Ok(())
    }

    /// Sends what has gathered if it has waited long enough. The clock is asked rarely while items
    /// are short.
    #[inline]
    fn send_in_time(&mut self) -> Result<(), String> {
        if self.gathered < self.look_at || self.is_done() {
            return Ok(());
        }
        let waited = self.since.elapsed();
        if waited >= SEND_AFTER {
            return self.flush();
        }
        let short = waited < self.gathered * Duration::from_micros(10);
        self.look_at = self.gathered + if short { 1 + self.gathered / 2 } else { 1 };
        Ok(())
    }

    /// Sends what has gathered.
    fn flush(&mut self) -> Result<(), String> {
        self.look_at = 1;
        if self.gathered == 0 {
            return Ok(());
        }
        let now = if self.measured || !self.is_done() { Instant::now() } else { self.since };
        let nanos = u64::try_from((now - self.since).as_nanos()).unwrap_or(u64::MAX);
        let head = self.head(Outcome::Records, self.gathered, self.filled as u64, nanos);
        self.check_process();
        // SAFETY: written by `place` up to `filled`, and by nobody else meanwhile.
        let records = unsafe { std::slice::from_raw_parts(self.area.as_ptr(), self.filled) };
        if records.len() <= SMALL {
            // One publication for a small answer.
            let mut whole = Vec::with_capacity(Response::SIZE + records.len());
            whole.extend_from_slice(&head.encode());
            whole.extend_from_slice(records);
            self.write(&whole)?;
        } else {
            self.write(&head.encode())?;
            self.write(records)?;
        }
        (self.filled, self.gathered, self.since) = (0, 0, now);
        Ok(())
    }

    /// Nobody here knows the task of this chunk: each of its items is answered so.
    pub fn refuse_chunk(&mut self) -> Result<(), String> {
        while !self.is_done() {
            if !self.start(false) {
                return self.decline();
            }
            self.put_record(Outcome::Unknown, &[])?;
        }
        self.flush()
    }

    /// The chunk is over.
    pub fn end(&mut self) -> Result<(), String> {
        self.flush()
    }

    /// Notes that the initializer or the exit hook begins.
    pub fn note_initializer(&self) {
        // Relaxed: the parent looks only once this process is dead.
        self.status.worker.initializing.store(1, Ordering::Relaxed);
    }

    /// Answers the one item that was just started.
    pub fn answer_item(&mut self, outcome: Outcome, body: Encoded) -> Result<(), String> {
        self.send(outcome, 1, body, 0)
    }

    /// As [`answer_item`](Desk::answer_item), for one whose time was taken.
    pub fn answer_measured(
        &mut self,
        outcome: Outcome,
        body: Encoded,
        took: Option<Duration>,
    ) -> Result<(), String> {
        // 0 would say that nobody measured.
        let nanos = took.map_or(0, |took| (took.as_nanos() as u64).max(1));
        self.send(outcome, 1, body, nanos)
    }

    /// Answers something that is no task.
    pub fn answer(&mut self, ticket: u64, outcome: Outcome, body: Encoded) -> Result<(), String> {
        self.ticket = ticket;
        self.send(outcome, 1, body, 0)
    }

    fn head(&self, outcome: Outcome, count: u32, bytes: u64, nanos: u64) -> Response {
        Response { ticket: self.ticket, outcome, files: 0, bytes, blobs: 0, count, nanos, arena: 0 }
    }

    fn send(
        &mut self,
        outcome: Outcome,
        count: u32,
        mut body: Encoded,
        nanos: u64,
    ) -> Result<(), String> {
        self.intend(Intent::Publish);
        self.check_process();
        let files = send_files(&body)?;
        if !body.files.is_empty() {
            // Relaxed: a count to show, which only this process adds to.
            self.status.worker.spared.fetch_add(body.spared(), Ordering::Relaxed);
        }
        // Unmapped before the parent can know the result: it may want to freeze the memory.
        body.files.clear();
        let mut head = self.head(outcome, count, body.bytes.len() as u64, nanos);
        (head.files, head.blobs) = (files, body.blob_len());
        head.arena = body.arena_len();
        body.blobs.iter().for_each(|blob| blob.give_to_parent());
        let mut start = head.encode().to_vec();
        start.extend_from_slice(&body.bytes);
        self.write(&start)?;
        body.blobs.iter().try_for_each(|blob| self.write(blob.bytes()))
    }

    fn check_process(&self) {
        // Relaxed: written before this process began.
        if FORKED.load(Ordering::Relaxed) {
            // A task forked, and its child came back from it: it is no worker, and writing here
            // would garble the answers of the one that is.
            // SAFETY: ends the process at once; nothing of the worker's is run in its child.
            unsafe { libc::_exit(70) };
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        match self.responses.write_all(bytes) {
            Ok(()) => Ok(()),
            // Nobody wants answers any more.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
            Err(error) => Err(format!("responses: {error}")),
        }
    }
}

/// Runs the task on each record: what a worker does with a chunk.
pub(crate) fn run_chunk<T: Task>(records: &[u8], desk: &mut Desk) -> Result<(), String> {
    let mut rest = records;
    while !desk.is_done() {
        if !desk.start(false) {
            return desk.decline();
        }
        let input = record::next(&mut rest).map_or(&[][..], |(_, record)| record);
        let result = catch_unwind(AssertUnwindSafe(|| {
            let input = codec::plain::<T::Input>(input).map_err(Failure::Input)?;
            let output = T::call(input);
            desk.give(&output)
        }));
        match result {
            Ok(Ok(())) => {}
            Ok(Err(Failure::Lost(why))) => return Err(why),
            other => desk.give_failure(other.map(|result| result.map(|()| Encoded::default())))?,
        }
        desk.send_in_time()?;
    }
    Ok(())
}

impl Desk {
    #[cold]
    fn give_failure(&mut self, result: Ran) -> Result<(), String> {
        let (outcome, body) = answer_of(result);
        forget_words(self.status);
        self.put_record(outcome, &body.bytes)
    }
}

/// What came of running a task.
type Ran = Result<Result<Encoded, Failure>, Box<dyn Any + Send>>;

/// What is answered to it.
pub(crate) fn answer_of(result: Ran) -> (Outcome, Encoded) {
    let text = |text: String| Encoded { bytes: text.into_bytes(), ..Encoded::default() };
    match result {
        Ok(Ok(body)) => (Outcome::Done, body),
        Ok(Err(Failure::Input(why))) => (Outcome::BadInput, text(why)),
        Ok(Err(Failure::Output(why) | Failure::Lost(why))) => (Outcome::BadOutput, text(why)),
        Err(payload) => {
            let body = codec::encode(&report(payload.as_ref())).unwrap_or_default();
            // A panic's payload may panic when dropped; it is leaked rather than trusted.
            std::mem::forget(payload);
            (Outcome::Panicked, body)
        }
    }
}
