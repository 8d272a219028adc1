//! One self-contained HTML file: named timelines side by side on one scale.

mod chart;
mod escape;
mod flame;
#[cfg(feature = "recording")]
mod recorded;
mod series;
mod sources;
mod tables;

use std::path::Path;

use crate::error::{Error, Result};
use crate::stacks::Stacks;
use crate::timeline::Timeline;
use crate::units;
use escape::Escaped;

const STYLE: &str = include_str!("style.css");
const HOVER: &str = include_str!("hover.js");
const ZOOM: &str = include_str!("zoom.js");

/// A report on one or several timelines: a single HTML file that needs no network, no other file
/// and no script (a small one shows figures under the pointer).
///
/// All timelines are drawn on the same vertical scale; each has its own scale of time.
///
/// ```
/// use profiling::{Report, Sampler, Summary};
///
/// let sampler = Sampler::builder(std::process::id()).start()?;
/// let sum: u64 = vec![1u64; 100_000].iter().sum();
/// let timeline = sampler.stop();
/// let html = Report::new("Summing")
///     .timeline("one vector", timeline)
///     .summary(Summary::new(["one vector"]).row("Result", [sum.to_string()]))
///     .to_html();
/// assert!(html.contains("one vector"));
/// # Ok::<(), profiling::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Report {
    title: String,
    subtitle: Option<String>,
    timelines: Vec<(String, Timeline)>,
    stacks: Vec<(String, Stacks)>,
    summary: Option<Summary>,
    extra: Vec<(String, Summary)>,
}

/// A table of results that the program supplies: one column for each way that it went, one row for
/// each thing it measured.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    columns: Vec<String>,
    rows: Vec<(String, Vec<String>)>,
}

impl Summary {
    /// A table with these columns (besides the one of the labels).
    pub fn new<S: Into<String>>(columns: impl IntoIterator<Item = S>) -> Self {
        Self { columns: columns.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row: what it is, and its value in each column. Missing values stay empty, more values
    /// than columns are left out.
    pub fn row<S: Into<String>>(
        mut self,
        label: impl Into<String>,
        values: impl IntoIterator<Item = S>,
    ) -> Self {
        self.rows.push((label.into(), values.into_iter().map(Into::into).collect()));
        self
    }
}

impl Report {
    /// An empty report with this heading.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            subtitle: None,
            timelines: Vec::new(),
            stacks: Vec::new(),
            summary: None,
            extra: Vec::new(),
        }
    }

    /// A line under the heading: what ran, on what.
    pub fn subtitle(mut self, subtitle: impl Into<String>) -> Self {
        self.subtitle = Some(subtitle.into());
        self
    }

    /// Adds a timeline under a name of its own, such as `shared view`.
    pub fn timeline(mut self, name: impl Into<String>, timeline: Timeline) -> Self {
        self.timelines.push((name.into(), timeline));
        self
    }

    /// Adds a flamegraph under a name such as `live bytes at the peak`, and the bytes by source
    /// line where the stacks know their sources. Source files are read when the report is made.
    pub fn stacks(mut self, name: impl Into<String>, stacks: Stacks) -> Self {
        self.stacks.push((name.into(), stacks));
        self
    }

    /// Adds a table under a heading of its own, at the end.
    pub fn table(mut self, name: impl Into<String>, table: Summary) -> Self {
        self.extra.push((name.into(), table));
        self
    }

    /// The table of results, shown first.
    pub fn summary(mut self, summary: Summary) -> Self {
        self.summary = Some(summary);
        self
    }

    /// The whole report as HTML.
    pub fn to_html(&self) -> String {
        let scale = chart::Scale::over(self.timelines.iter().map(|(_, timeline)| timeline));
        let mut charts = String::new();
        let mut details = String::new();
        for (name, timeline) in &self.timelines {
            let series = series::Stack::of(timeline);
            charts.push_str(&chart::figure(name, timeline, &series, &scale));
            details.push_str(&tables::details(name, timeline, &series));
        }
        let graphs = self.graphs();
        let extra: String =
            self.extra.iter().map(|(name, table)| tables::named(name, table)).collect();
        let title = Escaped(&self.title);
        let subtitle = self.subtitle.as_deref().map_or_else(String::new, |subtitle| {
            format!("<p class=\"subtitle\">{}</p>\n", Escaped(subtitle))
        });
        let summary = self.summary.as_ref().map_or_else(String::new, tables::summary);
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
             <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<header>\n<h1>{title}</h1>\n\
             {subtitle}</header>\n{summary}<section aria-label=\"Memory over time\">\n\
             <h2>Memory of the process tree over time</h2>\n<p class=\"lead\">{lead}</p>\n\
             <div class=\"charts\">\n{charts}</div>\n</section>\n{graphs}{details}{extra}{definitions}</main>\n\
             <script>\n{HOVER}{ZOOM}</script>\n</body>\n</html>\n",
            lead = LEAD,
            definitions = DEFINITIONS,
        )
    }

    /// The flamegraphs and what belongs to them.
    fn graphs(&self) -> String {
        if self.stacks.is_empty() {
            return String::new();
        }
        let figures: String =
            self.stacks.iter().map(|(name, stacks)| flame::figure(name, stacks)).collect();
        let lines: String =
            self.stacks.iter().map(|(name, stacks)| sources::table(name, stacks)).collect();
        let lines = match lines.as_str() {
            "" => lines,
            _ => format!("<section>\n<h2>Bytes by source line</h2>\n{lines}</section>\n"),
        };
        format!(
            "<section>\n<h2>Where the bytes come from</h2>\n<p class=\"lead\">{GRAPHS}</p>\n\
             {figures}</section>\n{lines}"
        )
    }

    /// Writes the report to a file, replacing what is there.
    ///
    /// # Errors
    ///
    /// [`Error::WriteReport`] with the path.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        std::fs::write(path, self.to_html())
            .map_err(|source| Error::WriteReport { path: path.to_owned(), source })
    }
}

