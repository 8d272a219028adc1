//! Processes that use a queue, record what they do, and are killed in the middle of it.
//!
//! Each role has a lane in a log in shared memory: an operation is written there before it begins, and its
//! result after it, so that a death leaves it open. The parent writes the death behind it, once it is proven.

use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};
use std::thread::yield_now;
use std::time::{Duration, Instant};

use crash_check::linear::spec::ItemOp;
use crash_check::linear::spec::ItemOp::{Pop, Push};
use crash_check::linear::spec::ItemRet::{self, Empty, Popped, Pushed};
use crash_check::linear::{History, Lane, SharedLog};
use shm_core::{Group, Segment};

const ROLE: &str = "IPC_QUEUE_TEST_LINEAR";
/// What a producer sends before it leaves: its successor goes on with other numbers.
const EACH: u64 = 40;
/// How long the killer waits for a victim to begin enough; one that waits itself never does.
const PATIENCE: Duration = Duration::from_millis(100);
/// Room in a lane: all that a consumer can receive, and the deaths.
const LOG: usize = 4096;
/// Behind the queue, a line for each lane: operations begun by those who ever had the role.
const BEGUN: usize = 1 << 15;
pub const SIZE: usize = BEGUN + 64 * LANES;
/// Two producers, two consumers, and the parent.
pub const LANES: usize = 5;
pub const PARENT: usize = 4;

pub type Log = SharedLog<ItemOp, ItemRet>;

/// What a send or a receive may say that is no result: the other side's death, which passes.
pub struct Again;

fn begun(segment: &Segment, lane: usize) -> &AtomicU64 {
    // SAFETY: within the segment, aligned, and used as this atomic only.
    unsafe { &*segment.data().as_ptr().wrapping_add(BEGUN + 64 * lane).cast() }
}

/// One process in its role.
pub struct Actor<'a> {
    pub segment: &'a Segment,
    pub group: &'a Group,
    lane: usize,
    incarnation: u64,
    log: Lane<'a, ItemOp, ItemRet>,
}

impl Actor<'_> {
    pub fn begin(&mut self, operation: ItemOp) {
        self.log.invoke(&operation).unwrap();
        // Release: the entry comes before; the parent reads the count.
        begun(self.segment, self.lane).fetch_add(1, Release);
    }

    pub fn end(&mut self, result: ItemRet) {
        self.log.returned(&result).unwrap();
    }

    /// Sends numbers that nobody else does.
    pub fn produce(mut self, mut send: impl FnMut(u64) -> Result<(), Again>) {
        let first = self.lane as u64 * 1_000_000 + self.incarnation * 1_000;
        for value in first..first + EACH {
            self.begin(Push(value));
            while send(value).is_err() {
                yield_now();
            }
            self.end(Pushed);
        }
    }

    /// Receives until there is `None`, and never will be more.
    pub fn consume(mut self, mut receive: impl FnMut() -> Result<Option<u64>, Again>) {
        loop {
            self.begin(Pop);
            let received = loop {
                match receive() {
                    Ok(received) => break received,
                    Err(Again) => yield_now(),
                }
            };
            self.end(received.map_or(Empty, Popped));
            if received.is_none() {
                return;
            }
        }
    }
}

/// What the processes of one kind of queue do.
pub struct Kind {
    /// The test that the child runs.
    pub child: &'static str,
    pub create: fn(&Segment),
    /// The roles that there are; 0 and 1 produce, 2 and 3 consume.
    pub lanes: &'static [usize],
}

/// Everything that the processes share.
pub struct Play {
    kind: Kind,
    pub segment: Segment,
    pub group: Group,
    pub log: Log,
}

