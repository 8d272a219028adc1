//! Streams of results: order, laziness, chunks, and what a crash inside a chunk costs.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::num::NonZero;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use proc_pool::{Copied, Death, Pool, TaskError, TaskOptions, task};
use rustix::process::{Pid, Signal, kill_process};
use shm_core::{Array, Frozen, Part};

#[task(pure)]
fn square(x: u64) -> u64 {
    x.wrapping_mul(x)
}

#[task]
fn divide(a: u32, b: u32) -> u32 {
    assert!(b != 0, "division of {a} by zero");
    a / b
}

/// Marks that it was run with this input.
fn mark(folder: &str, x: u64) -> usize {
    for again in 0.. {
        if std::fs::File::create_new(format!("{folder}/{x}-{again}")).is_ok() {
            return again;
        }
    }
    unreachable!()
}

/// How often each input was run.
fn runs(folder: &str) -> BTreeMap<u64, usize> {
    let mut runs = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("the folder") {
        let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        let (x, _) = name.split_once('-').expect("a mark");
        *runs.entry(x.parse().expect("a number")).or_insert(0) += 1;
    }
    runs
}

/// Kills its worker at `bad`. Not pure: whatever runs twice is an error of the pool's.
#[task]
fn kills_at(folder: String, bad: u64, x: u64) -> u64 {
    mark(&folder, x);
    if x == bad {
        let _ = kill_process(rustix::process::getpid(), Signal::KILL);
    }
    x * x
}

#[task(pure)]
fn kills_first_time_at(folder: String, bad: u64, x: u64) -> u64 {
    if mark(&folder, x) == 0 && x == bad {
        let _ = kill_process(rustix::process::getpid(), Signal::KILL);
    }
    x * x
}

