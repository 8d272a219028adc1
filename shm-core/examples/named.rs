//! A named array that unrelated programs find, and that is gone with its last user.
//!
//! ```console
//! cargo run -p shm-core --example named              # publishes, and waits for Enter
//! cargo run -p shm-core --example named -- read      # in another terminal
//! ```
//!
//! Kill the first one (`kill -9`) and run it again: nothing is in its way.

use std::error::Error;
use std::io::BufRead;

use shm_core::NamedFrozen;

const NAME: &str = "example-squares";

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1).as_deref() {
        None => publish(),
        Some("read") => read(),
        Some(other) => Err(format!("{other}: give `read` or nothing").into()),
    }
}

fn publish() -> Result<(), Box<dyn Error>> {
    let squares: Vec<u64> = (0..1000).map(|i| i * i).collect();
    let _published = NamedFrozen::publish(NAME, &squares)?;
    println!("published {NAME:?}; press Enter to leave");
    std::io::stdin().lock().read_line(&mut String::new())?;
    Ok(())
}

fn read() -> Result<(), Box<dyn Error>> {
    let squares = NamedFrozen::<u64>::open(NAME)?;
    println!("{} values, the last is {:?}", squares.len(), squares.last());
    Ok(())
}
