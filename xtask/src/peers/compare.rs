//! Two stored runs side by side: do their ratios agree within their spread?

use std::path::Path;

use serde_json::Value;

use super::NAMES;
use crate::error::{Error, Result};

/// A ratio of two runs.
#[derive(Clone, Debug, PartialEq)]
struct Pair {
    name: String,
    /// Ratio and spread of the first run, and of the second.
    runs: [(f64, f64); 2],
    /// One of the runs says itself that the row is unstable.
    is_unstable: bool,
}

impl Pair {
    /// How many times the ratios are apart, beyond what their spreads allow for: at most 1 where
    /// they agree.
    fn beyond(&self) -> f64 {
        let [(first, its_spread), (second, other_spread)] = self.runs;
        let apart = (first / second).max(second / first);
        apart / ((1.0 + its_spread) * (1.0 + other_spread))
    }

    fn agrees(&self) -> bool {
        self.beyond() <= 1.0
    }
}

/// What became of the rows of two runs.
#[derive(Debug, Default)]
struct Comparison {
    pairs: Vec<Pair>,
    /// Rows with a ratio in one run only, or that cannot be compared.
    alone: Vec<String>,
}

/// Compares two runs (two files, or two folders of them), and prints every ratio that disagrees;
/// succeeds when all stable ones agree.
pub fn command(first: &str, second: &str) -> Result<bool> {
    let (first, second) = (rows_at(Path::new(first))?, rows_at(Path::new(second))?);
    let comparison = compare(&first, &second);
    print!("{}", describe(&comparison));
    if comparison.pairs.is_empty() {
        return Err(Error::Output("the two runs have no ratio in common: name two runs".into()));
    }
    Ok(comparison.pairs.iter().all(|pair| pair.agrees() || pair.is_unstable))
}

/// The rows of a file, or of all areas in a folder.
fn rows_at(path: &Path) -> Result<Vec<Value>> {
    if !path.is_dir() {
        return rows_in(path);
    }
    let mut rows = Vec::new();
    for name in NAMES {
        let file = path.join(format!("{name}.json"));
        if file.is_file() {
            rows.extend(rows_in(&file)?);
        }
    }
    Ok(rows)
}

fn rows_in(path: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::file(path, error))?;
    let run: Value = serde_json::from_str(&text)
        .map_err(|error| Error::Output(format!("{}: {error}", path.display())))?;
    Ok(run["rows"].as_array().cloned().unwrap_or_default())
}

fn name(row: &Value) -> String {
    let text = |key: &str| row[key].as_str().unwrap_or_default();
    format!("{}: {}, beside {}", text("area"), text("case"), text("rival"))
}

fn ratio(row: &Value) -> Option<(f64, f64)> {
    let ratio = row["ratio"].as_f64().filter(|ratio| *ratio > 0.0)?;
    Some((ratio, row["spread"].as_f64().unwrap_or(0.0).max(0.0)))
}

fn compare(first: &[Value], second: &[Value]) -> Comparison {
    let mut comparison = Comparison::default();
    for row in first {
        let name = name(row);
        let other = second.iter().find(|other| self::name(other) == name);
        match (ratio(row), other.and_then(ratio)) {
            (Some(one), Some(two)) => {
                let unstable = |row: Option<&Value>| row.is_some_and(|it| it["unstable"] == true);
                let is_unstable = unstable(Some(row)) || unstable(other);
                comparison.pairs.push(Pair { name, runs: [one, two], is_unstable });
            }
            (None, None) => {}
            _ => comparison.alone.push(name),
        }
    }
    let in_first = |name: &String| first.iter().any(|row| self::name(row) == *name);
    let new = second.iter().filter(|row| ratio(row).is_some()).map(name);
    comparison.alone.extend(new.filter(|name| !in_first(name)));
    comparison
}

fn describe(comparison: &Comparison) -> String {
    let mut text = String::new();
    let mut disagree: Vec<&Pair> = comparison.pairs.iter().filter(|it| !it.agrees()).collect();
    disagree.sort_by(|a, b| b.beyond().total_cmp(&a.beyond()));
    for pair in &disagree {
        let [(first, its_spread), (second, other_spread)] = pair.runs;
        let unstable = if pair.is_unstable { ", unstable" } else { "" };
        text.push_str(&format!(
            "{}: {first:.2} ±{:.0} % and {second:.2} ±{:.0} %, {:.2} times beyond{unstable}\n",
            pair.name,
            its_spread * 100.0,
            other_spread * 100.0,
            pair.beyond()
        ));
    }
    for name in &comparison.alone {
        text.push_str(&format!("{name}: a ratio in one of the runs only\n"));
    }
    let unstable = disagree.iter().filter(|pair| pair.is_unstable).count();
    text.push_str(&format!(
        "{} ratios in both runs: {} agree within their spreads, {} do not ({unstable} of these are \
         marked unstable)\n",
        comparison.pairs.len(),
        comparison.pairs.len() - disagree.len(),
        disagree.len()
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(case: &str, ratio: f64, spread: f64) -> Value {
        json!({"area": "queue", "case": case, "rival": "r", "ratio": ratio, "spread": spread,
               "unstable": spread > 0.15})
    }

    #[test]
    fn ratios_that_are_apart_by_less_than_their_spreads_agree() {
        let found = compare(&[row("a", 1.0, 0.1)], &[row("a", 1.2, 0.1)]);
        assert!(found.pairs[0].agrees(), "{found:?}");
        let found = compare(&[row("a", 1.0, 0.1)], &[row("a", 1.25, 0.1)]);
        assert!(!found.pairs[0].agrees());
        assert!(describe(&found).contains("queue: a, beside r: 1.00 ±10 % and 1.25 ±10 %"));
        // Whichever run is named first.
        let turned = compare(&[row("a", 1.25, 0.1)], &[row("a", 1.0, 0.1)]);
        assert_eq!(turned.pairs[0].beyond(), found.pairs[0].beyond());
    }

    #[test]
    fn a_row_of_one_run_only_is_named() {
        let absent = json!({"area": "queue", "case": "b", "rival": "r", "missing": "not here"});
        let found =
            compare(&[row("a", 1.0, 0.1), row("b", 1.0, 0.1)], &[absent, row("c", 1.0, 0.1)]);
        assert_eq!(found.pairs, []);
        assert_eq!(found.alone.len(), 3, "{found:?}");
    }

    #[test]
    fn a_run_agrees_with_itself() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src/benchmarks");
        let rows = rows_at(Path::new(folder)).unwrap();
        let found = compare(&rows, &rows);
        assert!(found.pairs.len() > 100 && found.alone.is_empty());
        assert!(found.pairs.iter().all(Pair::agrees));
        assert!(command(folder, folder).unwrap());
    }
}
