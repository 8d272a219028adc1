//! `live`, on a terminal and without one.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::program::{folder, memtree, printed};

/// A process that does nothing until its input ends.
struct Idle(Child);

impl Idle {
    fn start() -> Self {
        Self(Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap())
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[test]
fn without_a_terminal_each_view_is_plain_text() {
    let idle = Idle::start();
    let text = printed(&folder(), &["live", "--count", "2", "--interval", "1", &idle.pid()]);
    assert_eq!(text.matches("total ").count(), 2, "{text}");
    assert!(text.contains(&format!("cat      {}", idle.pid())), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn it_ends_when_the_tree_does() {
    let mut idle = Idle::start();
    let folder = folder();
    let mut command = memtree(&folder, &["live", "--interval", "3600000", &idle.pid()]);
    let mut live = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut first = [0u8; 16];
    live.stdout.as_mut().unwrap().read_exact(&mut first).unwrap(); // it has drawn a view
    drop(idle.0.stdin.take());
    idle.0.wait().unwrap();
    assert!(live.wait().unwrap().success());
}

/// Both ends of a pseudo-terminal of this size.
fn terminal(columns: u16, rows: u16) -> (File, File) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let path = name.to_str().unwrap();
    let theirs = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&theirs, size).unwrap();
    (File::from(ours), theirs)
}

#[test]
fn q_gives_the_terminal_back_as_it_was() {
    let idle = Idle::start();
    let (mut ours, theirs) = terminal(60, 12);
    let folder = folder();
    let mut live = memtree(&folder, &["live", "--interval", "3600000", &idle.pid()])
        .stdin(theirs.try_clone().unwrap())
        .stdout(theirs.try_clone().unwrap())
        .spawn()
        .unwrap();
    let mut seen = String::new();
    let mut buffer = [0u8; 4096];
    while !seen.contains("segments") {
        let count = ours.read(&mut buffer).unwrap();
        seen += &String::from_utf8_lossy(&buffer[..count]);
    }
    assert!(seen.starts_with("\u{1b}[?1049h"), "another page: {seen:?}");
    assert!(!tcgetattr(&theirs).unwrap().local_modes.contains(LocalModes::ICANON));
    ours.write_all(b"q").unwrap();
    assert!(live.wait().unwrap().success());
    assert!(tcgetattr(&theirs).unwrap().local_modes.contains(LocalModes::ICANON));
    while !seen.contains("\u{1b}[?1049l") {
        let count = ours.read(&mut buffer).unwrap();
        seen += &String::from_utf8_lossy(&buffer[..count]);
    }
    let lines = seen.split("\r\n").filter(|line| !line.contains('\u{1b}'));
    assert!(lines.clone().all(|line| line.chars().count() <= 60), "{seen:?}");
}
