//! Draws the charts of one stored run: `peers-charts RUN.json FOLDER`.

mod draw;
mod series;

use std::error::Error;
use std::path::Path;

use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [run, folder] = words.as_slice() else {
        return Err("say which run and which folder: peers-charts RUN.json FOLDER".into());
    };
    let text = std::fs::read_to_string(run).map_err(|error| format!("{run}: {error}"))?;
    let run: Value = serde_json::from_str(&text)?;
    let rows = run["rows"].as_array().map(Vec::as_slice).unwrap_or_default();
    for chart in series::charts(rows).iter().filter(|chart| chart.ranges().is_some()) {
        let path = Path::new(folder).join(format!("{}.svg", chart.name));
        draw::draw(chart, &path)?;
        println!("drew {}", path.display());
    }
    Ok(())
}
