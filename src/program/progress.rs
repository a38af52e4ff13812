//! Progress on a console: a bar where somebody looks, plain lines elsewhere.

use std::{
    io::IsTerminal,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::ingest::{Outcome, Progress};

/// How often a plain line is written.
const LINE_EVERY: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Lines {
    phase: String,
    total: u64,
    done: u64,
    bad: u64,
    last: Option<Instant>,
}

impl Lines {
    /// Whether it is time for a line; then the next one is later.
    fn is_due(&mut self) -> bool {
        let due =
            self.done == self.total || self.last.is_none_or(|last| last.elapsed() >= LINE_EVERY);
        if due {
            self.last = Some(Instant::now());
        }
        due
    }
}

/// Writes to standard error.
pub struct ConsoleProgress {
    bar: Option<ProgressBar>,
    lines: Mutex<Lines>,
}

impl Default for ConsoleProgress {
    fn default() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(
                "{prefix} {wide_bar} {pos}/{len} {per_sec} eta {eta} {msg}",
            )
            .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(0).with_style(style)
        });
        Self {
            bar,
            lines: Mutex::default(),
        }
    }
}

impl ConsoleProgress {
    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    /// Tells how many steps of a phase are done.
    pub fn count(&self, phase: &str, done: usize, total: usize) {
        let (done, total) = (done as u64, total as u64);
        let new = self.lines().phase != phase;
        if new {
            self.phase(phase, total);
        }
        let mut lines = self.lines();
        lines.done = done;
        match &self.bar {
            Some(bar) => bar.set_position(done),
            None if lines.is_due() => eprintln!("{phase}: {done} of {total}"),
            None => {}
        }
    }

    /// Tells how many of a phase's bytes are done, in MiB.
    pub fn mebibytes(&self, phase: &str, done: u64, total: u64) {
        let mebibytes = |bytes: u64| usize::try_from(bytes.div_ceil(1 << 20)).unwrap_or(usize::MAX);
        self.count(phase, mebibytes(done), mebibytes(total));
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Progress for ConsoleProgress {
    fn phase(&self, name: &str, total: u64) {
        let mut lines = self.lines();
        *lines = Lines {
            phase: name.to_owned(),
            total,
            last: Some(Instant::now()),
            ..Lines::default()
        };
        match &self.bar {
            Some(bar) => {
                bar.set_prefix(name.to_owned());
                bar.reset();
                bar.set_length(total);
            }
            None if total > 0 => eprintln!("{name}: {total} to do"),
            None => eprintln!("{name}"),
        }
    }

    fn file(&self, path: &str, outcome: &Outcome) {
        let mut lines = self.lines();
        lines.done += 1;
        if let Outcome::Bad(reason) = outcome {
            lines.bad += 1;
            self.line(&format!("bad file {path}: {reason}"));
        }
        match &self.bar {
            Some(bar) => {
                bar.inc(1);
                bar.set_message(format!("{} bad", lines.bad));
            }
            None if lines.is_due() => eprintln!(
                "{}: {} of {}, {} bad",
                lines.phase, lines.done, lines.total, lines.bad
            ),
            None => {}
        }
    }

    fn notice(&self, text: &str) {
        self.line(text);
    }
}
