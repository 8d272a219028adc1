//! A chart as SVG, both axes logarithmic.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

use crate::series::{Chart, Series};

const SIZE: (u32, u32) = (960, 520);
/// Where the legend begins.
const LEGEND: u32 = 690;

/// Colours that stay apart for most eyes; ours first.
const COLOURS: [RGBColor; 9] = [
    RGBColor(0, 90, 181),
    RGBColor(220, 50, 32),
    RGBColor(64, 140, 64),
    RGBColor(150, 90, 170),
    RGBColor(200, 140, 0),
    RGBColor(0, 150, 160),
    RGBColor(160, 80, 60),
    RGBColor(220, 110, 170),
    RGBColor(120, 120, 120),
];
const LIMIT: RGBColor = RGBColor(90, 90, 90);

/// Draws it into a file.
pub fn draw(chart: &Chart, path: &Path) -> Result<(), Box<dyn Error>> {
    let Some([(left, right), (low, high)]) = chart.ranges() else { return Ok(()) };
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (area, legend) = root.split_horizontally(LEGEND);
    let mut context = ChartBuilder::on(&area)
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(72)
        .build_cartesian_2d(
            (left / 1.2..right * 1.2).log_scale(),
            (low / 1.6..high * 1.6).log_scale(),
        )?;
    context
        .configure_mesh()
        .x_desc(&*chart.what)
        .y_desc(&*chart.unit)
        .x_label_formatter(&|x| plain(*x))
        .y_label_formatter(&|y| plain(*y))
        .light_line_style(BLACK.mix(0.06))
        .bold_line_style(BLACK.mix(0.14))
        .draw()?;
    for (index, series) in chart.series.iter().enumerate() {
        let style = style(index, series);
        let points = series.points.iter().copied();
        if series.is_limit {
            context.draw_series(DashedLineSeries::new(points, 6, 4, style))?;
        } else {
            context.draw_series(LineSeries::new(points, style).point_size(3))?;
        }
        let y = 40 + 22 * index as i32;
        legend.draw(&PathElement::new([(0, y), (22, y)], style))?;
        legend.draw(&Text::new(label(series), (30, y - 7), ("sans-serif", 13)))?;
    }
    root.present()?;
    Ok(())
}

fn style(index: usize, series: &Series) -> ShapeStyle {
    let colour = if series.is_limit { LIMIT } else { COLOURS[index % COLOURS.len()] };
    colour.stroke_width(if index == 0 { 3 } else { 2 })
}

fn label(series: &Series) -> String {
    if series.is_limit { format!("{} (limit)", series.name) } else { series.name.clone() }
}

/// A number as short as it can be written.
fn plain(value: f64) -> String {
    if value >= 1.0 || value == 0.0 { format!("{value:.0}") } else { format!("{value}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_names_its_sides_and_its_limit() {
        let series = |name: &str, is_limit| Series {
            name: name.into(),
            points: vec![(1.0, 2.0), (10.0, 20.0)],
            is_limit,
        };
        let chart = Chart {
            name: "c".into(),
            what: "bytes".into(),
            unit: "ns".into(),
            series: vec![series("ours", false), series("memcpy", true)],
        };
        let path = std::env::temp_dir().join(format!("peers-chart-{}.svg", std::process::id()));
        draw(&chart, &path).unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        for part in ["<svg", "ours", "memcpy (limit)", "bytes"] {
            assert!(svg.contains(part), "{part} is missing");
        }
    }
}