/// Very long for the first input, short for the others.
#[task]
fn slow_at_first(go: String, x: u64) -> u32 {
    if x == 0 {
        while !std::fs::exists(&go).expect("the folder") {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    std::process::id()
}

#[task]
fn repeat(text: String, times: usize) -> String {
    text.repeat(times)
}

#[task]
fn total(values: Copied<u32>, more: u32) -> u32 {
    values.iter().sum::<u32>() + more
}

#[task]
fn frozen_if_odd(x: u64) -> Option<Frozen<u64>> {
    (x % 2 == 1).then(|| Frozen::copy_of(&[x]).expect("memory"))
}

#[task]
fn fill(mut part: Part<u32>) -> Part<u32> {
    let start = part.start() as u32;
    let values = part.as_mut_slice().expect("the part is this worker's");
    values.iter_mut().zip(start..).for_each(|(slot, value)| *slot = value);
    part
}

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().expect("a pool")
}

#[proc_pool::test]
fn imap_keeps_the_order_at_every_chunk_size() {
    let pool = pool(3);
    for chunk in [1, 2, 7, 100, 5000] {
        let squares = pool.imap(square, 0..1000).chunk(chunk);
        let squares: Vec<u64> = squares.map(|result| result.unwrap()).collect();
        assert!(squares.into_iter().eq((0..1000).map(|x| x * x)), "chunk {chunk}");
    }
}

#[proc_pool::test]
fn imap_unordered_gives_each_result_once_with_its_number() {
    let pool = pool(3);
    for chunk in [1, 13] {
        let mut seen = vec![false; 3000];
        for (number, result) in pool.imap_unordered(square, 0..3000).chunk(chunk) {
            assert_eq!(result.unwrap(), (number * number) as u64);
            assert!(!std::mem::replace(&mut seen[number], true));
        }
        assert!(seen.into_iter().all(|seen| seen));
    }
}

#[proc_pool::test]
fn an_endless_iterator_is_drawn_only_as_far_as_allowed() {
    let pool = pool(2);
    let drawn = Rc::new(Cell::new(0_usize));
    let count = Rc::clone(&drawn);
    let inputs = (0..).inspect(move |_| count.set(count.get() + 1));
    let mut squares = pool.imap(square, inputs).ahead(50);
    assert_eq!(drawn.get(), 0, "inputs are drawn before anybody asks");
    for given in 1..=500 {
        squares.next().unwrap().unwrap();
        assert!(drawn.get() <= given - 1 + 50, "{} drawn for {given} results", drawn.get());
    }
    drop(squares);
    assert_eq!(pool.submit(square, 4).wait().unwrap(), 16);
}

#[proc_pool::test]
fn the_size_of_a_stream_is_known_when_that_of_its_inputs_is() {
    let pool = pool(2);
    let mut squares = pool.imap(square, [3; 10]);
    assert_eq!(squares.len(), 10);
    squares.next();
    assert_eq!(squares.len(), 9);
    assert_eq!(squares.count(), 9);
    assert_eq!(pool.imap(square, []).count(), 0);
}

#[proc_pool::test]
fn a_panic_in_a_chunk_is_one_item_s_and_the_stream_goes_on() {
    let pool = pool(1);
    let inputs = (0..100).map(|x| (1000, x % 10));
    let results: Vec<_> = pool.imap(divide, inputs).chunk(50).collect();
    for (x, result) in results.into_iter().enumerate() {
        match (x % 10, result) {
            (0, Err(TaskError::Panicked { message, location, .. })) => {
                assert_eq!(message, "division of 1000 by zero");
                assert!(location.contains("streams.rs"), "{location}");
            }
            (divisor, Ok(result)) => assert_eq!(result as usize, 1000 / divisor),
            other => panic!("{other:?}"),
        }
    }
}

#[proc_pool::test]
fn a_crash_in_a_chunk_costs_the_one_item_that_ran() {
    let pool = pool(2);
    for (bad, chunk) in [(0, 100), (37, 100), (99, 100), (37, 10)] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().to_str().unwrap();
        let inputs = (0..100).map(|x| (folder.to_owned(), bad, x));
        for (x, result) in pool.imap(kills_at, inputs).chunk(chunk).enumerate() {
            match result {
                Ok(result) => assert_eq!(result, (x * x) as u64),
                Err(TaskError::WorkerDied { death: Death::Signal(9), attempts: 1, .. }) => {
                    assert_eq!(x as u64, bad);
                }
                Err(other) => panic!("item {x}: {other}"),
            }
        }
        let expected: BTreeMap<u64, usize> = (0..100).map(|x| (x, 1)).collect();
        assert_eq!(runs(folder), expected, "an item was run twice, or never");
    }
}

#[proc_pool::test]
fn only_the_pure_item_that_ran_runs_again() {
    let pool = pool(1);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let inputs = (0..60).map(|x| (folder.to_owned(), 41, x));
    let squares: Result<Vec<u64>, _> = pool.imap(kills_first_time_at, inputs).chunk(60).collect();
    assert!(squares.unwrap().into_iter().eq((0..60).map(|x| x * x)));
    let expected: BTreeMap<u64, usize> = (0..60).map(|x| (x, 1 + usize::from(x == 41))).collect();
    assert_eq!(runs(folder), expected);
}

#[proc_pool::test]
fn an_idle_worker_takes_over_the_rest_of_a_chunk() {
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go");
    let pool = pool(2);
    let inputs = (0..100).map(|x| (go.to_str().unwrap().to_owned(), x));
    let mut stream = pool.imap_unordered(slow_at_first, inputs).chunk(100);
    // All but the first come while that one runs: somebody else must have been given them.
    let mut others: Vec<usize> = stream.by_ref().take(99).map(|(number, _)| number).collect();
    others.sort_unstable();
    assert!(others.into_iter().eq(1..100));
    std::fs::write(&go, "").unwrap();
    assert!(matches!(stream.next(), Some((0, Ok(_)))));
    assert!(stream.next().is_none());
}

