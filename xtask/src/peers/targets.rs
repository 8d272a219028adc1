//! The targets of the design, and the row that shows each: a target without a row is a failure.

use serde_json::Value;

use super::area;

/// A figure that the design promises, and where it is shown.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub area: &'static str,
    /// How the case's name begins.
    pub case: &'static str,
    /// How the name of what stands beside it begins.
    pub beside: &'static str,
    /// The number, in what the row counts its target in.
    pub number: f64,
}

const fn target(
    area: &'static str,
    case: &'static str,
    beside: &'static str,
    number: f64,
) -> Target {
    Target { area, case, beside, number }
}

/// Beside nothing but the number itself.
const ALONE: &str = "absolute";
/// Beside what the case is calibrated with.
const TRANSFER: &str = "compare-and-swap ping-pong";
/// Beside Python's shared memory.
const PYTHON: &str = "python";

/// All of them, in the design's order.
pub const TARGETS: [Target; 55] = [
    target("shm", "attach and detach, read–write", "the bare system calls", 1.3),
    target("shm", "attach and detach, read-only", "the bare system calls", 1.7),
    target("shm", "mutex without contention", ALONE, 12.0),
    target("shm", "death hint", ALONE, 2.0),
    target("heap", "64 B, alternating", ALONE, 12.0),
    target("heap", "64 B, batched", ALONE, 8.0),
    target("heap", "64 B, reserve and publish", ALONE, 15.0),
    target("heap", "64 B, alternating, two threads", "shm-core Heap, one thread", 1.15),
    target("heap", "64 B, freed by another thread", "uncontended fetch_or", 1.2),
    target("heap", "a dead heap of 1 GiB owned again", ALONE, 0.3),
    target("heap", "a dead heap of 1024 MiB given back", ALONE, 5.0),
    target("queue", "round trip, awake", TRANSFER, 2.4),
    target("queue", "mpmc: round trip, awake", TRANSFER, 2.8),
    target("queue", "8 B, one by one", "rtrb", 1.0),
    target("queue", "8 B, batches of 64", ALONE, 1.0),
    target("queue", "mpmc: 8 B, one by one", "crossbeam", 0.7),
    target("queue", "mpmc: 8 B, batches of 64", ALONE, 12.0),
    target("queue", "mpmc: 8 B, leased", "crossbeam", 1.0),
    target("queue", "1 KiB, slices of 1", ALONE, 18.0),
    target("queue", "stream in pieces of 64 KiB", ALONE, 12.0),
    target("queue", "round trip, asleep", "bare futex", 1.1),
    target("queue", "waiting, idle", ALONE, 0.5),
    target("queue", "survivor goes on after a death, p99", ALONE, 1000.0),
    target("pool", "no-op at chunk 1, workers: 1", ALONE, 1.0),
    target("pool", "no-op at chunk 1, workers: 2", ALONE, 1.0),
    target("pool", "no-op at chunk 1, workers: 4", ALONE, 1.0),
    target("pool", "no-op, chunks as the pool likes", ALONE, 0.02),
    target("pool", "round trip, one after the other", ALONE, 2.0),
    target("pool", "round trip after a rest", ALONE, 80.0),
    target("pool", "first worker ready", "posix_spawn", 2.0),
    target("pool", "each further worker", "posix_spawn", 1.3),
    target("pool", "first worker ready, from a parent of ", "posix_spawn", 2.0),
    target("pool", "each further worker, from a parent of ", "posix_spawn", 1.3),
    target("pool", "64 MiB by handle, summed", "a thread", 1.1),
    target("pool", "64 MiB copied", ALONE, 5.0),
    target("pool", "a killed worker's task runs again, p99", ALONE, 5.0),
    target("pool", "a task that panics", ALONE, 200.0),
    target("nansum", "own", PYTHON, 1.8),
    target("nansum", "shared", PYTHON, 4.0),
    target("nansum", "generated", PYTHON, 4.0),
    target("nansum", "shared beside copied", PYTHON, 12.0),
    target("profiler", "one sample in 512 KiB, threads: 1", ALONE, 6.0),
    target("profiler", "one sample in 512 KiB, threads: 2", ALONE, 6.0),
    target("profiler", "one sample in 16 KiB, threads: 1", ALONE, 20.0),
    target("profiler", "one sample in 16 KiB, threads: 2", ALONE, 20.0),
    target("profiler", "every block, threads: 1", ALONE, 100.0),
    target("profiler", "every block, threads: 2", ALONE, 100.0),
    target("profiler", "counters, threads: 1", ALONE, 3.0),
    target("profiler", "counters, threads: 2", ALONE, 3.0),
    target("profiler", "switched off, threads: 1", ALONE, 0.5),
    target("profiler", "switched off, threads: 2", ALONE, 0.5),
    target("profiler", "being read while at work", ALONE, 5.0),
    target("profiler", "eight processes read", ALONE, 50.0),
    target("profiler", "total of a process tree", ALONE, 1.0),
    target("profiler", "nansum: memory beyond the data", ALONE, 16.0),
];

