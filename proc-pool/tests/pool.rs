//! What a pool promises while nothing breaks.

use std::time::Duration;

use proc_pool::{
    Copied, Pool, PoolError, StartMethod, Task, TaskError, TaskId, as_completed, task,
};
use shm_core::{Array, Column, Frozen, Part, ShmSafe};

#[task(pure)]
fn square(x: u64) -> u64 {
    x * x
}

#[task]
fn add(a: i64, b: i64) -> i64 {
    a + b
}

#[task]
fn shout(word: String) -> String {
    word.to_uppercase()
}

#[task]
fn nothing() {}

#[task]
fn divide(a: u32, b: u32) -> u32 {
    assert!(b != 0, "division of {a} by zero");
    a / b
}

#[task]
fn total(values: Copied<f64>) -> f64 {
    values.iter().sum()
}

#[task]
fn sum(values: Frozen<u64>) -> u64 {
    values.iter().sum()
}

#[task]
fn fill(mut part: Part<u32>) -> Part<u32> {
    let start = part.start() as u32;
    let values = part.as_mut_slice().expect("the part is this worker's");
    values.iter_mut().zip(start..).for_each(|(slot, value)| *slot = value);
    part
}

#[task]
fn make(len: u64) -> Frozen<u64> {
    let values: Vec<u64> = (0..len).collect();
    Frozen::copy_of(&values).expect("memory")
}

#[task]
fn mean_price(prices: Column<f64>) -> f64 {
    prices.iter().sum::<f64>() / prices.len() as f64
}

#[task]
fn process_id() -> u32 {
    std::process::id()
}

#[task]
fn copy_back(len: u64) -> Copied<u32> {
    Copied::from((0..len as u32).collect::<Vec<_>>())
}

#[task]
fn calls_one_that_panics(x: u32) -> u32 {
    panics_inside(x)
}

#[inline(never)]
fn panics_inside(x: u32) -> u32 {
    assert!(std::hint::black_box(x) > 100, "small");
    x
}

/// The names of the calls that led to a panic, and a line of each.
fn frames_of(result: Result<u32, TaskError>) -> Vec<(String, bool)> {
    match result {
        Err(TaskError::Panicked { frames, .. }) => (frames.resolve().into_iter())
            .map(|frame| (frame.function.unwrap_or_default(), frame.line.is_some()))
            .collect(),
        other => panic!("{other:?}"),
    }
}

#[proc_pool::test]
fn a_panic_comes_back_with_the_calls_that_led_to_it() {
    for method in [StartMethod::Spawn, StartMethod::Server] {
        let pool = Pool::builder().workers(1).start_method(method).build().unwrap();
        let alone = frames_of(pool.submit(calls_one_that_panics, 1).wait());
        let in_chunk = frames_of(pool.imap(calls_one_that_panics, [1, 200]).next().unwrap());
        for frames in [alone, in_chunk] {
            assert_eq!(frames.first(), Some(&("pool::panics_inside".to_owned(), true)));
            assert!(frames.len() < 8, "what is the worker's is not shown: {frames:#?}");
        }
    }
}

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().expect("a pool")
}

#[proc_pool::test]
fn map_gives_results_in_the_order_of_the_inputs() {
    let pool = pool(3);
    let squares = pool.map(square, 0..10_000).unwrap();
    assert!(squares.iter().zip(0u64..).all(|(&result, x)| result == x * x));
    assert_eq!(squares.len(), 10_000);
    pool.close().unwrap();
}

#[proc_pool::test]
fn a_task_is_still_a_function() {
    assert_eq!(add(2, 3), 5);
    let () = nothing();
}

#[proc_pool::test]
fn several_parameters_travel_as_a_tuple() {
    let sums = pool(2).map(add, [(1, 2), (3, 4)]).unwrap();
    assert_eq!(sums, [3, 7]);
}

#[proc_pool::test]
fn tasks_run_in_other_processes() {
    let pool = pool(2);
    let ids = pool.map(process_id, [(); 20]).unwrap();
    assert!(ids.iter().all(|id| pool.worker_pids().contains(id)), "{ids:?}");
    assert!(!ids.contains(&std::process::id()));
}