/// If this process is a child: does what it is to do.
pub fn act_as_child(act: fn(usize, Actor<'_>)) {
    let Ok(role) = std::env::var(ROLE) else { return };
    let mut words = role.split(' ');
    let mut number = || words.next().unwrap().parse::<u64>().unwrap();
    let (lane, incarnation, log) = (number() as usize, number(), number() as i32);
    // SAFETY: the parent left this descriptor open for us, and nobody else here knows of it.
    let log = Log::open(unsafe { OwnedFd::from_raw_fd(log) }).unwrap();
    let segment = Segment::attach(std::io::stdin().as_fd().try_clone_to_owned().unwrap()).unwrap();
    let group = Group::attach(std::io::stderr().as_fd()).unwrap();
    let actor = Actor {
        segment: &segment,
        group: &group,
        lane,
        incarnation,
        log: log.lane(lane as u32).unwrap(),
    };
    act(lane, actor);
}

impl Play {
    pub fn new(kind: Kind) -> Play {
        let segment = Segment::anonymous(SIZE).unwrap();
        (kind.create)(&segment);
        let group = Group::anonymous().unwrap();
        Play { kind, segment, group, log: Log::new(LANES, LOG).unwrap() }
    }

    fn spawn(&self, lane: usize, incarnation: u64) -> Child {
        use std::os::fd::AsRawFd;
        // Not closed by `exec`.
        let log = rustix::io::dup(self.log.as_fd()).unwrap();
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", self.kind.child, "--nocapture"])
            .env(ROLE, format!("{lane} {incarnation} {}", log.as_raw_fd()))
            .stdin(self.segment.as_fd().try_clone_to_owned().unwrap())
            .stdout(Stdio::null())
            .stderr(self.group.as_fd().try_clone_to_owned().unwrap())
            .spawn()
            .unwrap()
    }

    /// Runs everybody, and kills `kills` of them, one after the other, each after some operations; whoever is
    /// killed has a successor. `end` is called when all producers have left by themselves.
    /// Gives how many were killed in the middle of an operation.
    pub fn run(&self, seed: u64, kills: u64, end: impl FnOnce(&Play)) -> usize {
        let spawn = |&lane: &usize| (lane, 0, self.spawn(lane, 0));
        let mut children: Vec<_> = self.kind.lanes.iter().map(spawn).collect();
        let mut random = seed;
        for _ in 0..kills {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let which = (random >> 33) as usize % children.len();
            let (lane, incarnation, child) = &mut children[which];
            let begun = begun(&self.segment, *lane);
            // Acquire: pairs with the Release in `Actor::begin`.
            let enough = begun.load(Acquire) + 1 + (random >> 40) % (EACH / 2);
            let asked = Instant::now();
            while asked.elapsed() < PATIENCE {
                // Acquire: as above.
                if begun.load(Acquire) >= enough || child.try_wait().unwrap().is_some() {
                    break;
                }
                yield_now();
            }
            let _ = child.kill();
            // The proof.
            if !child.wait().unwrap().success() {
                let mut lane = self.log.lane(*lane as u32).unwrap();
                lane.crash().unwrap();
                // Nothing has to be repaired before a successor goes on.
                lane.recover().unwrap();
            }
            *incarnation += 1;
            *child = self.spawn(*lane, *incarnation);
        }
        let is_producer = |(lane, ..): &(usize, u64, Child)| *lane < 2;
        let (producers, consumers): (Vec<_>, Vec<_>) = children.into_iter().partition(is_producer);
        let wait = |children: Vec<(usize, u64, Child)>| {
            for (lane, _, mut child) in children {
                assert!(child.wait().unwrap().success(), "the process in role {lane} failed");
            }
        };
        wait(producers);
        end(self);
        wait(consumers);
        open_at_a_crash(&self.log.history().unwrap())
    }

    /// The parent in a role of its own.
    pub fn parent(&self) -> Actor<'_> {
        let log = self.log.lane(PARENT as u32).unwrap();
        Actor { segment: &self.segment, group: &self.group, lane: PARENT, incarnation: 0, log }
    }

    /// The parent itself takes what is left.
    pub fn consume(&self, receive: impl FnMut() -> Result<Option<u64>, Again>) {
        self.parent().consume(receive);
    }
}

/// How many were killed between the beginning and the end of an operation.
fn open_at_a_crash(history: &History<ItemOp, ItemRet>) -> usize {
    use crash_check::linear::Event::{Crash, Invoke, Return};
    let mut open = [false; LANES];
    let mut count = 0;
    for event in history.events() {
        match event {
            Invoke(process, _) => open[process.0 as usize] = true,
            Return(process, _) => open[process.0 as usize] = false,
            Crash(process) => count += usize::from(std::mem::take(&mut open[process.0 as usize])),
            _ => {}
        }
    }
    count
}
