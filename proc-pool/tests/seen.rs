//! What can be seen of a pool: its numbers, its events, its workers' output.

#[cfg(any(feature = "live-view", feature = "tracing"))]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod parent;

use std::io::Write;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use proc_pool::{OutputLine, OutputStream, Pool, StartMethod, TaskError, TaskStats, task};

#[task(pure)]
fn square(x: u64) -> u64 {
    x * x
}

#[task]
fn odd_ones_fail(x: u64) -> u64 {
    assert!(x.is_multiple_of(2), "odd");
    x
}

#[task]
fn sleep_for(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

#[task(pure)]
fn survive_second_time(marker: String) -> u32 {
    if std::fs::exists(&marker).expect("a folder") {
        return 2;
    }
    std::fs::write(marker, "").expect("a file");
    std::process::abort()
}

#[task]
fn die() {
    std::process::abort()
}

fn of(pool: &Pool, name: &str) -> TaskStats {
    let task = pool.stats().tasks.into_iter().find(|task| task.name.ends_with(name));
    task.unwrap_or_else(|| panic!("no {name} in {:?}", pool.stats()))
}

#[proc_pool::test]
fn every_task_is_counted_once_whatever_became_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("marker").to_str().unwrap().to_owned();
    let pool = Pool::builder().workers(2).build().unwrap();
    pool.map(square, 0..5000).unwrap();
    assert_eq!(pool.submit(square, 3).wait().unwrap(), 9);
    let failed = pool.imap(odd_ones_fail, 0..1000).filter(Result::is_err).count();
    assert!(matches!(pool.submit(odd_ones_fail, 1).wait(), Err(TaskError::Panicked { .. })));
    assert_eq!(pool.submit(survive_second_time, marker).wait().unwrap(), 2);
    assert!(matches!(pool.submit(die, ()).wait(), Err(TaskError::WorkerDied { .. })));
    let counts = |name| {
        let task = of(&pool, name);
        (task.done, task.failed, task.retries)
    };
    assert_eq!(counts("::square"), (5001, 0, 0));
    assert_eq!((failed, counts("::odd_ones_fail")), (500, (1001, 501, 0)));
    assert_eq!(counts("::survive_second_time"), (1, 0, 1));
    assert_eq!(counts("::die"), (1, 1, 0));
    let stats = pool.stats();
    assert_eq!((stats.deaths, stats.queued, stats.under_way), (2, 0, 0));
    assert!(stats.bytes_moved > 5000 * 8, "{stats:?}");
}

#[proc_pool::test]
fn timings_tell_what_tasks_took_and_waited() {
    let pool = Pool::builder().workers(1).timings().build().unwrap();
    let handles: Vec<_> = (0..4).map(|_| pool.submit(sleep_for, 20)).collect();
    assert!(pool.stats().under_way + pool.stats().queued > 0);
    handles.into_iter().for_each(|handle| handle.wait().unwrap());
    let task = of(&pool, "::sleep_for");
    assert_eq!((task.work.count(), task.wait.count()), (4, 4));
    assert!(task.work.quantile(0.01) >= Duration::from_millis(20), "{task:?}");
    // The last one waited for the other three.
    assert!(task.wait.longest() >= Duration::from_millis(60), "{task:?}");
    let stats = pool.stats();
    assert_eq!((stats.started, stats.starts.count(), stats.workers.len()), (1, 1, 1));
    let worker = &stats.workers[0];
    assert_eq!((worker.pid, worker.done, worker.ready), (pool.worker_pids()[0], 4, true));
    assert!(worker.resident > worker.private && worker.private > 0, "{worker:?}");
}

#[proc_pool::test]
fn without_timings_only_streams_are_timed() {
    let pool = Pool::builder().workers(1).build().unwrap();
    pool.submit(square, 3).wait().unwrap();
    assert_eq!(of(&pool, "::square").work.count(), 0);
    pool.map(square, 0..3000).unwrap();
    assert!(of(&pool, "::square").work.count() > 0);
}

/// Writes lines piecemeal to both streams, and ends the process without any farewell if asked.
#[task]
fn talk(name: u32, lines: u32, last: bool) {
    for line in 0..lines {
        let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
        write!(out, "{name} says ").expect("a pipe");
        out.flush().expect("a pipe");
        writeln!(out, "{line}").expect("a pipe");
        write!(err, "{name} complains {line}").expect("a pipe");
        writeln!(err, " of {lines}").expect("a pipe");
    }
    if last {
        eprint!("{name} is dying");
        std::process::abort();
    }
}

