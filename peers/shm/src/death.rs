//! Finding out whether another process is alive, and being told when it is not.

use std::hint::black_box;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use method::{Arguments, Calibration, Case, Outcome, Promise, Sample, Side, Target, Unit};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open, test_kill_process};
use shm_core::{Group, Owner, Peers};

const HINT: Promise =
    Promise::keeps("may be old news; a proof is asked before anything is revoked");
const PROOF: Promise = Promise::keeps("proven");
const GUESS: Promise = Promise::may_lose("a pid may belong to somebody else by now");

/// The argument at which this program joins a group and stays until it is killed.
pub const MEMBER: &str = "be-a-member";

/// Joins the named group, says as whom, and waits to be killed.
pub fn member(name: &str) -> Outcome<()> {
    let group = Group::open(name)?;
    let me = group.me().ok_or("no member")?;
    println!("{}", me.to_bits());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Another process in our group.
struct Other {
    child: Child,
    owner: Owner,
}

impl Other {
    fn start(name: &str) -> Outcome<Other> {
        let mut child = Command::new("/proc/self/exe")
            .args([MEMBER, name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let owner = Owner::from_bits(line.trim().parse()?).ok_or("no owner")?;
        Ok(Other { child, owner })
    }

    fn pid(&self) -> Outcome<Pid> {
        Ok(Pid::from_raw(self.child.id() as i32).ok_or("no pid")?)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Nanoseconds a look that must say `alive`.
fn looks(count: u32, mut is_alive: impl FnMut() -> bool) -> Outcome<Sample> {
    let mut alive = 0;
    let start = Instant::now();
    for _ in 0..count {
        alive += u32::from(black_box(is_alive()));
    }
    let time = start.elapsed();
    if alive == count {
        Ok(Sample::from(time.as_nanos() as f64 / f64::from(count)))
    } else {
        Err("a living process was called dead".into())
    }
}

fn is_running(pidfd: &OwnedFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&now)), Ok(0))
}

/// The cases.
pub fn run(arguments: &Arguments) -> Outcome<()> {
    let name = format!("peers-death-{}", std::process::id());
    let group = Group::create(&name)?;
    let other = Other::start(&name)?;
    hint(arguments, &group, &other)?;
    proof(arguments, &group, &other)?;
    drop(other);
    told(arguments, &group, &name);
    Ok(())
}

fn hint(arguments: &Arguments, group: &Group, other: &Other) -> Outcome<()> {
    let pidfd = pidfd_open(other.pid()?, PidfdFlags::empty())?;
    let (pid, count) = (other.pid()?, arguments.pick(20_000, 50_000));
    let stat = format!("/proc/{}/stat", other.child.id());
    let inside = "whether another process, which is alive, looks alive";
    Case::new("shm", "death hint", inside, Unit::NANOSECONDS, Calibration::Compute)
        .side(Side::new("shm-core looks_alive", HINT, || {
            looks(count * 20, || group.looks_alive(other.owner))
        }))
        .side(Side::new("poll of a pidfd", PROOF, || looks(count, || is_running(&pidfd))))
        .side(Side::new("kill(pid, 0)", GUESS, || looks(count, || test_kill_process(pid).is_ok())))
        .side(Side::new("reading /proc/PID/stat", GUESS, || {
            looks(count / 20, || std::fs::read(&stat).is_ok_and(|text| !text.is_empty()))
        }))
        .target(Target::Absolute(2.0))
        .run(arguments);
    Ok(())
}

fn proof(arguments: &Arguments, group: &Group, other: &Other) -> Outcome<()> {
    let pidfd = pidfd_open(other.pid()?, PidfdFlags::empty())?;
    let count = arguments.pick(20_000, 50_000);
    let inside = "whether another process, which is alive, is proven gone";
    Case::new(
        "shm",
        "asking for a proof of death",
        inside,
        Unit::NANOSECONDS,
        Calibration::Compute,
    )
    .side(Side::new("shm-core is_gone", PROOF, || looks(count, || !group.is_gone(other.owner))))
    .side(Side::new("poll of a pidfd", PROOF, || looks(count, || is_running(&pidfd))))
    .run(arguments);
    Ok(())
}

/// Microseconds from SIGKILL until somebody asleep has been told: the median of some deaths.
fn told(arguments: &Arguments, group: &Group, name: &str) {
    let deaths = arguments.pick(5, 15);
    let median = |mut once: Box<dyn FnMut() -> Outcome<f64> + '_>| {
        let times = (0..deaths).map(|_| once()).collect::<Outcome<Vec<f64>>>()?;
        Outcome::Ok(Sample::from(method::median(&times)))
    };
    let inside = "from SIGKILL until a thread that slept has been told, and has proof; the median of \
                  some deaths";
    Case::new("shm", "told of a death", inside, Unit::MICROSECONDS, Calibration::CompareAndSwap)
        .side(Side::new("shm-core on_death", PROOF, || {
            median(Box::new(|| {
                let mut other = Other::start(name)?;
                let (sender, told) = channel();
                let _watch = group.on_death(move |owner| {
                    let _ = sender.send((owner, Instant::now()));
                });
                let killed = Instant::now();
                other.child.kill()?;
                let (owner, when) = told.recv_timeout(Duration::from_secs(10))?;
                if owner != other.owner {
                    return Err("somebody else died".into());
                }
                Ok((when - killed).as_secs_f64() * 1e6)
            }))
        }))
        .side(Side::limit("poll of a pidfd", || {
            median(Box::new(|| {
                let mut other = Other::start(name)?;
                let pidfd = pidfd_open(other.pid()?, PidfdFlags::empty())?;
                let watcher = std::thread::spawn(move || {
                    let ready = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None);
                    ready.map(|_| Instant::now())
                });
                let killed = Instant::now();
                other.child.kill()?;
                let when = watcher.join().map_err(|_| "the watcher panicked")??;
                Ok((when - killed).as_secs_f64() * 1e6)
            }))
        }))
        .at_most(7)
        .run(arguments);
}
