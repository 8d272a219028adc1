//! Results awaited, called back, and waited for together.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use proc_pool::{Pool, TaskError, TaskHandle, Until, task, wait};

#[task(pure)]
fn square(x: u64) -> u64 {
    x * x
}

#[task]
fn fail() {
    panic!("as it should");
}

/// Ends when the file is there.
#[task]
fn wait_for(file: String) -> u32 {
    while !std::fs::exists(&file).expect("the folder") {
        std::thread::sleep(Duration::from_millis(1));
    }
    7
}

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().expect("a pool")
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest executor; it only ever polls again when it was woken.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[proc_pool::test]
fn a_handle_is_a_future_that_wakes_its_executor() {
    let pool = pool(2);
    let sum = block_on(async {
        let mut sum = 0;
        for x in 0..200 {
            sum += pool.submit(square, x).await?;
        }
        Ok::<u64, TaskError>(sum)
    });
    assert_eq!(sum.unwrap(), (0..200).map(|x| x * x).sum::<u64>());
}

#[proc_pool::test]
fn an_await_that_is_given_up_leaves_the_task_running() {
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go").to_str().unwrap().to_owned();
    let pool = pool(1);
    let mut given_up = Box::pin(pool.submit(wait_for, go.clone()));
    assert!(given_up.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(given_up);
    let other = pool.submit(square, 3);
    std::fs::write(go, "").unwrap();
    assert_eq!(block_on(other).unwrap(), 9);
    pool.close().unwrap();
}

#[proc_pool::test]
fn a_polled_handle_can_be_waited_for() {
    let pool = pool(1);
    let mut handle = pool.submit(square, 5);
    let _ = std::pin::Pin::new(&mut handle).poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(handle.wait().unwrap(), 25);
}

#[proc_pool::test]
fn callbacks_run_once_each_and_before_close_returns() {
    let pool = pool(2);
    let (sender, results) = channel();
    for x in 0..500 {
        let sender = sender.clone();
        pool.submit(square, x).on_done(move |result| sender.send(result.unwrap()).unwrap());
    }
    pool.close().unwrap();
    let mut results: Vec<u64> = results.try_iter().collect();
    results.sort_unstable();
    assert!(results.into_iter().eq((0..500).map(|x| x * x)));
}

#[proc_pool::test]
fn a_callback_may_use_the_pool_and_another_may_panic() {
    let pool = Arc::new(pool(1));
    let (sender, results) = channel();
    let (again, send) = (Arc::clone(&pool), sender.clone());
    pool.submit(square, 1).on_done(|_| panic!("in a callback, on purpose"));
    pool.submit(square, 2).on_done(move |four| {
        send.send(again.submit(square, four.unwrap()).wait().unwrap()).unwrap();
    });
    assert_eq!(results.recv().unwrap(), 16);
    let done = pool.submit(square, 3);
    assert_eq!(wait(std::slice::from_ref(&done), Until::All, None).done, [0]);
    done.on_done(move |nine| sender.send(nine.unwrap()).unwrap());
    assert_eq!(results.recv().unwrap(), 9, "a callback for a task that was done already");
}

#[proc_pool::test]
fn a_callback_may_be_the_last_to_hold_the_pool() {
    let pool = Arc::new(pool(1));
    let (last, (sender, ended)) = (Arc::clone(&pool), channel());
    let (go, may_go) = channel::<()>();
    pool.submit(square, 2).on_done(move |_| {
        may_go.recv().unwrap();
        drop(last);
        sender.send(()).unwrap();
    });
    drop(pool);
    go.send(()).unwrap();
    ended.recv_timeout(Duration::from_secs(20)).expect("the pool cannot end in its callback");
}

/// One task that ends at `go`, and one that ends at once.
fn late_and_early(pool: &Pool, go: &str) -> [TaskHandle<wait_for>; 2] {
    [pool.submit(wait_for, go.to_owned()), pool.submit(wait_for, "/".to_owned())]
}

#[proc_pool::test]
fn wait_tells_which_are_done() {
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go").to_str().unwrap().to_owned();
    let pool = pool(2);
    let handles = late_and_early(&pool, &go);
    assert_eq!(wait(&handles, Until::Any, None).done, [1]);
    let waited = wait(&handles, Until::All, Some(Duration::from_millis(5)));
    assert_eq!((waited.done, waited.pending), (vec![1], vec![0]));
    std::fs::write(go, "").unwrap();
    assert_eq!(wait(&handles, Until::All, None).done, [0, 1]);
    let [a, b] = handles.map(TaskHandle::wait);
    assert_eq!((a.unwrap(), b.unwrap()), (7, 7), "waiting took the results");
    assert!(wait::<square>(&[], Until::All, None).done.is_empty());
}

#[proc_pool::test]
fn waiting_for_a_failure_ends_with_it() {
    let pool = pool(1);
    let handles: Vec<_> = (0..3).map(|_| pool.submit(fail, ())).collect();
    let waited = wait(&handles, Until::AnyFailed, Some(Duration::from_secs(20)));
    assert!(!waited.done.is_empty());
    let fine: Vec<_> = (0..3).map(|x| pool.submit(square, x)).collect();
    assert_eq!(wait(&fine, Until::AnyFailed, None).done, [0, 1, 2]);
}

#[proc_pool::test]
fn handles_of_two_pools_are_waited_for_together() {
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go").to_str().unwrap().to_owned();
    let (one, other) = (pool(1), pool(1));
    let handles = [one.submit(wait_for, go.clone()), other.submit(wait_for, "/".to_owned())];
    assert_eq!(wait(&handles, Until::Any, None).done, [1]);
    std::fs::write(go, "").unwrap();
    assert_eq!(wait(&handles, Until::All, None).done.len(), 2);
}
