//! What the server costs, seen from outside: the kernel's view of its process, and its own metrics.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::place::Failure;
use crate::rest::Rest;

/// Time between two looks at the process.
const PROCESS_EVERY: Duration = Duration::from_millis(50);
/// Time between two looks at the metrics.
const METRICS_EVERY: Duration = Duration::from_millis(500);
/// How long metrics are asked for again.
const METRICS_PATIENCE: Duration = Duration::from_secs(60);

/// What a process holds (proc(5)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Process {
    /// Resident memory, in KiB.
    pub rss: u64,
    /// The most of it that there ever was, in KiB.
    pub highest: u64,
    /// Threads.
    pub threads: u64,
    /// Open descriptors.
    pub descriptors: u64,
}

impl Process {
    /// Looks at a process.
    ///
    /// # Errors
    /// When it is not there.
    pub fn read(pid: u32) -> Result<Self, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            number.ok_or_else(|| format!("/proc/{pid}/status does not tell {name}"))
        };
        Ok(Self {
            rss: value("VmRSS")?,
            highest: value("VmHWM")?,
            threads: value("Threads")?,
            descriptors: std::fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64,
        })
    }
}

/// The server's metrics, by name and label as they are written.
pub type Metrics = BTreeMap<String, f64>;

/// Everything about a server at one moment.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// When, since the watch began.
    pub at: Duration,
    /// Its process.
    pub process: Process,
    /// What it has allocated and not freed, in KiB. What SQLite allocates is not in it.
    pub heap: u64,
    /// Its metrics.
    pub metrics: Metrics,
}

impl Sample {
    /// One of the metrics, without the prefix that they share; 0 where there is none.
    pub fn metric(&self, name: &str) -> u64 {
        let value = self.metrics.get(name).copied().unwrap_or_default();
        // Counts, which a float holds exactly up to 2^53.
        format!("{value:.0}").parse().unwrap_or(0)
    }

    /// The sizes of its maps, by name.
    pub fn maps(&self) -> impl Iterator<Item = (&str, u64)> {
        self.metrics.keys().filter_map(|metric| {
            let map = metric.strip_prefix("map_entries{map=\"")?.strip_suffix("\"}")?;
            Some((map, self.metric(metric)))
        })
    }
}

/// Looks at a server again and again.
#[derive(Debug)]
pub struct Watch {
    looker: Looker,
    seen: Arc<Mutex<Vec<Sample>>>,
    task: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    /// Begins to watch a server that runs in that folder, with calls that come from that address.
    pub fn start(pid: u32, folder: &Path, server: SocketAddr, from: IpAddr) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let looker = Looker { pid, folder: folder.to_owned(), server, rest: Rest::from(from), began: Instant::now() };
        let task = tokio::spawn(looker.clone().look(seen.clone()));
        Self { looker, seen, task }
    }

    /// Looks now.
    ///
    /// # Errors
    /// When the process is gone, or its metrics do not come for a minute.
    pub async fn now(&self) -> Result<Sample, Failure> {
        let asked = Instant::now();
        loop {
            match self.looker.metrics().await {
                Ok(metrics) => return self.looker.sample(metrics),
                // How long others wait is the bystanders' to tell.
                Err(_) if asked.elapsed() < METRICS_PATIENCE => drop(Process::read(self.looker.pid)?),
                Err(error) => return Err(format!("no metrics: {error}").into()),
            }
        }
    }

    /// Takes what was seen since the last time.
    pub fn take(&self) -> Vec<Sample> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[derive(Debug, Clone)]
struct Looker {
    pid: u32,
    folder: PathBuf,
    server: SocketAddr,
    rest: Rest,
    began: Instant,
}

impl Looker {
    async fn look(self, seen: Arc<Mutex<Vec<Sample>>>) {
        let mut latest = Metrics::new();
        let mut asked = None;
        let mut ticks = tokio::time::interval(PROCESS_EVERY);
        let mut answer: Option<JoinHandle<Option<Metrics>>> = None;
        loop {
            ticks.tick().await;
            if let Some(done) = answer.take_if(|answer| answer.is_finished()) {
                // Metrics that do not come are the bystanders' to feel; the next look asks again.
                latest = done.await.ok().flatten().unwrap_or(latest);
            }
            if answer.is_none() && asked.is_none_or(|asked: Instant| asked.elapsed() >= METRICS_EVERY) {
                asked = Some(Instant::now());
                let looker = self.clone();
                answer = Some(tokio::spawn(async move { looker.metrics().await.ok() }));
            }
            // A process that is gone is told of by `now`.
            let Ok(sample) = self.sample(latest.clone()) else { continue };
            seen.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
        }
    }

    fn sample(&self, metrics: Metrics) -> Result<Sample, Failure> {
        let (process, heap) = (Process::read(self.pid)?, super::heap::read(&self.folder)? / 1024);
        Ok(Sample { at: self.began.elapsed(), process, heap, metrics })
    }

    async fn metrics(&self) -> Result<Metrics, Failure> {
        Ok(parse(&self.rest.text(self.server, "/metrics").await?))
    }
}

fn parse(text: &str) -> Metrics {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let values = lines.filter_map(|line| line.strip_prefix("chatcore_")?.rsplit_once(' '));
    values.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_read_as_they_are_written() {
        let text = "# HELP chatcore_tasks Tasks.\nchatcore_tasks 12\nchatcore_map_entries{map=\"a b\"} 3\nother 1\n";
        let sample = Sample { metrics: parse(text), ..Sample::default() };
        assert_eq!((sample.metric("tasks"), sample.metric("nothing")), (12, 0));
        assert_eq!(sample.maps().collect::<Vec<_>>(), [("a b", 3)]);
        assert_eq!(sample.metrics.len(), 2);
    }

    #[test]
    fn a_process_is_looked_at() {
        let own = Process::read(std::process::id()).unwrap();
        assert!(own.rss > 0 && own.highest >= own.rss && own.threads > 0 && own.descriptors > 2);
    }
}
