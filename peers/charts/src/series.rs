//! The points of a chart, as the rows of a stored run tell them.

use std::collections::BTreeMap;

use serde_json::Value;

/// One side of a chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// As the legend names it.
    pub name: String,
    /// What grows, and the figure there.
    pub points: Vec<(f64, f64)>,
    /// A limit of the machine: drawn dashed.
    pub is_limit: bool,
}

/// One chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// Its name, which is its file's.
    pub name: String,
    /// What grows.
    pub what: String,
    /// In what the figures are counted.
    pub unit: String,
    /// Ours first, then the rivals, then limits.
    pub series: Vec<Series>,
}

/// Ours in the legend.
const OURS: &str = "ours";

/// The charts that these rows are points of.
pub fn charts(rows: &[Value]) -> Vec<Chart> {
    let mut found: BTreeMap<String, Chart> = BTreeMap::new();
    for row in rows {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let (Some(name), Some(x)) = (row["axis"]["chart"].as_str(), row["axis"]["x"].as_f64())
        else {
            continue;
        };
        let chart = found.entry(name.into()).or_insert_with(|| Chart {
            name: name.into(),
            what: text(&row["axis"]["what"]),
            unit: text(&row["unit"]),
            series: Vec::new(),
        });
        chart.add(OURS, x, &row["ours"], false);
        let rival = text(&row["rival"]);
        if rival != "absolute" {
            chart.add(&rival, x, &row["value"], row["limit"] == true);
        }
        if row["calibration"] == "compare-and-swap ping-pong" && row["unit"] == "ns" {
            let transfer =
                row["calibration_value"].as_f64().map(|there_and_back| there_and_back / 2.0);
            chart.add("one cache-line transfer", x, &transfer.into(), true);
        }
    }
    let mut charts: Vec<Chart> = found.into_values().collect();
    for chart in &mut charts {
        chart.series.sort_by_key(|series| (series.is_limit, series.name != OURS));
    }
    charts
}

impl Chart {
    fn add(&mut self, name: &str, x: f64, y: &Value, is_limit: bool) {
        // A logarithm is drawn: nothing at or below zero can be.
        let Some(y) = y.as_f64().filter(|y| *y > 0.0 && x > 0.0) else { return };
        let place = self.series.iter().position(|series| series.name == name);
        let place = place.unwrap_or_else(|| {
            self.series.push(Series { name: name.into(), points: Vec::new(), is_limit });
            self.series.len() - 1
        });
        let points = &mut self.series[place].points;
        if points.iter().all(|(known, _)| *known != x) {
            points.push((x, y));
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
    }

    /// The smallest and largest of what grows and of the figures.
    pub fn ranges(&self) -> Option<[(f64, f64); 2]> {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let range = |of: fn(&(f64, f64)) -> f64| {
            let values = || points().map(of);
            Some((values().reduce(f64::min)?, values().reduce(f64::max)?))
        };
        Some([range(|point| point.0)?, range(|point| point.1)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn points_of_one_side_are_gathered_in_order_and_limits_come_last() {
        let row = |x: f64, rival: &str, value: f64, limit: bool| {
            json!({"axis": {"chart": "c", "what": "bytes", "x": x}, "unit": "ns", "ours": x * 2.0,
                   "rival": rival, "value": value, "limit": limit})
        };
        let rows = [
            row(8.0, "memcpy", 1.0, true),
            row(8.0, "rtrb", 3.0, false),
            row(2.0, "rtrb", 5.0, false),
            json!({"case": "no chart"}),
        ];
        let charts = charts(&rows);
        let names: Vec<_> = charts[0].series.iter().map(|series| &*series.name).collect();
        assert_eq!(names, ["ours", "rtrb", "memcpy"]);
        assert_eq!(charts[0].series[0].points, [(2.0, 4.0), (8.0, 16.0)]);
        assert_eq!(charts[0].ranges(), Some([(2.0, 8.0), (1.0, 16.0)]));
    }

    #[test]
    fn what_has_no_figure_is_no_point() {
        let row = json!({"axis": {"chart": "c", "x": 1.0}, "unit": "ns", "ours": null,
                         "rival": "r", "value": 1.0});
        let charts = charts(&[row]);
        assert_eq!(charts[0].series.len(), 1);
    }
}
