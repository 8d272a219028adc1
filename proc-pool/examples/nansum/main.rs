//! The main job: four workers each sum a whole column of 240 MB, first over shared memory, then
//! each on a copy of its own; results, times, bytes moved and the memory of the whole process
//! tree, side by side.
//!
//! ```text
//! cargo run --release -p proc-pool --example nansum
//! cargo run --release -p proc-pool --example nansum -- data.npy --column price --split
//! ```

mod kernel;
mod npy;
mod options;
mod outcome;
mod progress;
mod records;
mod scopes;
mod source;
mod tasks;
mod ways;

use std::process::ExitCode;

use options::Options;

/// What ends the program: one line for the user.
pub type Error = Box<dyn std::error::Error>;

#[proc_pool::main]
fn main() -> ExitCode {
    match run(&Options::read()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nansum: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Error> {
    options.check()?;
    if let Some(scope) = options.scope {
        return scopes::run(scope, options);
    }
    let source = source::Source::open(options)?;
    let progress = progress::Progress::new(options);
    let mut results = Vec::new();
    for way in options.ways() {
        results.push((way, ways::go(way, &source, options, &progress)?));
    }
    progress.finish();
    outcome::write_report(options, &source, &results)?;
    outcome::print(options, &source, &results)
}
