//! What a measurement ran on: a number without its machine says nothing.

use serde_json::{Value, json};

use crate::command::Command;
use crate::workspace::Workspace;

/// The machine, the versions and the commit, as far as they can be told.
pub fn describe(workspace: &Workspace) -> Value {
    json!({
        "cpu": cpu(),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": memory(),
        "kernel": file("/proc/sys/kernel/osrelease"),
        "rustc": first_line(workspace, "rustc", "--version"),
        "commit": first_line(workspace, "git", "describe --always --dirty"),
    })
}

fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|line| line.starts_with("model name"));
    let model = line.and_then(|line| line.split_once(':')).map(|(_, model)| model.trim());
    model.unwrap_or("unknown").into()
}

fn memory() -> String {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = info.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = kib.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.map_or("unknown".into(), |kib| format!("{} GiB", kib.div_ceil(1 << 20)))
}

fn file(path: &str) -> String {
    std::fs::read_to_string(path).map_or("unknown".into(), |text| text.trim().into())
}

fn first_line(workspace: &Workspace, program: &str, arguments: &str) -> String {
    let output = Command::new(&workspace.root, program, arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let line = text.ok().and_then(|text| text.lines().next().map(String::from));
    line.unwrap_or("unknown".into())
}
