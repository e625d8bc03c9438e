//! A pseudo-terminal with the program behind it, for what only a person at a terminal sees.
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, read};

/// Longest wait for one expected text: far more than any needs, so that a loaded machine does not fail a test.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running program whose three streams are a terminal.
pub struct Terminal {
    master: std::fs::File,
    child: Child,
    /// All that it has written so far.
    pub seen: String,
    pending: Vec<u8>,
    read_to: usize,
}

impl Terminal {
    /// Starts the command on a terminal of 100 columns.
    pub fn start(command: &mut Command) -> Terminal {
        let size = Winsize { ws_row: 40, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(&size, None).expect("a pseudo-terminal");
        let stream = |fd: &OwnedFd| Stdio::from(fd.try_clone().expect("another handle"));
        let child = command
            .env("TERM", "xterm")
            .stdin(stream(&slave))
            .stdout(stream(&slave))
            .stderr(stream(&slave))
            .spawn()
            .expect("the program starts");
        Terminal { master: master.into(), child, seen: String::new(), pending: vec![], read_to: 0 }
    }

    /// Types a line and Enter.
    pub fn types(&mut self, line: &str) {
        self.master.write_all(line.as_bytes()).and_then(|()| self.master.write_all(b"\r")).expect("the terminal takes input");
    }

    /// Presses one key by its code, 4 being Ctrl-D.
    pub fn presses(&mut self, key: u8) {
        self.master.write_all(&[key]).expect("the terminal takes input");
    }

    /// Sends a signal, as Ctrl-C does while the terminal is not in raw mode.
    pub fn signals(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().expect("a process id")), signal).expect("the program is there");
    }

    /// Waits until this text appears after what was waited for before, and gives what stood between.
    #[track_caller]
    pub fn shows(&mut self, text: &str) -> String {
        let start = Instant::now();
        loop {
            if let Some(at) = self.seen[self.read_to..].find(text) {
                let between = self.seen[self.read_to..self.read_to + at].to_string();
                self.read_to += at + text.len();
                return between;
            }
            let alive = self.read_some();
            assert!(alive && start.elapsed() < PATIENCE, "no {text:?} on the terminal: {:?}", &self.seen[self.read_to..]);
        }
    }

    /// Waits for the end of the program.
    pub fn ends(&mut self) -> ExitStatus {
        let start = Instant::now();
        while start.elapsed() < PATIENCE && self.read_some() {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return status;
            }
        }
        match self.child.try_wait().expect("it can be waited for") {
            Some(status) => status,
            None => {
                let _ = self.child.kill();
                panic!("the program did not end: {:?}", self.seen);
            }
        }
    }

    /// Reads what is there, waiting a moment; false when the program has gone and all is read.
    fn read_some(&mut self) -> bool {
        let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(100u8)).expect("poll") == 0 {
            return true;
        }
        let mut buffer = [0; 4096];
        // EIO: the other side has closed.
        let Ok(n @ 1..) = read(&self.master, &mut buffer) else { return self.child.try_wait().is_ok_and(|s| s.is_none()) };
        self.pending.extend_from_slice(&buffer[..n]);
        let whole = match std::str::from_utf8(&self.pending) {
            Ok(text) => text.len(),
            Err(error) => error.valid_up_to(),
        };
        let text: Vec<u8> = self.pending.drain(..whole).collect();
        self.seen.push_str(std::str::from_utf8(&text).expect("just checked"));
        true
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
