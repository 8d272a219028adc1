//! Shares a frozen array with a child process through an inherited descriptor.
//!
//! ```console
//! cargo run -p shm-core --example share_with_child
//! ```
//!
//! The parent makes the data and starts this program again with the file as its standard input;
//! the child attaches (everything about the file is checked) and reads in place: 80 MB shared, none
//! copied.

use std::error::Error;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use shm_core::Frozen;

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().nth(1).as_deref() == Some("child") { child() } else { parent() }
}

fn parent() -> Result<(), Box<dyn Error>> {
    let values: Vec<f64> = (0..10_000_000).map(f64::from).collect();
    let data = Frozen::copy_of(&values)?;
    println!("parent: {} bytes in {}", data.len() * 8, data.id());

    let file = data.as_fd().try_clone_to_owned()?;
    let status =
        Command::new(std::env::current_exe()?).arg("child").stdin(Stdio::from(file)).status()?;
    if !status.success() {
        return Err(format!("the child failed: {status}").into());
    }
    Ok(())
}

fn child() -> Result<(), Box<dyn Error>> {
    let data = Frozen::<f64>::attach(std::io::stdin().as_fd().try_clone_to_owned()?)?;
    println!("child: {} values in {}, sum {}", data.len(), data.id(), data.iter().sum::<f64>());

    // Another type is an error that says so, not a misread number.
    if let Err(error) = Frozen::<i64>::attach(std::io::stdin().as_fd().try_clone_to_owned()?) {
        println!("child: as integers: {error}");
    }
    Ok(())
}
