//! The bug zoo: seeded bugs, each found by the tool that should, and each tool quiet on the
//! corrected twin. One module a tool.

#[cfg(feature = "death")]
mod death;
#[cfg(feature = "explore")]
mod explore;
#[cfg(feature = "linear")]
mod linear;
#[cfg(feature = "step")]
mod step;

/// One seeded bug and its corrected twin.
#[derive(Debug)]
pub struct Specimen {
    /// Short name, the field's own term: `aba`, `lost wake-up`.
    pub name: &'static str,
    /// What is wrong, and what it costs, in one sentence.
    pub bug: &'static str,
    /// Runs the tool on the broken twin; `Err` is the tool's report (found, as it should be).
    pub broken: fn() -> Result<(), String>,
    /// Runs the tool on the corrected twin; `Ok` means quiet, as it should be.
    pub fixed: fn() -> Result<(), String>,
}

/// Fails unless the tool finds the bug and stays quiet on the twin; prints the time to find.
pub fn judge(tool: &str, specimen: &Specimen) {
    let start = std::time::Instant::now();
    let found = (specimen.broken)();
    let took = start.elapsed();
    let report = match found {
        Err(report) => report,
        Ok(()) => panic!("{tool} missed `{}`: {}", specimen.name, specimen.bug),
    };
    if let Err(noise) = (specimen.fixed)() {
        panic!("{tool} cried wolf on the corrected twin of `{}`: {noise}", specimen.name);
    }
    let first = report.lines().next().unwrap_or("");
    println!("zoo | {} | {tool} | found in {took:.1?} | {first}", specimen.name);
}
