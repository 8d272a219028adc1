//! How soon survivors go on after a death: a consumer sleeps, its producer is killed, and the time runs
//! from the moment at which the kernel offers the proof (the pidfd of the dead polls readable).
//!
//! `cargo run --release -p ipc-queue --example death_latency [ROUNDS]`

use std::error::Error;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ipc_queue::{RecvError, mpmc, spsc};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use shm_core::{Group, Segment};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const ROLE: &str = "IPC_QUEUE_DEATH_LATENCY";

/// The producer's process: says that it is there, and waits to be killed.
fn victim() -> Outcome<()> {
    let segment = Segment::attach(std::io::stdin().as_fd().try_clone_to_owned()?)?;
    let group = Group::attach(std::io::stdout().as_fd())?;
    if std::env::var(ROLE)? == "spsc" {
        let mut producer = spsc::attach_producer_among::<u64>(&segment, 0, group)?;
        producer.send(1)?;
        std::thread::park();
    } else {
        let mut producer = mpmc::attach_producer::<u64>(&segment, 0, &group)?;
        producer.send(1)?;
        std::thread::park();
    }
    Ok(())
}

fn start(role: &str, segment: &Segment, group: &Group) -> Outcome<Child> {
    let child = Command::new(std::env::current_exe()?)
        .env(ROLE, role)
        .stdin(segment.as_fd().try_clone_to_owned()?)
        .stdout(group.as_fd().try_clone_to_owned()?)
        .stderr(Stdio::inherit())
        .spawn()?;
    Ok(child)
}

/// Kills the child after a while; when its proof was there.
fn kill(mut child: Child) -> Outcome<Instant> {
    let pid = Pid::from_child(&child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    // The consumer falls asleep meanwhile; if it does not, that round is only better.
    std::thread::sleep(Duration::from_millis(5));
    child.kill()?;
    poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None)?;
    let proof = Instant::now();
    child.wait()?;
    Ok(proof)
}

/// From the proof to the end of the consumer's sleep.
fn round(
    child: Child,
    recv: &mut (dyn FnMut() -> Result<u64, RecvError> + Send),
) -> Outcome<Duration> {
    while recv() != Ok(1) {}
    std::thread::scope(|threads| {
        let killer = threads.spawn(|| kill(child));
        let end = recv();
        let went_on = Instant::now();
        let proof = killer.join().map_err(|_| "the killer panicked")??;
        match end {
            Err(RecvError::PeerDead | RecvError::Disconnected) => {
                Ok(went_on.saturating_duration_since(proof))
            }
            other => Err(format!("{other:?}").into()),
        }
    })
}

fn print(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: usize| times.get((times.len() * share / 100).min(times.len() - 1));
    println!(
        "{name:<28} median {:?}, p99 {:?}, of {} deaths",
        at(50).copied().unwrap_or_default(),
        at(99).copied().unwrap_or_default(),
        times.len(),
    );
}

fn main() -> Outcome<()> {
    if std::env::var_os(ROLE).is_some() {
        return victim();
    }
    let rounds: usize = std::env::args().nth(1).map_or(Ok(100), |text| text.parse())?.max(1);
    let group = Group::anonymous()?;

    let segment = Segment::anonymous(mpmc::required_size::<u64>(8)?)?;
    mpmc::create::<u64>(&segment, 0, 8)?;
    let mut consumer = mpmc::attach_consumer::<u64>(&segment, 0, &group)?;
    consumer.set_spin_limit(0);
    let mut times = Vec::new();
    for _ in 0..rounds {
        let child = start("mpmc", &segment, &group)?;
        times.push(round(child, &mut || consumer.recv())?);
    }
    print("mpmc, a parked consumer", times);

    let segment = Segment::anonymous(spsc::required_size::<u64>(8)?)?;
    spsc::create::<u64>(&segment, 0, 8)?;
    let mut consumer = spsc::attach_consumer_among::<u64>(&segment, 0, group.clone())?;
    consumer.set_spin_limit(0);
    let mut times = Vec::new();
    for _ in 0..rounds {
        let child = start("spsc", &segment, &group)?;
        times.push(round(child, &mut || consumer.recv())?);
    }
    print("spsc, a parked consumer", times);
    Ok(())
}
