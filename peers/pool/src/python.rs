//! Python's pools: a program of its own, asked over a line.

use std::cell::RefCell;
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;

use method::{Program, Promise, Side};

/// The rivals' process, or why there is none.
#[derive(Clone, Debug)]
pub struct Python(Rc<RefCell<Result<Program, String>>>);

/// The rivals: as requests name them, as rows do, and what they keep.
pub const KINDS: [(&str, &str, Promise); 3] = [
    (
        "pool",
        "Python multiprocessing.Pool",
        Promise::may_lose("a killed worker's task hangs for ever"),
    ),
    (
        "executor",
        "Python ProcessPoolExecutor",
        Promise::may_lose("one killed worker breaks the pool: all tasks fail"),
    ),
    ("loky", "loky 3.7.0", Promise::may_lose("one killed worker breaks the pool: all tasks fail")),
];

/// The rivals of actors, in the same way.
pub const ACTORS: [(&str, &str, Promise); 2] = [
    (
        "manager",
        "Python multiprocessing.Manager",
        Promise::may_lose("calls of an object whose process was killed fail; its state is lost"),
    ),
    (
        "ray",
        "Ray 2.48.0",
        Promise::may_lose("calls fail, or are made again to a new object, as its options say"),
    ),
];

impl Python {
    /// Starts it.
    pub fn start() -> Python {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../python/pool_sides.py");
        let program = Program::start(Command::new("python3").arg(script));
        Python(Rc::new(RefCell::new(program.map_err(|error| error.to_string()))))
    }

    /// A side for each rival, asked what `request` makes of its name.
    pub fn sides<'a>(&self, request: impl Fn(&str) -> String) -> Vec<Side<'a>> {
        self.sides_of(&KINDS, request)
    }

    /// A side for each rival of actors.
    pub fn actors<'a>(&self, request: impl Fn(&str) -> String) -> Vec<Side<'a>> {
        self.sides_of(&ACTORS, request)
    }

    fn sides_of<'a>(
        &self,
        kinds: &[(&'static str, &'static str, Promise)],
        request: impl Fn(&str) -> String,
    ) -> Vec<Side<'a>> {
        let side = |&(kind, name, promise): &(&'static str, &'static str, Promise)| {
            let (python, request) = (self.clone(), request(kind));
            Side::new(name, promise, move || match &mut *python.0.borrow_mut() {
                Ok(program) => program.ask(&request),
                Err(why) => Err(why.clone().into()),
            })
        };
        kinds.iter().map(side).collect()
    }
}
