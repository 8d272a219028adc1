//! Boost's managed shared memory: a program of its own, asked over a line.

use std::cell::RefCell;
use std::process::Command;
use std::rc::Rc;

use method::{Program, Promise, Side};

/// What it keeps.
pub const PROMISE: Promise =
    Promise::may_lose("a death inside the allocator locks everybody out for ever");

/// The rival's process, or why there is none.
#[derive(Clone, Debug)]
pub struct Boost(Rc<RefCell<Result<Program, String>>>);

impl Boost {
    /// Starts it.
    pub fn start() -> Boost {
        let program = match std::env::var_os("PEERS_BOOST") {
            Some(path) => {
                Program::start(&mut Command::new(path)).map_err(|error| error.to_string())
            }
            None => Err("Boost is not here: apt-get install libboost1.74-dev g++".into()),
        };
        Boost(Rc::new(RefCell::new(program)))
    }

    /// A side that answers `request`.
    pub fn side<'a>(&self, request: String) -> Side<'a> {
        let program = self.0.clone();
        Side::new("Boost 1.74 managed_shared_memory", PROMISE, move || {
            match &mut *program.borrow_mut() {
                Ok(program) => program.ask(&request),
                Err(why) => Err(why.clone().into()),
            }
        })
    }
}
