//! What the locks cost, beside std's and the C library's robust one, in the same run.
//!
//! ```console
//! cargo run --release -p shm-core --example bench_locks
//! ```
//!
//! Each row is the median over alternating rounds; the ratio is the median of the rounds' ratios,
//! and its spread the middle half of them. Nobody contends, but in the last table.

use std::error::Error;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use shm_core::lock::{Mutex, Permits, RwLock};
use shm_core::{Group, Peers, Shared};

const ROUNDS: usize = 31;
const CALLS: u32 = 100_000;

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    if std::env::args().nth(1).as_deref() == Some("join") {
        let _group = Group::attach(std::io::stdin())?;
        loop {
            std::thread::park();
        }
    }
    let group = Group::anonymous()?;
    let me = group.me().ok_or("not a member")?;
    let mutex = Shared::new(Mutex::new(0_u64))?;
    let rwlock = Shared::new(RwLock::new(0_u64))?;
    let permits = Shared::new(Permits::new(4))?;
    let robust = Robust::new()?;
    let (std_mutex, std_rwlock) = (std::sync::Mutex::new(0_u64), std::sync::RwLock::new(0_u64));

    println!("ns a lock and unlock, median of {ROUNDS} alternating rounds of {CALLS}");
    println!("{:<44} {:>7} {:>7}   ratio (middle half)", "", "ours", "rival");
    let ours = || {
        if let Ok(mut guard) = mutex.lock(black_box(&group)) {
            *guard += 1;
        }
    };
    compare("Mutex, pthread robust and process-shared", ours, || robust.add_one());
    compare("Mutex, std's", ours, || {
        if let Ok(mut guard) = black_box(&std_mutex).lock() {
            *guard += 1;
        }
    });
    compare(
        "RwLock read, std's",
        || {
            black_box(rwlock.read(black_box(&group)).is_ok());
        },
        || {
            black_box(black_box(&std_rwlock).read().is_ok());
        },
    );
    compare("Permits, our Mutex", || drop(permits.acquire(black_box(&group), 1)), ours);
    println!();
    println!("ns a look at another member, its process alive");
    let mut other = Other::start(&group)?;
    let owner = other.wait_until_joined(&group)?;
    let kill_0 = || {
        // SAFETY: signal 0 only asks whether the process is there.
        black_box(unsafe { libc::kill(other.pid(), 0) });
    };
    compare(
        "hint: looks_alive, kill(pid, 0)",
        || {
            black_box(group.looks_alive(black_box(owner)));
        },
        kill_0,
    );
    compare(
        "is_gone of the living, kill(pid, 0)",
        || {
            black_box(group.is_gone(black_box(owner)));
        },
        kill_0,
    );
    other.end()?;
    assert_ne!(owner, me);
    println!();
    unfairness(&group)
}

