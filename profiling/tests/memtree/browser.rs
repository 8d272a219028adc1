//! The report in a real browser: it asks for nothing, and fits a narrow screen.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::program::{folder, printed};

/// A browser that runs without a screen; says so if there is none.
fn browser() -> Option<&'static str> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let is_here = |name: &&str| {
        let version = Command::new(name).arg("--version").stdout(Stdio::null()).status();
        version.is_ok_and(|status| status.success())
    };
    let found = names.into_iter().find(is_here);
    if found.is_none() {
        println!("skipped: no Chromium here (`apt-get install chromium`)");
    }
    found
}

/// A page that shows the report in a frame of a phone's width, and says how wide it really is.
///
/// In a frame, since a browser without a screen has windows of 500 pixels at least.
fn page_around(report: &str) -> String {
    let escaped = report.replace('&', "&amp;").replace('"', "&quot;");
    format!(
        "<!doctype html><title>around</title><iframe id=\"frame\" style=\"width:390px;height:800px;\
         border:0\" srcdoc=\"{escaped}\"></iframe><p id=\"found\">nothing</p><script>\
         document.getElementById('frame').onload = event => {{\
         const view = event.target.contentWindow, page = view.document.documentElement;\
         const asked = view.performance.getEntriesByType('resource').map(entry => entry.name);\
         document.getElementById('found').textContent = `width ${{view.innerWidth}} of \
         ${{page.scrollWidth}}, tables ${{view.document.querySelectorAll('table').length}}, asked \
         [${{asked}}]`;}}</script>"
    )
}

fn open(browser: &str, home: &Path, page: &Path) -> Output {
    let mut command = Command::new(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
    command.args(["--no-first-run", "--disable-background-networking", "--dump-dom"]);
    command.arg(format!("--user-data-dir={}", home.display()));
    command.arg("--virtual-time-budget=5000").arg(format!("file://{}", page.display()));
    command.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn the_report_asks_for_nothing_and_fits_a_phone() {
    let Some(browser) = browser() else { return };
    let folder = folder();
    printed(&folder, &["run", "-q", "--report", "a.html", "--", "sh", "-c", "sleep 0.05 & wait"]);
    let report = fs::read_to_string(folder.path().join("a.html")).unwrap();
    let page = folder.path().join("around.html");
    fs::write(&page, page_around(&report)).unwrap();
    let output = open(browser, &folder.path().join("home"), &page);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = shown.split("id=\"found\">").nth(1).and_then(|rest| rest.split('<').next());
    let found = found.unwrap_or_else(|| panic!("{shown} {output:?}"));
    let numbers: Vec<u32> = found
        .split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect();
    let [width, whole, tables] = numbers[..] else { panic!("{found}") };
    assert_eq!(width, 390, "{found}");
    assert!(whole <= width, "wider than the screen: {found}");
    assert!(tables > 0, "an empty page: {found}");
    assert!(found.ends_with("asked []"), "it asked for something: {found}");
}
