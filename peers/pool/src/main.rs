//! Rows of the area `pool`: ours beside other pools of processes.
//!
//! One JSON object a row on standard output; `--quick`, `--rounds N`, `--only NAME`.

mod board;
mod charm;
mod ours;
mod procspawn_side;
mod python;
mod spawns;
mod tasks;
mod threads;

use std::cell::RefCell;
use std::time::Duration;

use method::{Arguments, Calibration, Case, Outcome, Promise, Sample, Side, Target, Unit};

use ours::Ours;
use procspawn_side::Rival;
use python::{KINDS, Python};

fn main() -> Outcome<()> {
    if spawns::answer_if_asked()? {
        return Ok(());
    }
    proc_pool::init();
    procspawn::init();
    let area = Area {
        arguments: Arguments::read()?,
        ours: RefCell::default(),
        procspawn: RefCell::default(),
        python: Python::start(),
    };
    area.no_ops();
    area.divided();
    area.round_trips();
    area.actors();
    area.errors();
    area.big_arguments()?;
    area.end_pools();
    area.starts("", Vec::new());
    let gib = area.arguments.pick(1, 4);
    area.starts(&format!(", from a parent of {gib} GiB"), vec![1_u8; gib << 30]);
    area.deaths();
    Ok(())
}

/// Everybody who takes part, kept warm between the cases.
struct Area {
    arguments: Arguments,
    ours: RefCell<Ours>,
    procspawn: RefCell<Rival>,
    python: Python,
}