impl Target {
    /// The row that shows it.
    pub fn row(self, rows: &[Value]) -> Option<&Value> {
        rows.iter().find(|row| self.is_of(row))
    }

    fn is_of(self, row: &Value) -> bool {
        let text = |key: &str| row[key].as_str().unwrap_or_default();
        // The end of a name may say how large a case was: in a quick run it is smaller.
        let names_it = match self.case.strip_suffix(' ') {
            Some(_) => text("case").starts_with(self.case),
            None => text("case") == self.case || text("case").starts_with(&self.with_rest()),
        };
        let beside = text("rival").starts_with(self.beside);
        names_it && beside && row["target"].as_f64() == Some(self.number)
    }

    /// `round trip after a rest` is shown by `round trip after a rest of 1 ms`.
    fn with_rest(self) -> String {
        let rest = if self.case.ends_with("as the pool likes") { ", workers" } else { " of " };
        format!("{}{rest}", self.case)
    }

    /// For people.
    pub fn name(self) -> String {
        format!("{}: {}, {} beside `{}`", self.area, self.case, self.number, self.beside)
    }
}

/// The targets of an area that no row shows.
pub fn without_row(area: &str, rows: &[Value]) -> Vec<Target> {
    let of_area = TARGETS.into_iter().filter(|target| target.area == area);
    of_area.filter(|target| target.row(rows).is_none()).collect()
}

/// Names the targets of an area that no row shows, as the end of its run.
pub fn complain(area: &str, rows: &[Value]) -> bool {
    let missing = without_row(area, rows);
    for target in &missing {
        eprintln!("peers: a target of the design has no row: {}", target.name());
    }
    missing.is_empty()
}

/// The verdict on a target: its row's, or that there is none.
pub fn verdict(row: Option<&Value>) -> String {
    match row {
        None => "no row".into(),
        Some(row) => match row["missing"].as_str() {
            Some(missing) => format!("missed: {missing}"),
            None => area::verdict(row),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn published(area: &str) -> Vec<Value> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src/benchmarks");
        let text = std::fs::read_to_string(format!("{folder}/{area}.json")).unwrap();
        let run: Value = serde_json::from_str(&text).unwrap();
        run["rows"].as_array().unwrap().clone()
    }

    #[test]
    fn every_target_of_the_design_has_its_row_in_the_published_runs() {
        for area in super::super::NAMES {
            let missing: Vec<String> =
                without_row(area, &published(area)).into_iter().map(Target::name).collect();
            assert_eq!(missing, Vec::<String>::new());
        }
    }

    #[test]
    fn every_published_target_is_one_of_the_design() {
        for area in super::super::NAMES {
            let rows = published(area);
            for row in rows.iter().filter(|row| !row["target"].is_null()) {
                let known = TARGETS.iter().any(|target| target.area == area && target.is_of(row));
                assert!(known, "{area}: {} {} {}", row["case"], row["rival"], row["target"]);
            }
        }
    }

    #[test]
    fn a_row_with_another_number_or_another_rival_shows_nothing() {
        let row = json!({"case": "death hint", "rival": "absolute", "target": 2.0});
        let of = |row: &Value| without_row("shm", std::slice::from_ref(row)).len();
        let all = TARGETS.iter().filter(|target| target.area == "shm").count();
        assert_eq!(of(&row), all - 1);
        let softened = json!({"case": "death hint", "rival": "absolute", "target": 3.0});
        let other = json!({"case": "death hint", "rival": "pthread", "target": 2.0});
        assert_eq!([of(&softened), of(&other)], [all, all]);
    }
}
