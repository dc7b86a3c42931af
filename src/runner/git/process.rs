//! A process that must end: its group, its watchdog, and what it says.

use std::io::{Read, Write};
use std::process::Child;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::deadline::Deadline;

/// How often a watchdog looks whether the work was given up.
const WATCH: Duration = Duration::from_millis(100);
/// Bytes of standard error that are kept of its beginning, and of its end: the cause stands first, and what came of it
/// last.
const STDERR_LIMIT: usize = 16 * 1024;

/// Output that tells the deadline that something goes on.
pub struct Heard<'a, W> {
    output: &'a mut W,
    deadline: &'a Deadline,
}

impl<'a, W> Heard<'a, W> {
    /// Output of work that ends at `deadline`.
    pub const fn new(output: &'a mut W, deadline: &'a Deadline) -> Self {
        Self { output, deadline }
    }
}

impl<W: Write> Write for Heard<'_, W> {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.deadline.progress();
        self.output.write(buffer)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.output.flush()
    }
}

/// The process group of a child that we started.
#[derive(Clone, Copy, Debug)]
pub struct Group(Option<Pid>);

impl Group {
    /// The group of `child`, which leads it.
    pub fn of(child: &Child) -> Self {
        Self(i32::try_from(child.id()).ok().and_then(Pid::from_raw))
    }

    /// Kills it; that it is gone already is no error.
    pub fn kill(self) {
        if let Some(group) = self.0
            && let Err(error) = kill_process_group(group, Signal::KILL)
        {
            tracing::debug!(%error, "a process group had ended");
        }
    }
}

/// Kills `group` at the deadline unless the other end of `ended` is dropped before; says whether it did.
pub fn watch_over(group: Group, ended: &Receiver<()>, deadline: &Deadline) -> bool {
    loop {
        let left = deadline.left();
        if left.is_zero() {
            group.kill();
            return true;
        }
        if ended.recv_timeout(left.min(WATCH)) == Err(RecvTimeoutError::Disconnected) {
            return false;
        }
    }
}

/// Reads all, keeps the beginning and the end.
pub fn read_both_ends(mut from: impl Read) -> Vec<u8> {
    let (mut kept, mut end) = (Vec::new(), Vec::new());
    let mut cut = false;
    let mut buffer = [0; 4096];
    while let Ok(read) = from.read(&mut buffer) {
        if read == 0 {
            break;
        }
        let read = buffer.get(..read).unwrap_or_default();
        let (first, rest) = read.split_at(read.len().min(STDERR_LIMIT.saturating_sub(kept.len())));
        kept.extend_from_slice(first);
        end.extend_from_slice(rest);
        let surplus = end.len().saturating_sub(STDERR_LIMIT);
        cut |= surplus > 0;
        end.drain(..surplus);
    }
    if cut {
        // Neither the line that was cut at the beginning nor that at the end is one that git wrote.
        let whole = kept
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        kept.truncate(whole);
        let whole = end.iter().position(|byte| *byte == b'\n').unwrap_or(end.len());
        kept.extend(end.drain(..).skip(whole + 1));
    } else {
        kept.append(&mut end);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_complaint_the_beginning_and_the_end_are_kept() {
        let line = |n: usize| format!("warning: line {n}\n");
        let short: String = (0..900).map(line).collect();
        assert_eq!(read_both_ends(short.as_bytes()), short.as_bytes());
        let long: String = ["error: the cause\n".to_owned()]
            .into_iter()
            .chain((0..9000).map(line))
            .chain(["fatal: the end\n".to_owned()])
            .collect();
        let kept = String::from_utf8(read_both_ends(long.as_bytes())).unwrap();
        assert!(
            kept.starts_with("error: the cause\nwarning: line 0\n") && kept.ends_with("\nfatal: the end\n")
        );
        assert!(kept.len() <= 2 * STDERR_LIMIT);
        assert!(kept.lines().all(|kept| long.lines().any(|line| line == kept)));
    }
}
