//! Python's queues: a program of its own, asked over a line.

use std::cell::RefCell;
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;

use method::{Outcome, Program, Promise, Sample, Side};

/// The rival's process, or why there is none; shared by all cases that ask it.
#[derive(Clone, Debug)]
pub struct Python(Rc<RefCell<Result<Program, String>>>);

const LOCKED: Promise =
    Promise::may_lose("a death inside put or get leaves a lock held and a frame torn");
const PIPE: Promise = Promise::may_lose("a death inside send leaves a torn frame");

impl Python {
    /// Starts it.
    pub fn start() -> Python {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../python/queue_sides.py");
        let program = Program::start(Command::new("python3").arg(script));
        Python(Rc::new(RefCell::new(program.map_err(|error| error.to_string()))))
    }

    /// A side that answers `request`, its nanoseconds turned into the case's unit.
    pub fn side<'a>(
        &self,
        kind: &'static str,
        request: String,
        from_nanoseconds: impl Fn(f64) -> f64 + 'a,
    ) -> Side<'a> {
        let python = self.clone();
        let (name, promise) = match kind {
            "pipe" => ("Python Pipe", PIPE),
            "simplequeue" => ("Python SimpleQueue", LOCKED),
            _ => ("Python Queue", LOCKED),
        };
        Side::new(name, promise, move || {
            let sample = python.ask(&request)?;
            Ok(Sample::from(from_nanoseconds(sample.value)))
        })
    }

    fn ask(&self, request: &str) -> Outcome<Sample> {
        match &mut *self.0.borrow_mut() {
            Ok(program) => program.ask(request),
            Err(why) => Err(why.clone().into()),
        }
    }
}