/// A figure for people, with the exact one where the pointer rests.
fn amount(bytes: u64) -> String {
    format!("<span title=\"{}\">{}</span>", units::exact(bytes), units::bytes(bytes))
}

const GRAPHS: &str = "Each box is as wide as its bytes and those of what hangs below it. Rest the \
    pointer on a box for its figures; click to widen it, and on the top one to go back.";

const LEAD: &str = "Each shared segment is counted once, however many processes map it; above the \
    segments, what each process has for itself. The vertical scale is the same for all charts.";

const DEFINITIONS: &str = "<section class=\"definitions\">\n<h2>What is counted</h2>\n\
    <p><b>Own</b> memory of a process is what belongs to no file (RssAnon), less what it shares with \
    relatives since a fork, and its page tables (VmPTE). A <b>segment</b> is a file in memory: \
    memfd, shared anonymous, System V or tmpfs; resident is what was ever written to and not given \
    back (st_blocks). The <b>total</b> is their sum, and is meant to agree with what a memory cgroup \
    charges. Not in it: pages of ordinary files such as program text, what pipes and sockets \
    hold, swapped private memory, and kernel memory other than page tables.</p>\n\
    <p>The <b>combined peak</b> is the greatest total in any sample, with everyone\u{2019}s state at \
    that instant; a spike between two samples can be missed. The kernel\u{2019}s own high-water marks \
    (VmHWM) miss none, but each process has its own, at a time of its own, with shared pages in \
    every one of them: added up they are a bound from above.</p>\n</section>\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::tests::two_halves;

    fn report() -> String {
        Report::new("<script>alert(1)</script>")
            .subtitle("a \"quoted\" & sharp <line>")
            .timeline("shared <view>", two_halves())
            .timeline("a copy each", two_halves())
            .stacks("at <peak>", Stacks::at_peak(&two_halves()))
            .stacks("with & source", crate::stacks::tests::some())
            .table("left <over>", Summary::new(["bytes"]).row("a > b", ["1"]))
            .summary(Summary::new(["a<b", "c"]).row("R&D", ["1 < 2", "\"x\"", "left out"]))
            .to_html()
    }

    #[test]
    fn everything_from_outside_is_escaped() {
        let html = report();
        for escaped in [
            "&lt;script&gt;alert(1)&lt;/script&gt;",
            "a &quot;quoted&quot; &amp; sharp &lt;line&gt;",
            "shared &lt;view&gt;",
            "worker &lt;1&gt;",
            "data &amp; made",
            "R&amp;D",
            "1 &lt; 2",
            "a&lt;b",
            "at &lt;peak&gt;",
            "with &amp; source",
            "left &lt;over&gt;",
            "a &gt; b",
        ] {
            assert!(html.contains(escaped), "{escaped}");
        }
        for raw in ["<script>alert", "<view>", "worker <1>", "data & made", "R&D", "left out"] {
            assert!(!html.contains(raw), "{raw}");
        }
    }

    #[test]
    fn nothing_outside_is_referred_to() {
        let html = report();
        for reference in ["http:", "https:", "src=", "href=", "url(", "@import", "//"] {
            assert!(!html.contains(reference), "{reference}");
        }
    }

    #[test]
    fn charts_share_one_vertical_scale() {
        let mut half = two_halves();
        half.peak.as_mut().unwrap().total /= 2;
        let html = Report::new("").timeline("a", half).timeline("b", two_halves()).to_html();
        let top = "<span style=\"bottom:100.00%\">48 MiB</span>";
        assert_eq!(html.matches(top).count(), 2);
    }

    #[test]
    fn the_peak_and_its_composition_are_shown() {
        let html = report();
        assert_eq!(html.matches("class=\"peak-line\"").count(), 2);
        assert!(html.contains("title=\"50,331,648 bytes\">48.0 MiB"));
        assert!(html.contains("title=\"33,554,432 bytes\">32.0 MiB"));
        assert!(html.contains("memfd:column"));
    }

    #[test]
    fn a_report_without_a_sample_is_still_a_page() {
        let html = Report::new("empty").timeline("nothing", Timeline::default()).to_html();
        assert!(html.contains("Nothing was sampled"));
        assert!(!html.contains("NaN") && !html.contains("inf"));
    }

    #[test]
    fn a_report_that_cannot_be_written_names_the_path() {
        let error = Report::new("x").write("/nowhere/at/all.html").unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all.html"), "{error}");
    }
}