#[proc_pool::test]
fn results_larger_than_any_buffer_come_in_chunks_too() {
    let pool = pool(2);
    let sizes = [0, 1, 100, 70_000, 5, 3_000_000, 65_000, 65_000, 1];
    let inputs = sizes.map(|size| ("x".to_owned(), size));
    let results: Vec<_> = pool.imap(repeat, inputs).chunk(100).collect();
    for (size, result) in sizes.into_iter().zip(results) {
        assert_eq!(result.unwrap(), "x".repeat(size));
    }
    let long = (0..20).map(|_| ("y".repeat(10_000), 1));
    assert!(pool.imap(repeat, long).chunk(20).all(|text| text.unwrap().len() == 10_000));
}

#[proc_pool::test]
fn data_that_travels_beside_a_chunk_arrives_in_order() {
    let pool = pool(2);
    let inputs = (0..200).map(|x| (Copied::from(vec![x; 10]), x));
    let totals: Result<Vec<u32>, _> = pool.imap(total, inputs).chunk(10).collect();
    assert!(totals.unwrap().into_iter().eq((0..200).map(|x| 11 * x)));
    let frozen = pool.imap(frozen_if_odd, 0..200).chunk(20);
    for (x, frozen) in (0..200).zip(frozen) {
        assert_eq!(frozen.unwrap().map(|frozen| frozen[0]), (x % 2 == 1).then_some(x));
    }
    let (parts, remains) = Array::<u32>::zeroed(1000).unwrap().into_parts(50);
    let filled: Result<Vec<_>, _> = pool.imap(fill, parts).chunk(10).collect();
    let frozen = remains.join(filled.unwrap()).unwrap().freeze().unwrap();
    assert!(frozen.iter().zip(0..).all(|(&value, index)| value == index));
}

#[proc_pool::test]
fn limits_hold_for_each_item_of_a_stream() {
    let pool = pool(1);
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("never").to_str().unwrap().to_owned();
    let options = TaskOptions::new().time_limit(Duration::from_millis(50));
    let inputs = (0..3).map(|x| (go.clone(), x));
    let results: Vec<_> = pool.imap(slow_at_first, inputs).options(options).collect();
    assert!(matches!(results[0], Err(TaskError::TimeLimit { .. })), "{results:?}");
    assert!(results[1].is_ok() && results[2].is_ok(), "{results:?}");
}

#[proc_pool::test]
fn a_stream_outlives_its_pool_and_says_so() {
    let pool = pool(1);
    let mut squares = pool.imap(square, 0..);
    assert_eq!(squares.next().unwrap().unwrap(), 0);
    drop(pool);
    assert!(squares.by_ref().take(10_000).any(|result| result.is_err()));
}

/// Kills a worker now and then that has got as far as its tasks.
fn storm(pool: &Pool, stop: &AtomicBool) -> usize {
    let mut kills = 0;
    // Relaxed: a flag, no data hangs on it.
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(20 + 7 * (kills as u64 % 5)));
        let pids = pool.worker_pids();
        let Some(&pid) = pids.get(kills % pids.len().max(1)) else { continue };
        let pid = Pid::from_raw(pid as i32).expect("a process id");
        kills += usize::from(kill_process(pid, Signal::KILL).is_ok());
    }
    kills
}

#[proc_pool::test]
fn a_storm_of_kills_costs_chunks_nothing() {
    let attempts = NonZero::new(1000).unwrap();
    let pool = Pool::builder().workers(2).attempts(attempts).build().unwrap();
    let (stop, deadline) = (AtomicBool::new(false), Instant::now() + Duration::from_secs(3));
    std::thread::scope(|scope| {
        let storm = scope.spawn(|| storm(&pool, &stop));
        let mut wrong = None;
        for round in 0.. {
            let inputs = round * 20_000..(round + 1) * 20_000;
            match pool.map(square, inputs.clone()) {
                Ok(results) if results.iter().copied().eq(inputs.map(|x| x * x)) => {}
                other => wrong = Some(other),
            }
            if wrong.is_some() || Instant::now() > deadline {
                break;
            }
        }
        // Relaxed: as above.
        stop.store(true, Ordering::Relaxed);
        let kills = storm.join().expect("the storm");
        assert!(wrong.is_none(), "after {kills} kills: {wrong:?}");
        assert!(kills > 5, "only {kills} kills");
    });
}
