//! A wave: what was played, what it took, and its row in the table.

use std::fmt;
use std::time::Duration;

use super::attack::Kind;
use super::bystander::Noticed;
use super::watch::Sample;
use crate::say;

/// Descriptors more than in the quiet: connections for metrics and calls come and go.
const DESCRIPTORS: u64 = 6;
/// Tasks more than in the quiet, for the same reason.
const TASKS: u64 = 12;

/// What the server holds when nobody attacks.
#[derive(Debug, Clone, Copy)]
pub struct Level {
    /// Resident memory, in KiB.
    pub rss: u64,
    descriptors: u64,
    tasks: u64,
    sockets: u64,
    listened: u64,
}

impl Level {
    /// What it held then.
    pub fn of(sample: &Sample) -> Self {
        Self {
            rss: sample.process.rss,
            descriptors: sample.process.descriptors,
            tasks: sample.metric("tasks"),
            sockets: sample.metric("sockets"),
            listened: sample.metric("rooms_listened"),
        }
    }

    /// What is above this level, by name.
    pub(super) fn exceeded(&self, now: &Sample) -> Vec<String> {
        let now = Self::of(now);
        let held = [
            ("descriptors", now.descriptors, self.descriptors + DESCRIPTORS),
            ("tasks", now.tasks, self.tasks + TASKS),
            ("sockets", now.sockets, self.sockets),
            ("rooms with a listener", now.listened, self.listened),
        ];
        held.iter()
            .filter(|(_, now, most)| now > most)
            .map(|(name, now, most)| format!("{now} {name}, not {most}"))
            .collect()
    }
}

/// What a kind of attacker did in a wave.
#[derive(Debug, Clone, Copy)]
pub struct Played {
    /// Which.
    pub kind: &'static Kind,
    /// Requests, frames and connections.
    pub sent: u64,
    /// How often the server ended what was to go on, or did not let it begin.
    pub refused: u64,
}

/// A wave, and what was seen of it.
#[derive(Debug)]
pub struct Wave {
    /// What was played.
    pub group: String,
    /// The how many-th of its kind, from 1 on.
    pub number: u64,
    /// How long.
    pub attacked: Duration,
    /// What each kind of attacker did.
    pub played: Vec<Played>,
    /// KiB that the store may have grown by.
    pub stored: u64,
    /// KiB that the server may have taken at the height.
    pub peak_allowed: u64,
    /// KiB of it that may come in the second half.
    pub late_allowed: u64,
    /// The server before.
    pub before: Sample,
    /// The server meanwhile.
    pub during: Vec<Sample>,
    /// The server at the end of the settling.
    pub after: Sample,
    /// How long that took, unless it did not come to an end.
    pub settled: Option<Duration>,
    /// What the bystanders noticed.
    pub noticed: Noticed,
    /// What they noticed during the settling.
    pub afterwards: Noticed,
}

impl Wave {
    pub(super) fn peak(&self, of: impl Fn(&Sample) -> u64) -> u64 {
        self.during.iter().map(of).max().unwrap_or_default()
    }

    /// KiB that were allocated at about this part of the wave, in hundredths: the median of a tenth of its time.
    fn heap_at(&self, percent: usize) -> u64 {
        let width = (self.during.len() / 10).max(1);
        let end = (self.during.len() * percent / 100).max(width.min(self.during.len()));
        let mut part: Vec<u64> = self.during[end.saturating_sub(width)..end].iter().map(|sample| sample.heap).collect();
        part.sort_unstable();
        part.get(part.len() / 2).copied().unwrap_or_default()
    }

    pub(super) fn creep(&self) -> u64 {
        self.heap_at(100).saturating_sub(self.heap_at(50))
    }
}

impl fmt::Display for Wave {
    /// As a row of the table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sent: u64 = self.played.iter().map(|played| played.sent).sum();
        let refused: u64 = self.played.iter().map(|played| played.refused).sum();
        let mib = |kib: u64| format!("{}.{}", kib / 1024, kib % 1024 * 10 / 1024);
        let settled = self.settled.map_or_else(|| "never".to_owned(), |time| format!("{:.1}", time.as_secs_f64()));
        let (descriptors, tasks) =
            (self.peak(|sample| sample.process.descriptors), self.peak(|sample| sample.metric("tasks")));
        write!(
            f,
            "{:<22} {:>2} {:>8} {:>7} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>5}/{:<4} {:>5}/{:<4} {:>5} {:>5} {:>6} {:>6}",
            self.group,
            self.number,
            sent,
            refused,
            mib(self.before.heap),
            mib(self.peak(|sample| sample.heap)),
            mib(self.after.heap),
            mib(self.before.process.rss),
            mib(self.peak(|sample| sample.process.rss)),
            mib(self.after.process.rss),
            settled,
            descriptors,
            self.after.process.descriptors,
            tasks,
            self.after.metric("tasks"),
            self.noticed.percentile(50).as_millis(),
            self.noticed.percentile(99).as_millis(),
            self.noticed.longest().as_millis(),
            self.noticed.calls.last().copied().unwrap_or_default().as_millis(),
        )
    }
}

/// Prints what the table is compared with, and its head.
pub fn head(quiet: &Level, undisturbed: &Noticed, time: Duration) {
    say(&format!(
        "quiet: {} KiB, {} descriptors, {} tasks; a post takes {:?} (p50), {:?} (p99), {:?} at most; waves of {time:.1?}",
        quiet.rss,
        quiet.descriptors,
        quiet.tasks,
        undisturbed.percentile(50),
        undisturbed.percentile(99),
        undisturbed.longest(),
    ));
    say(
        "                                             allocated, MiB       resident, MiB     settled descriptors     tasks     bystanders, ms",
    );
    say(
        "wave                       sent refused before   peak  after before   peak  after      s  peak/after peak/after   p50   p99    max   call",
    );
}
