//! Rivals that are programs of their own: Boost's and Python's.

use std::cell::RefCell;
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;

use method::{Program, Promise, Side};

type Asked = Rc<RefCell<Result<Program, String>>>;

/// The programs, or why there are none.
#[derive(Clone, Debug)]
pub struct Rivals {
    boost: Asked,
    python: Asked,
}

impl Rivals {
    /// Starts them.
    pub fn start() -> Rivals {
        let boost = match std::env::var_os("PEERS_BOOST") {
            Some(path) => start(&mut Command::new(path)),
            None => Err("Boost is not here: apt-get install libboost1.74-dev g++".into()),
        };
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../python/shm_sides.py");
        let python = start(Command::new("python3").arg(script));
        Rivals { boost: shared(boost), python: shared(python) }
    }

    /// A side of Boost's.
    pub fn boost<'a>(&self, name: &str, promise: Promise, request: String) -> Side<'a> {
        side(&self.boost, name, promise, request)
    }

    /// A side of Python's.
    pub fn python<'a>(&self, name: &str, promise: Promise, request: String) -> Side<'a> {
        side(&self.python, name, promise, request)
    }
}

fn start(command: &mut Command) -> Result<Program, String> {
    Program::start(command).map_err(|error| error.to_string())
}

fn shared(program: Result<Program, String>) -> Asked {
    Rc::new(RefCell::new(program))
}

fn side<'a>(asked: &Asked, name: &str, promise: Promise, request: String) -> Side<'a> {
    let asked = asked.clone();
    Side::new(name, promise, move || match &mut *asked.borrow_mut() {
        Ok(program) => program.ask(&request),
        Err(why) => Err(why.clone().into()),
    })
}