/// The longest wait of one of four contenders, in mean hold times.
fn unfairness(group: &Group) -> Outcome {
    for hold in [20_u64, 200, 1_000].map(Duration::from_micros) {
        let mutex = Shared::new(Mutex::new(0_u64))?;
        let stop = AtomicBool::new(false);
        let waits: Vec<(Duration, u64)> = std::thread::scope(|threads| {
            let all: Vec<_> =
                (0..4).map(|_| threads.spawn(|| contend(group, &mutex, &stop, hold))).collect();
            std::thread::sleep(Duration::from_secs(1));
            stop.store(true, Relaxed);
            all.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        let longest = waits.iter().map(|(wait, _)| *wait).max().unwrap_or_default();
        let turns: Vec<u64> = waits.iter().map(|(_, turns)| *turns).collect();
        println!(
            "4 contenders, hold {hold:?}: longest wait {:.1} mean hold times; turns {turns:?}",
            longest.as_secs_f64() / hold.as_secs_f64()
        );
    }
    Ok(())
}

fn contend(
    group: &Group,
    mutex: &Mutex<u64>,
    stop: &AtomicBool,
    hold: Duration,
) -> (Duration, u64) {
    let (mut longest, mut turns) = (Duration::ZERO, 0);
    while !stop.load(Relaxed) {
        let start = Instant::now();
        let Ok(mut guard) = mutex.lock(group) else { break };
        longest = longest.max(start.elapsed());
        let held = Instant::now();
        while held.elapsed() < hold {
            std::hint::spin_loop();
        }
        *guard += 1;
        turns += 1;
    }
    (longest, turns)
}

fn compare(what: &str, mut ours: impl FnMut(), mut rival: impl FnMut()) {
    let mut rounds: Vec<(f64, f64)> =
        (0..ROUNDS).map(|_| (time(&mut ours), time(&mut rival))).collect();
    let mut ratios: Vec<f64> = rounds.iter().map(|(ours, rival)| ours / rival).collect();
    ratios.sort_by(f64::total_cmp);
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    let ours = rounds[ROUNDS / 2].0;
    rounds.sort_by(|a, b| a.1.total_cmp(&b.1));
    let rival = rounds[ROUNDS / 2].1;
    println!(
        "{what:<44} {ours:>7.1} {rival:>7.1}   {:.2} ({:.2}..{:.2})",
        ratios[ROUNDS / 2],
        ratios[ROUNDS / 4],
        ratios[ROUNDS * 3 / 4]
    );
}

fn time(call: &mut impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..CALLS {
        call();
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
}

/// The C library's robust mutex, shared between processes.
struct Robust {
    words: Box<(libc::pthread_mutex_t, u64)>,
}

impl Robust {
    fn new() -> Result<Robust, Box<dyn Error>> {
        let mut attributes = MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
        let at = attributes.as_mut_ptr();
        let mut words = Box::new((libc::PTHREAD_MUTEX_INITIALIZER, 0_u64));
        // SAFETY: initialises the attributes.
        let init = unsafe { libc::pthread_mutexattr_init(at) };
        // SAFETY: initialised above.
        let shared =
            unsafe { libc::pthread_mutexattr_setpshared(at, libc::PTHREAD_PROCESS_SHARED) };
        // SAFETY: as above.
        let robust = unsafe { libc::pthread_mutexattr_setrobust(at, libc::PTHREAD_MUTEX_ROBUST) };
        // SAFETY: the mutex stays where it is, on the heap.
        let made = unsafe { libc::pthread_mutex_init(&raw mut words.0, at) };
        let results = [init, shared, robust, made];
        if results == [0; 4] { Ok(Robust { words }) } else { Err("no robust mutex".into()) }
    }

    fn add_one(&self) {
        let mutex = (&raw const self.words.0).cast_mut();
        // SAFETY: an initialised mutex, used by this thread alone.
        if unsafe { libc::pthread_mutex_lock(mutex) } == 0 {
            let value = (&raw const self.words.1).cast_mut();
            // SAFETY: under the lock.
            let before = unsafe { value.read_volatile() };
            // SAFETY: as above.
            unsafe { value.write_volatile(before + 1) };
            // SAFETY: locked above.
            unsafe { libc::pthread_mutex_unlock(mutex) };
        }
    }
}

/// Another member of the group: a child that joins and waits for the end of its input.
struct Other {
    child: std::process::Child,
}

impl Other {
    fn start(group: &Group) -> Result<Other, Box<dyn Error>> {
        use std::os::fd::AsFd;
        let place = group.as_fd().try_clone_to_owned()?;
        let child = std::process::Command::new(std::env::current_exe()?)
            .arg("join")
            .stdin(std::process::Stdio::from(place))
            .spawn()?;
        Ok(Other { child })
    }

    fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    fn wait_until_joined(&mut self, group: &Group) -> Result<shm_core::Owner, Box<dyn Error>> {
        loop {
            let members = group.members();
            if let Some(other) = members.iter().find(|m| m.pid == self.child.id() && m.is_armed) {
                return Ok(other.owner);
            }
            if self.child.try_wait()?.is_some() {
                return Err("the other member ended".into());
            }
            std::thread::yield_now();
        }
    }

    fn end(&mut self) -> Outcome {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}
