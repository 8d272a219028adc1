//! A stacked chart as inline SVG. Its labels are HTML around it, so that they keep their size when
//! the chart is squeezed to the width of a telephone.

use std::fmt::Write;
use std::time::Duration;

use super::amount;
use super::escape::Escaped;
use super::series::Stack;
use crate::timeline::{Peak, Timeline};
use crate::units;

/// The drawing's own units; it is stretched to the page.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 400.0;

/// The vertical scale that all charts of a report share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    top: u64,
    step: u64,
}

impl Scale {
    /// A scale that the peaks of all timelines fit in.
    pub(super) fn over<'a>(timelines: impl Iterator<Item = &'a Timeline>) -> Self {
        let greatest = timelines.map(Timeline::peak_bytes).max().unwrap_or(0).max(1);
        let step = units::step_of_bytes(greatest, 5);
        Self { top: greatest.div_ceil(step).saturating_mul(step), step }
    }

    fn share(&self, bytes: u64) -> f64 {
        bytes as f64 / self.top as f64
    }

    fn y(&self, bytes: u64) -> f64 {
        HEIGHT * (1.0 - self.share(bytes))
    }
}

/// Where an instant lies between the left edge (0) and the right edge (1).
fn place(at: Duration, timeline: &Timeline) -> f64 {
    let whole = timeline.duration.as_secs_f64();
    if whole > 0.0 { (at.as_secs_f64() / whole).clamp(0.0, 1.0) } else { 0.0 }
}

/// The chart of one timeline with its heading, legend and marks.
pub(super) fn figure(name: &str, timeline: &Timeline, stack: &Stack, scale: &Scale) -> String {
    let Some(peak) = &timeline.peak else {
        return format!(
            "<figure>\n<figcaption><h3>{}</h3><p>Nothing was sampled.</p></figcaption>\n</figure>\n",
            Escaped(name)
        );
    };
    format!(
        "<figure>\n<figcaption><h3>{name}</h3><p>peak <b>{total}</b> at {at}</p></figcaption>\n\
         <div class=\"plot\">\n<div class=\"y\" aria-hidden=\"true\">{y}</div>\n\
         <div class=\"area\" data-d=\"{duration}\" data-t=\"{times}\" data-v=\"{values}\">\n{drawing}{badges}\
         <div class=\"tip\" hidden></div>\n</div>\n\
         <div class=\"x\" aria-hidden=\"true\">{x}</div>\n</div>\n{legend}{marks}</figure>\n",
        name = Escaped(name),
        total = amount(peak.total),
        at = units::time(peak.at),
        y = y_labels(scale),
        duration = timeline.duration.as_micros(),
        times = joined(stack.instants.iter().map(Duration::as_micros)),
        values = hover_values(stack),
        drawing = drawing(name, timeline, stack, scale, peak),
        badges = badges(timeline, scale, peak),
        x = x_labels(timeline),
        legend = legend(stack),
        marks = list_of_marks(timeline),
    )
}

fn drawing(name: &str, timeline: &Timeline, stack: &Stack, scale: &Scale, peak: &Peak) -> String {
    let mut lines = String::new();
    for bytes in (1..=scale.top / scale.step).map(|line| line * scale.step) {
        let y = scale.y(bytes);
        let _ = write!(lines, "<path class=\"grid\" d=\"M0 {y:.1}H{WIDTH}\"/>");
    }
    for mark in &timeline.marks {
        let x = WIDTH * place(mark.at, timeline);
        let _ = write!(lines, "<path class=\"mark-line\" d=\"M{x:.1} 0V{HEIGHT}\"/>");
    }
    let x = WIDTH * place(peak.at, timeline);
    let _ = write!(lines, "<path class=\"peak-line\" d=\"M{x:.1} 0V{HEIGHT}\"/>");
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"{name}: memory over {duration}, peak {total} at {at}\">\n{areas}{lines}\n\
         </svg>\n",
        name = Escaped(name),
        duration = units::time(timeline.duration),
        total = units::bytes(peak.total),
        at = units::time(peak.at),
        areas = areas(timeline, stack, scale),
    )
}