fn every_line_arrives(method: StartMethod) {
    const LINES: u32 = 2000;
    let lines: Arc<Mutex<Vec<OutputLine>>> = Arc::default();
    let for_sink = Arc::clone(&lines);
    let pool = Pool::builder()
        .workers(3)
        .start_method(method)
        .output(move |line| for_sink.lock().expect("lines").push(line))
        .build()
        .expect("a pool");
    let handles: Vec<_> =
        (0..6).map(|name| pool.submit(talk, (name, LINES, name.is_multiple_of(2)))).collect();
    let died = handles.into_iter().map(|handle| handle.wait()).filter(Result::is_err).count();
    assert_eq!(died, 3);
    pool.close().expect("an orderly end");
    let lines = std::mem::take(&mut *lines.lock().expect("lines"));
    for name in 0..6u32 {
        let of = |stream, begin: String| -> Vec<&str> {
            let own = lines.iter().filter(|line| line.stream == stream);
            own.map(|line| line.text.as_str()).filter(|text| text.starts_with(&begin)).collect()
        };
        let said: Vec<String> = (0..LINES).map(|line| format!("{name} says {line}")).collect();
        assert_eq!(of(OutputStream::Out, format!("{name} says")), said);
        let complained = (0..LINES).map(|line| format!("{name} complains {line} of {LINES}"));
        let complained: Vec<String> = complained.collect();
        assert_eq!(of(OutputStream::Err, format!("{name} complains")), complained);
        let dying = of(OutputStream::Err, format!("{name} is dying"));
        assert_eq!(dying.len(), usize::from(name.is_multiple_of(2)), "{dying:?}");
    }
}

#[proc_pool::test]
fn every_line_of_spawned_workers_arrives_whole_also_of_killed_ones() {
    every_line_arrives(StartMethod::Spawn);
}

#[proc_pool::test]
fn every_line_of_forked_workers_arrives_whole_also_of_killed_ones() {
    every_line_arrives(StartMethod::Server);
}

#[proc_pool::test]
fn lines_that_are_still_in_the_pipe_when_the_pool_closes_arrive_too() {
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let lines: Arc<Mutex<Vec<OutputLine>>> = Arc::default();
    let for_sink = Arc::clone(&lines);
    let sink = move |line| {
        // Nothing is read until somebody opens the gate, and after that nobody can send.
        let _ = gate.lock().expect("the gate").recv();
        for_sink.lock().expect("lines").push(line);
    };
    let pool = Pool::builder().workers(1).output(sink).build().unwrap();
    let worker = pool.worker_pids()[0];
    pool.submit(talk, (0, 1000, false)).wait().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| pool.close().unwrap());
        while std::fs::exists(format!("/proc/{worker}")).unwrap() {
            std::thread::sleep(Duration::from_millis(1));
        }
        // Enough for the pool to want its reader's end; a little late changes nothing.
        std::thread::sleep(Duration::from_millis(50));
        drop(open);
    });
    // The test harness in the worker has said something too.
    let lines = lines.lock().unwrap();
    assert_eq!(lines.iter().filter(|line| line.text.starts_with("0 ")).count(), 2000);
}

#[cfg(feature = "tracing")]
mod events {
    use std::fmt::Debug;
    use std::sync::Mutex;

