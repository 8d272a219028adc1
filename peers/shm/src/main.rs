//! Rows of the area `shm`: segments, proofs of death and locks.
//!
//! One JSON object a row on standard output; `--quick`, `--rounds N`, `--only NAME`.

mod attach;
mod contended;
mod death;
mod locks;
mod our_locks;
mod rivals;

use method::{Arguments, Outcome};

fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().collect();
    if let [_, word, name] = words.as_slice()
        && word == death::MEMBER
    {
        return death::member(name);
    }
    let arguments = Arguments::read()?;
    // One thread that stays where it is: what is measured is not the scheduler.
    method::cores::allowed();
    let rivals = rivals::Rivals::start();
    attach::run(&arguments, &rivals)?;
    locks::run(&arguments, &rivals)?;
    contended::run(&arguments, &rivals);
    death::run(&arguments)
}
