//! A terminal taken over for a while, and given back as it was.

use std::io::{IsTerminal, Write};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::view::Drawn;
use crate::failure::{Failure, Result};

/// Another page without a cursor, and back.
const OPEN: &str = "\x1b[?1049h\x1b[?25l";
const CLOSE: &str = "\x1b[?25h\x1b[?1049l";

/// The terminal while it is ours; dropping it gives it back.
#[derive(Debug)]
pub struct Screen {
    /// How standard input was set, where it is a terminal.
    before: Option<Termios>,
}

impl Screen {
    /// Takes the terminal over: another page, no cursor, keys without Enter.
    pub fn open() -> Result<Self> {
        let before = quiet_keys().map_err(|errno| Failure::Terminal { source: errno.into() })?;
        let screen = Self { before };
        let mut output = std::io::stdout().lock();
        let written = output.write_all(OPEN.as_bytes()).and_then(|()| output.flush());
        written.map_err(|source| Failure::Terminal { source })?;
        Ok(screen)
    }

    /// Whether keys come in by standard input.
    pub fn reads_keys(&self) -> bool {
        self.before.is_some()
    }

    /// Whether `q` was pressed since the last call.
    pub fn quit_was_pressed(&self) -> bool {
        let stdin = std::io::stdin();
        let mut waited = [PollFd::new(&stdin, PollFlags::IN)];
        let mut keys = [0u8; 64];
        self.reads_keys()
            && poll(&mut waited, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
            && rustix::io::read(&stdin, &mut keys).is_ok_and(|count| keys[..count].contains(&b'q'))
    }

    /// What to write so that the terminal shows the view.
    pub fn drawn(&self, view: &Drawn) -> String {
        let size = tcgetwinsize(std::io::stdout()).map(|size| (size.ws_col, size.ws_row));
        let sized = size.ok().filter(|(columns, rows)| *columns > 0 && *rows > 0);
        let (columns, rows) = sized.unwrap_or((80, 24)); // a serial line does not know its size
        let lines = view.lines(usize::from(columns), usize::from(rows));
        let mut text = "\x1b[H".to_owned();
        text += &lines.iter().map(|line| format!("{line}\x1b[K")).collect::<Vec<_>>().join("\r\n");
        text + "\x1b[J"
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut output = std::io::stdout().lock();
        let _ = output.write_all(CLOSE.as_bytes()).and_then(|()| output.flush());
        if let Some(before) = &self.before {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Keys come at once and are not shown; says how it was before, where input is a terminal.
fn quiet_keys() -> rustix::io::Result<Option<Termios>> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Ok(None);
    }
    let before = tcgetattr(&stdin)?;
    let mut changed = before.clone();
    changed.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
    tcsetattr(&stdin, OptionalActions::Now, &changed)?;
    Ok(Some(before))
}