    use proc_pool::{Pool, task};
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Level, Metadata, Subscriber};

    use super::{square, survive_second_time};
    use crate::parent::Parent;

    static SEEN: Mutex<Vec<(Level, String, String)>> = Mutex::new(Vec::new());

    /// Writes down every event of this test program.
    struct Notebook;

    #[derive(Default)]
    struct Text(String);

    impl Visit for Text {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            self.0.push_str(&format!("{}={value:?} ", field.name()));
        }
    }

    impl Subscriber for Notebook {
        fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _span: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _span: &Id, _values: &Record<'_>) {}
        fn record_follows_from(&self, _span: &Id, _follows: &Id) {}
        fn event(&self, event: &Event<'_>) {
            let mut text = Text::default();
            event.record(&mut text);
            let metadata = event.metadata();
            let seen = (*metadata.level(), metadata.target().to_owned(), text.0);
            SEEN.lock().expect("events").push(seen);
        }
        fn enter(&self, _span: &Id) {}
        fn exit(&self, _span: &Id) {}
    }

    #[task]
    fn report(number: u32) {
        tracing::warn!(number, "a warning\nof two lines");
        tracing::trace!(target: "elsewhere", "a trace");
        eprintln!("no event {number}");
    }

    #[proc_pool::test]
    fn events_tell_of_tasks_deaths_and_what_workers_say() {
        let folder = tempfile::tempdir().unwrap();
        if crate::parent::folder().is_none() {
            // In a process of its own, where nobody else's tasks make events.
            let test = "events::events_tell_of_tasks_deaths_and_what_workers_say";
            return Parent::start(test, folder.path()).succeed();
        }
        tracing::subscriber::set_global_default(Notebook).unwrap();
        let marker = folder.path().join("marker").to_str().unwrap().to_owned();
        let pool = Pool::builder().workers(1).output_to_tracing().build().unwrap();
        pool.submit(square, 3).wait().unwrap();
        assert_eq!(pool.submit(survive_second_time, marker).wait().unwrap(), 2);
        pool.submit(report, 17).wait().unwrap();
        pool.close().unwrap();
        let seen = std::mem::take(&mut *SEEN.lock().unwrap());
        let count = |level, target: &str, parts: &[&str]| {
            let fits = |text: &str| parts.iter().all(|part| text.contains(part));
            let found = seen.iter().filter(|(l, t, text)| *l == level && t == target && fits(text));
            found.count()
        };
        let (pool, worker) = ("proc_pool", "proc_pool::worker");
        assert_eq!(count(Level::TRACE, pool, &["given", "square"]), 1, "{seen:#?}");
        assert_eq!(count(Level::TRACE, pool, &["answered", "square"]), 1, "{seen:#?}");
        assert_eq!(count(Level::WARN, pool, &["worker lost", "SIGABRT"]), 1, "{seen:#?}");
        assert_eq!(count(Level::WARN, pool, &["runs again", "attempt=2"]), 1, "{seen:#?}");
        assert_eq!(count(Level::DEBUG, pool, &["worker ended", "code 0"]), 1, "{seen:#?}");
        let warning = ["a warning\nof two lines number=17", "worker=0", "seen::events"];
        assert_eq!(count(Level::WARN, worker, &warning), 1, "{seen:#?}");
        assert_eq!(count(Level::TRACE, worker, &["a trace", "elsewhere"]), 1, "{seen:#?}");
        assert_eq!(count(Level::INFO, worker, &["no event 17", "stderr"]), 1, "{seen:#?}");
    }
}

#[cfg(feature = "live-view")]
mod live {
    use std::fs::{File, OpenOptions};
    use std::io::Read;

    use proc_pool::Pool;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::square;
    use crate::parent::{Parent, folder};

    #[proc_pool::test]
    fn the_live_view_draws_on_a_terminal_and_leaves_with_its_value() {
        if folder().is_some() {
            let pool = Pool::builder().workers(2).build().unwrap();
            let view = pool.live_view().unwrap();
            pool.map(square, 0..1000).unwrap();
            drop(view);
            pool.close().unwrap();
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let terminal = OpenOptions::new().read(true).write(true).open(name.to_str().unwrap());
        let test = "live::the_live_view_draws_on_a_terminal_and_leaves_with_its_value";
        Parent::start_with(test, folder.path(), terminal.unwrap().into()).succeed();
        let mut drawn = Vec::new();
        // Ends with an error once nobody has the other end.
        let _ = File::from(master).read_to_end(&mut drawn);
        let drawn = String::from_utf8_lossy(&drawn);
        assert!(drawn.contains("2 workers"), "{drawn:?}");
        assert!(drawn.contains("square   1,000 done   0 failed"), "{drawn:?}");
    }
}

#[task(pure)]
fn sum_of(values: shm_core::Frozen<u64>) -> u64 {
    values.iter().sum()
}

#[task(pure)]
fn frozen_range(length: u64) -> shm_core::Frozen<u64> {
    let values: Vec<u64> = (0..length).collect();
    shm_core::Frozen::copy_of(&values).expect("memory")
}

#[proc_pool::test]
fn what_goes_by_handle_is_counted_as_spared_and_not_as_moved() {
    let pool = Pool::builder().workers(2).build().unwrap();
    let values: Vec<u64> = (0..100_000).collect();
    let values = shm_core::Frozen::copy_of(&values).unwrap();
    // The whole once, and in four parts: twice its bytes.
    pool.submit(sum_of, values.clone()).wait().unwrap();
    let quarters: Vec<u64> = pool.map(sum_of, values.split(4)).unwrap();
    assert_eq!(quarters.iter().sum::<u64>(), 4_999_950_000);
    assert_eq!(pool.stats().bytes_spared, 2 * 800_000);
    // A result, too; and what a dead worker had is not forgotten.
    assert_eq!(pool.submit(frozen_range, 1000).wait().unwrap().len(), 1000);
    pool.submit(die, ()).wait().unwrap_err();
    let stats = pool.stats();
    assert_eq!(stats.bytes_spared, 2 * 800_000 + 8000);
    assert!(stats.bytes_moved < 10_000, "{stats:?}");
}
