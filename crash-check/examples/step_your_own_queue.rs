//! Kill at every instruction, on a queue that comes as a crate: `shaq` 4.0.0.
//!
//! Put your own create, join, push and pop in the closures. Run with
//! `cargo run --example step_your_own_queue`; the hole that it prints is real.

use std::time::Duration;

use crash_check::step::{Region, Report, Scenario, StepError};
use shaq::error::Error;
use shaq::mpmc::{Consumer, Producer};

fn main() -> Result<(), StepError> {
    // SAFETY: `init` below creates the queue, once, before anybody joins.
    let join = |r: &Region| unsafe { Producer::<u64>::join(&r.file().map_err(Error::Io)?) };
    let report = Scenario::new("shaq mpmc: try_write")
        .region(4096)
        .watchdog(Duration::from_millis(300))
        .init(|r| {
            // SAFETY: runs once, before anybody joins.
            unsafe { Producer::<u64>::create(&r.file().map_err(Error::Io)?, r.len()) }.map(drop)
        })
        .operation_with(join, |_, producer| match producer {
            Ok(producer) => producer.try_write(1).map_err(|_| "full".to_owned()),
            Err(error) => Err(error.to_string()),
        })
        .validate(|_| ())
        .continuation(move |r| {
            // Another producer must be able to send, and a consumer to receive.
            join(r)?.try_write(2).map_err(|_| Error::InvalidBufferSize)?;
            // SAFETY: the queue was created above.
            let consumer = unsafe { Consumer::<u64>::join(&r.file().map_err(Error::Io)?) }?;
            while consumer.try_read() != Some(2) {}
            Ok::<(), Error>(())
        })
        .run()?;
    println!("{}\n{report}", Report::table_header());
    report.failure().iter().for_each(|failure| println!("\n{failure}"));
    Ok(())
}