#[proc_pool::test]
fn a_handle_waits_for_one_result() {
    let pool = pool(1);
    let word = pool.submit(shout, "hello".to_owned());
    pool.submit(nothing, ()).wait().unwrap();
    assert_eq!(word.wait().unwrap(), "HELLO");
}

#[proc_pool::test]
fn as_completed_gives_each_result_once_with_its_index() {
    let pool = pool(2);
    let handles: Vec<_> = (0..200).map(|x| pool.submit(square, x)).collect();
    let mut seen = vec![false; 200];
    for (index, result) in as_completed(handles) {
        assert_eq!(result.unwrap(), (index * index) as u64);
        assert!(!std::mem::replace(&mut seen[index], true));
    }
    assert!(seen.into_iter().all(|seen| seen));
}

#[proc_pool::test]
fn a_panic_comes_back_with_message_and_place_and_the_worker_lives_on() {
    let pool = pool(1);
    let before = pool.submit(process_id, ()).wait().unwrap();
    match pool.submit(divide, (7, 0)).wait() {
        Err(TaskError::Panicked { message, location, .. }) => {
            assert_eq!(message, "division of 7 by zero");
            assert!(location.contains("pool.rs"), "{location}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(pool.submit(divide, (7, 2)).wait().unwrap(), 3);
    assert_eq!(pool.submit(process_id, ()).wait().unwrap(), before);
}

#[proc_pool::test]
fn frozen_data_travels_as_a_handle() {
    let pool = pool(2);
    let values: Vec<u64> = (0..1_000_000).collect();
    let frozen = Frozen::copy_of(&values).unwrap();
    let sums = pool.map(sum, frozen.split(4)).unwrap();
    assert_eq!(sums.iter().sum::<u64>(), values.iter().sum::<u64>());
    assert!(pool.bytes_moved() < 2000, "{} bytes for 8 MB of data", pool.bytes_moved());
}

#[proc_pool::test]
fn a_worker_can_give_frozen_data_back() {
    let frozen = pool(1).submit(make, 5).wait().unwrap();
    assert_eq!(frozen[..], [0, 1, 2, 3, 4]);
}

#[proc_pool::test]
fn columns_travel_as_handles() {
    #[derive(Clone, Copy, ShmSafe)]
    #[repr(C)]
    struct Tick {
        time: i64,
        price: f64,
    }
    let ticks: Vec<Tick> = (0..100).map(|i| Tick { time: i, price: i as f64 }).collect();
    let prices = Frozen::copy_of(&ticks).unwrap().column::<f64>("price").unwrap();
    let means = pool(2).map(mean_price, prices.split(2)).unwrap();
    assert_eq!(means, [24.5, 74.5]);
    assert_eq!(ticks[3].time, 3);
}

#[proc_pool::test]
fn workers_fill_parts_of_one_array_in_place() {
    let pool = pool(3);
    let (parts, remains) = Array::<u32>::zeroed(100_000).unwrap().into_parts(7);
    let filled = pool.map(fill, parts).unwrap();
    let frozen = remains.join(filled).unwrap().freeze().unwrap();
    assert!(frozen.iter().zip(0..).all(|(&value, index)| value == index));
}

#[proc_pool::test]
fn copied_data_larger_than_the_queue_arrives_whole_both_ways() {
    let pool = pool(2);
    let values: Vec<f64> = (0..1_000_000).map(f64::from).collect();
    let expected: f64 = values.iter().sum();
    let copied = Copied::from(values);
    let sums = pool.map(total, vec![copied; 3]).unwrap();
    assert_eq!(sums, [expected; 3]);
    assert!(pool.bytes_moved() >= 24_000_000);
    let back = pool.submit(copy_back, 1_000_000).wait().unwrap();
    assert!(back.iter().zip(0..).all(|(&value, index)| value == index));
}

#[proc_pool::test]
fn tasks_that_nobody_waits_for_are_run_before_close_returns() {
    let pool = pool(2);
    for x in 0..1000 {
        drop(pool.submit(square, x));
    }
    pool.close().unwrap();
}

#[proc_pool::test]
fn waiting_has_a_limit_and_gives_the_handle_back() {
    let pool = pool(1);
    let handle = pool.submit(sleep_for, 300);
    let handle = handle.wait_timeout(Duration::from_millis(1)).expect_err("it is not done yet");
    assert!(handle.wait().is_ok());
}

#[task]
fn sleep_for(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

#[proc_pool::test]
fn a_dropped_pool_fails_what_is_not_done() {
    let pool = pool(1);
    let running = pool.submit(sleep_for, 60_000);
    let waiting = pool.submit(sleep_for, 60_000);
    drop(pool);
    assert!(matches!(
        running.wait(),
        Err(TaskError::WorkerDied { .. } | TaskError::PoolEnded { .. })
    ));
    assert!(matches!(waiting.wait(), Err(TaskError::PoolEnded { .. })));
}

/// A task by hand, which nobody has registered.
#[derive(Clone, Copy)]
struct Unregistered;

impl Task for Unregistered {
    type Input = u32;
    type Output = u32;
    const NAME: &'static str = "unregistered";
    const ID: TaskId = TaskId::of("unregistered(u32) -> u32");
    const PURE: bool = true;

    fn call(x: u32) -> u32 {
        x
    }
}

#[proc_pool::test]
fn a_task_that_was_not_registered_fails_each_time_and_says_what_to_do() {
    let pool = pool(2);
    let says_so = |result: Result<u32, TaskError>| match result {
        Err(error @ TaskError::Unknown { .. }) => {
            let text = error.to_string();
            assert!(
                text.contains("unregistered") && text.contains("proc_pool::register"),
                "{text}"
            );
        }
        other => panic!("{other:?}"),
    };
    says_so(pool.submit(Unregistered, 1).wait());
    assert_eq!(pool.imap(Unregistered, 0..100).map(says_so).count(), 100);
    let chunks = pool.imap_unordered(Unregistered, 0..100).chunk(7);
    assert_eq!(chunks.map(|(_, result)| says_so(result)).count(), 100);
    assert_eq!(pool.submit(add, (1, 2)).wait().unwrap(), 3);
}

#[proc_pool::test]
fn a_pool_of_no_workers_is_refused() {
    assert!(matches!(Pool::builder().workers(0).build(), Err(PoolError::NoWorkers)));
}

#[test]
fn a_program_that_cannot_start_workers_is_told_so() {
    // The other tests of this program may have called `init` already, in which case a pool works.
    match Pool::builder().workers(1).build() {
        Err(PoolError::NotInitialised) | Ok(_) => {}
        Err(other) => panic!("{other}"),
    }
}

#[task(pure)]
fn fill_unless_first(mut part: Part<u32>, marker: String) -> Part<u32> {
    part.as_mut_slice().expect("the part is this worker's").fill(7);
    if std::fs::File::create_new(marker).is_ok() {
        std::process::abort();
    }
    part
}

#[proc_pool::test]
fn a_part_whose_worker_died_is_filled_by_another() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("first").to_str().unwrap().to_owned();
    let pool = pool(2);
    let (parts, remains) = Array::<u32>::zeroed(10).unwrap().into_parts(2);
    let inputs = parts.into_iter().map(|part| (part, marker.clone()));
    let filled = pool.map(fill_unless_first, inputs).unwrap();
    assert_eq!(remains.join(filled).unwrap()[..], [7; 10]);
    assert!(folder.path().join("first").exists(), "no worker died");
}

#[task]
fn fork_and_return() -> u32 {
    // SAFETY: the child only returns from the task, which is what is tested; it allocates nothing
    // that another thread could hold a lock for: a worker runs tasks on its only thread.
    match unsafe { libc::fork() } {
        0 => u32::MAX,
        child => {
            let mut status = 0;
            // SAFETY: waits for the child just made; `status` is writable.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            libc::WEXITSTATUS(status) as u32
        }
    }
}

#[proc_pool::test]
fn a_forked_child_that_returns_from_a_task_does_not_answer_for_the_worker() {
    let pool = pool(1);
    assert_eq!(pool.submit(fork_and_return, ()).wait().unwrap(), 70);
    assert_eq!(pool.submit(square, 5).wait().unwrap(), 25);
}