/// Each band as a closed shape between the bands below it and itself.
fn areas(timeline: &Timeline, stack: &Stack, scale: &Scale) -> String {
    let mut below = vec![0u64; stack.instants.len()];
    let mut shapes = String::new();
    for band in &stack.bands {
        let above: Vec<u64> =
            below.iter().zip(&band.values).map(|(below, value)| below + value).collect();
        let mut path = String::new();
        let forth = stack.instants.iter().zip(&above);
        let back = stack.instants.iter().zip(&below).rev();
        for (index, (at, bytes)) in forth.chain(back).enumerate() {
            let command = if index == 0 { 'M' } else { 'L' };
            let x = WIDTH * place(*at, timeline);
            let _ = write!(path, "{command}{x:.1} {:.1}", scale.y(*bytes));
        }
        let (class, title) = (&band.class, Escaped(&band.title));
        let _ =
            writeln!(shapes, "<path class=\"{class}\" d=\"{path}Z\"><title>{title}</title></path>");
        below = above;
    }
    shapes
}

fn y_labels(scale: &Scale) -> String {
    (0..=scale.top / scale.step)
        .map(|line| {
            let bytes = line * scale.step;
            let share = 100.0 * scale.share(bytes);
            let label = units::bytes(bytes).replace(".0 ", " ");
            format!("<span style=\"bottom:{share:.2}%\">{label}</span>")
        })
        .collect()
}

fn x_labels(timeline: &Timeline) -> String {
    let step = units::step_of_time(timeline.duration, 5);
    let mut labels = String::new();
    let mut at = Duration::ZERO;
    while at <= timeline.duration {
        let share = 100.0 * place(at, timeline);
        let label = if at.is_zero() { "0 s".to_owned() } else { short_time(at, step) };
        let _ = write!(labels, "<span style=\"left:{share:.2}%\">{label}</span>");
        at += step;
    }
    labels
}

/// A time on the scale, with no more digits than the step asks for.
fn short_time(at: Duration, step: Duration) -> String {
    if step < Duration::from_millis(1) {
        return units::time(at);
    }
    if step < Duration::from_millis(100) {
        return format!("{} ms", at.as_millis());
    }
    let decimals = if step < Duration::from_secs(1) { 1 } else { 0 };
    format!("{:.decimals$} s", at.as_secs_f64())
}

/// The dot at the peak, and the number of each mark at its line.
fn badges(timeline: &Timeline, scale: &Scale, peak: &Peak) -> String {
    let mut badges = String::new();
    for (index, mark) in timeline.marks.iter().enumerate() {
        let left = 100.0 * place(mark.at, timeline);
        let (name, number) = (Escaped(&mark.name), index + 1);
        let _ = writeln!(
            badges,
            "<span class=\"badge\" style=\"left:{left:.2}%\" title=\"{name}\">{number}</span>"
        );
    }
    let (left, bottom) = (100.0 * place(peak.at, timeline), 100.0 * scale.share(peak.total));
    let _ = writeln!(
        badges,
        "<span class=\"dot\" style=\"left:{left:.2}%;bottom:{bottom:.2}%\" title=\"combined peak\"></span>"
    );
    badges
}

fn legend(stack: &Stack) -> String {
    let items: String = stack
        .bands
        .iter()
        .rev()
        .map(|band| {
            let (class, title) = (&band.class, Escaped(&band.title));
            format!("<li><i class=\"{class}\"></i><span>{title}</span></li>\n")
        })
        .collect();
    format!("<ul class=\"legend\">\n{items}</ul>\n")
}

fn list_of_marks(timeline: &Timeline) -> String {
    if timeline.marks.is_empty() {
        return String::new();
    }
    let items: String = timeline
        .marks
        .iter()
        .map(|mark| format!("<li>{} <b>{}</b></li>\n", Escaped(&mark.name), units::time(mark.at)))
        .collect();
    format!("<ol class=\"marks\">\n{items}</ol>\n")
}

/// The figures for the pointer: KiB of each band at each instant, in the order of the legend.
fn hover_values(stack: &Stack) -> String {
    let bands = stack.bands.iter().rev();
    let bands = bands.map(|band| joined(band.values.iter().map(|value| value / 1024)));
    bands.collect::<Vec<String>>().join(";")
}

fn joined<T: ToString>(values: impl Iterator<Item = T>) -> String {
    values.map(|value| value.to_string()).collect::<Vec<String>>().join(",")
}