impl Area {
    fn case(&self, name: impl Into<String>, inside: &str, unit: Unit) -> Case<'_> {
        Case::new("pool", name, inside, unit, Calibration::CompareAndSwap)
    }

    fn ours<'a>(&'a self, run: impl Fn(&mut Ours) -> Outcome<Sample> + 'a) -> Side<'a> {
        Side::new(ours::NAME, ours::PROMISE, move || run(&mut self.ours.borrow_mut()))
    }

    fn procspawn<'a>(&'a self, run: impl Fn(&mut Rival) -> Outcome<Sample> + 'a) -> Side<'a> {
        let (name, promise) = (procspawn_side::NAME, procspawn_side::PROMISE);
        Side::new(name, promise, move || run(&mut self.procspawn.borrow_mut()))
    }

    fn end_pools(&self) {
        self.ours.borrow_mut().end_pools();
        self.procspawn.borrow_mut().end_pools();
    }

    fn no_ops(&self) {
        let (count, theirs) = (self.arguments.pick(3_000, 10_000), self.arguments.pick(500, 2_000));
        for workers in [1, 2, 4] {
            let inside = "a task that adds one, each its own message to a worker and back";
            let mut case = self
                .case(format!("no-op at chunk 1, workers: {workers}"), inside, Unit::MICROSECONDS)
                .side(self.ours(move |ours| ours.map_one_by_one(workers, count)))
                .side(self.procspawn(move |rival| rival.map(workers, theirs)))
                .side(Side::limit(threads::NAME, move || threads::map(workers, count)));
            for side in self.python.sides(|kind| format!("map {kind} {workers} {theirs} 1")) {
                case = case.side(side);
            }
            case.at("pool-workers", "workers", workers as f64)
                .target(Target::Absolute(1.0))
                .run(&self.arguments);
        }
    }

    fn divided(&self) {
        let count = self.arguments.pick(20_000, 100_000);
        let inside = "a task that adds one, divided among the workers as the pool likes";
        let mut case = self
            .case("no-op, chunks as the pool likes, workers: 2", inside, Unit::MICROSECONDS)
            .side(self.ours(move |ours| ours.map(2, count)))
            .side(Side::limit(threads::NAME, move || threads::divided(2, count)));
        for side in self.python.sides(|kind| format!("map {kind} 2 {count} 0")) {
            case = case.side(side);
        }
        case.target(Target::Absolute(0.02)).run(&self.arguments);
    }

    fn round_trips(&self) {
        let count = self.arguments.pick(200, 500);
        let rested = Some(Duration::from_millis(1));
        for (name, inside, rest, count, target) in [
            (
                "round trip, one after the other",
                "a task and its result, nothing else under way",
                None,
                count,
                2.0,
            ),
            (
                "round trip after a rest of 1 ms",
                "a task and its result, when everybody sleeps",
                rested,
                count / 10,
                80.0,
            ),
        ] {
            let microseconds = rest.unwrap_or_default().as_micros();
            let mut case = self
                .case(name, inside, Unit::MICROSECONDS)
                .side(self.ours(move |ours| ours.round_trip(rest, count)))
                .side(self.procspawn(move |rival| rival.round_trip(rest, count)));
            for side in self.python.sides(|kind| format!("roundtrip {kind} {count} {microseconds}"))
            {
                case = case.side(side);
            }
            case.target(Target::Absolute(target)).run(&self.arguments);
        }
    }

    /// Calls of an object that lives in a process of its own.
    fn actors(&self) {
        let (count, many) = (self.arguments.pick(200, 500), self.arguments.pick(1_000, 5_000));
        let inside = "a call of a method of an object in a process of its own, and its answer, nothing \
                      else under way";
        let sides = self.python.actors(|kind| format!("call {kind} {count}"));
        let one = self
            .case("actor: a call and its answer", inside, Unit::MICROSECONDS)
            .side(self.ours(move |ours| ours.call(count)));
        let one = sides.into_iter().fold(one, Case::side).side(charm::side("call", count));
        one.at_most(self.arguments.pick(5, 11)).run(&self.arguments);
        let inside = "a call and its answer, all calls sent before the first answer is waited for";
        let sides = self.python.actors(|kind| format!("calls {kind} {many}"));
        let all = self
            .case("actor: many calls under way", inside, Unit::MICROSECONDS)
            .side(self.ours(move |ours| ours.calls(many)));
        let all = sides.into_iter().fold(all, Case::side).side(charm::side("calls", many));
        all.at_most(self.arguments.pick(5, 11)).run(&self.arguments);
    }

    fn errors(&self) {
        let inside = "from a task that panics (raises, in Python) until the caller has its message";
        let count = self.arguments.pick(50, 100);
        let mut case = self
            .case("a task that panics", inside, Unit::MICROSECONDS)
            .side(self.ours(move |ours| ours.panic(count)))
            .side(self.procspawn(|rival| rival.panic(2)));
        for side in self.python.sides(|kind| format!("error {kind} {count}")) {
            case = case.side(side);
        }
        case.target(Target::Absolute(200.0))
            .at_most(self.arguments.pick(5, 11))
            .run(&self.arguments);
    }

    fn big_arguments(&self) -> Outcome<()> {
        let words = ours::words();
        let inside = "64 MiB that are there already, given by handle, until their sum is back";
        self.case("64 MiB by handle, summed", inside, Unit::MILLISECONDS)
            .side(self.ours(Ours::sum_shared))
            .side(Side::limit("a thread", || threads::sum(&words)))
            .target(Target::Times("a thread", 1.1))
            .run(&self.arguments);
        let inside =
            "64 MiB of private memory copied to a worker, until it has looked at both ends";
        let mut case =
            Case::new("pool", "64 MiB copied", inside, Unit::GIGABYTES, Calibration::Memcpy)
                .side(self.ours(Ours::copied))
                .side(self.procspawn(Rival::copied));
        for side in self.python.sides(|kind| format!("copied {kind}")) {
            case = case.side(side);
        }
        case.target(Target::Absolute(5.0)).at_most(self.arguments.pick(5, 11)).run(&self.arguments);
        Ok(())
    }

    /// Starts of pools, while `ballast` makes this process large.
    fn starts(&self, from: &str, ballast: Vec<u8>) {
        let inside = "from nothing until one worker has given a result";
        let mut case = self
            .case(format!("first worker ready{from}"), inside, Unit::MILLISECONDS)
            .side(Side::new(ours::NAME, ours::PROMISE, || ours::start(1)))
            .side(Side::limit("posix_spawn until it answers", || spawns::until_answered(1)))
            .side(Side::new(procspawn_side::NAME, procspawn_side::PROMISE, procspawn_side::start));
        if ballast.is_empty() {
            for side in self.python.sides(|kind| format!("start {kind}")) {
                case = case.side(side);
            }
        }
        let rounds = self.arguments.pick(5, 15);
        case.target(Target::Times("posix_spawn", 2.0)).at_most(rounds).run(&self.arguments);
        let inside = "a third of what four workers take longer than one, all seen at work";
        let further = |start: fn(usize) -> Outcome<Sample>| {
            let (one, four) = (start(1)?, start(4)?);
            Outcome::Ok(Sample::from(((four.value - one.value) / 3.0).max(1e-3)))
        };
        self.case(format!("each further worker{from}"), inside, Unit::MILLISECONDS)
            .side(Side::new(ours::NAME, ours::PROMISE, move || further(ours::start)))
            .side(Side::limit("posix_spawn until it answers", move || {
                further(spawns::until_answered)
            }))
            .target(Target::Times("posix_spawn", 1.3))
            .at_most(rounds)
            .run(&self.arguments);
        std::hint::black_box(&ballast);
    }

    fn deaths(&self) {
        let deaths = self.arguments.pick(10, 100);
        let inside = "from SIGKILL to a worker until the task that it ran runs again elsewhere; the \
                      slowest of a hundred (of all, where there are fewer)";
        let mut case = self
            .case("a killed worker's task runs again, p99", inside, Unit::MILLISECONDS)
            .side(Side::new(ours::NAME, ours::PROMISE, move || ours::again_after_a_kill(deaths)));
        let others = KINDS.map(|(_, name, promise)| (name, promise));
        let procspawn: (&str, Promise) = (procspawn_side::NAME, procspawn_side::PROMISE);
        for (name, promise) in others.into_iter().chain([procspawn]) {
            let why = format!("does not run it again: {}", promise.delivery);
            case = case.side(Side::missing(name, promise, why));
        }
        case.target(Target::Absolute(5.0)).at_most(5).run(&self.arguments);
    }
}
