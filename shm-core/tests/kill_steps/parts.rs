//! Parts of an array: the process that holds one is killed while it takes it or gives it away. The
//! maker recalls the handle, and the part is redeemed once more, by another, and no third time.

use std::cell::RefCell;
use std::os::fd::AsFd;
use std::rc::Rc;

use crash_check::step::Scenario;
use shm_core::handle::{Reachable, collect};
use shm_core::{Array, Part, Remains};

use crate::ground::{Said, run};

const LEN: usize = 8;

/// What the maker has: each process that is forked from it has a copy of its own.
struct Maker {
    /// The handle that it sent, and the file that the handle names.
    handle: Vec<u8>,
    sent: Reachable,
    /// What it kept.
    rest: RefCell<Option<(Part<u64>, Remains<u64>)>>,
}

impl Maker {
    /// Cuts an array into two parts and sends the second away.
    fn new() -> Rc<Maker> {
        let (mut parts, remains) = Array::<u64>::zeroed(LEN).unwrap().into_parts(2);
        let (sent, kept) = (parts.pop().unwrap(), parts.pop().unwrap());
        let (handle, mut files) = collect(|| postcard::to_allocvec(&sent).unwrap());
        Rc::new(Maker {
            handle,
            sent: files.pop().unwrap(),
            rest: RefCell::new(Some((kept, remains))),
        })
    }

    fn redeem(&self) -> Result<Part<u64>, postcard::Error> {
        postcard::from_bytes(&self.handle)
    }

    /// After the proof that whoever had the handle is dead.
    fn recall(&self) {
        // SAFETY: the kit has killed the one process that redeemed it, and nothing that it made of
        // the part is redeemed.
        unsafe { self.sent.recall() };
    }

    /// Another receiver does the dead one's work, and the array is whole.
    fn goes_on(&self) -> Said {
        let mut part = self.redeem().map_err(|error| format!("recalled, yet refused: {error}"))?;
        if self.redeem().is_ok() {
            return Err("a handle is redeemed twice".into());
        }
        part.as_mut_slice()?.fill(9);
        let back: Part<u64> = postcard::from_bytes(&postcard::to_allocvec(&part)?)?;
        drop(part);
        let (kept, remains) = self.rest.borrow_mut().take().ok_or("taken before")?;
        match remains.join([kept, back])?[..] {
            [0, 0, 0, 0, 9, 9, 9, 9] => Ok(()),
            _ => Err("the array does not hold what was written last".into()),
        }
    }
}

fn row(operation: &str, state: &str, maker: &Rc<Maker>) -> Scenario {
    let (recalls, checks) = (maker.clone(), maker.clone());
    Scenario::new(operation)
        .state(state)
        .only_real_kills()
        .region_of(maker.sent.as_fd().try_clone_to_owned().unwrap())
        .recovery(move |_| recalls.recall())
        .validate(move |_| checks.goes_on())
}

#[test]
fn kill_redeem() {
    let maker = Maker::new();
    let receiver = maker.clone();
    let scenario = row("shm_core::Part::deserialize", "sent", &maker)
        .operation(move |_| receiver.redeem().map(drop));
    run(scenario);
}

#[test]
fn kill_hand_over() {
    let maker = Maker::new();
    let receiver = maker.clone();
    let scenario = row("shm_core::Part::serialize", "redeemed and half written", &maker)
        .operation_with(
            move |_| {
                let mut part = receiver.redeem().unwrap();
                part.as_mut_slice().unwrap()[0] = 5;
                part
            },
            |_, part| postcard::to_allocvec(part).map(drop),
        );
    run(scenario);
}

#[test]
fn kill_recall() {
    let maker = Maker::new();
    let (receiver, recalls) = (maker.clone(), maker.clone());
    let scenario = row("shm_core::handle::Reachable::recall", "redeemed by the dead", &maker)
        .operation_with(move |_| drop(receiver.redeem().unwrap()), move |_, ()| recalls.recall());
    run(scenario);
}
