//! The soak: attackers of every kind against a server with the limits that everybody gets, in waves, while its memory, descriptors, tasks and
//! maps, and the latency of two bystanders, are watched from outside. What a wave has taken has to be given back, and nothing may grow from wave
//! to wave.

pub mod attack;
pub mod bystander;
pub mod heap;
pub mod people;
pub mod verdict;
pub mod watch;
pub mod wave;
pub mod wire;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::place::{Failure, Limits, Place, Store};
use crate::say;
use attack::{Family, Field, Ground, KINDS, Kind};
use bystander::{Bystanders, Noticed};
use people::Person;
use watch::{Sample, Watch};
use wave::{Level, Played, Wave};

/// Where the bystanders and the watch are; whoever attacks has other addresses.
const BYSTANDERS: [Ipv4Addr; 4] = [
    Ipv4Addr::new(127, 0, 1, 1),
    Ipv4Addr::new(127, 0, 1, 2),
    Ipv4Addr::new(127, 0, 1, 3),
    Ipv4Addr::new(127, 0, 1, 4),
];
/// How long the quiet before the first wave is.
const QUIET: Duration = Duration::from_secs(3);
/// How long what a wave has taken may take to come back. Heads, pings and byes have 10 s and less.
const SETTLING: Duration = Duration::from_secs(20);
/// How long it has to be quiet before the next wave.
const CALM: Duration = Duration::from_millis(300);
/// Time after which attackers get new tokens, which are good for 15 minutes.
const REFRESH_EVERY: Duration = Duration::from_secs(300);

/// What is to be played.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The program that serves when its first argument is `serve`.
    pub program: PathBuf,
    /// Where the server stores.
    pub store: Store,
    /// How long, in all.
    pub time: Duration,
    /// The seed of everything random.
    pub seed: u64,
    /// Kinds to play; all, if none is named.
    pub only: Vec<String>,
    /// Whether each kind is played in waves of its own.
    pub apart: bool,
    /// A deliberate defect of the server.
    pub defect: Option<&'static str>,
}

/// Kinds that are played at once.
#[derive(Debug)]
struct Group {
    name: String,
    kinds: Vec<&'static Kind>,
}

impl Plan {
    fn groups(&self) -> Vec<Group> {
        let chosen = |kind: &&Kind| self.only.is_empty() || self.only.iter().any(|name| name == kind.name);
        let kinds: Vec<&'static Kind> = KINDS.iter().filter(chosen).collect();
        if self.apart || !self.only.is_empty() {
            return kinds.into_iter().map(|kind| Group { name: kind.name.to_owned(), kinds: vec![kind] }).collect();
        }
        let families = [Family::Sockets, Family::Handshakes, Family::Http1, Family::Http2];
        let group = |family: Family| {
            let kinds = kinds.iter().copied().filter(|kind| kind.family == family).collect();
            Group { name: format!("{family:?}").to_lowercase(), kinds }
        };
        families.map(group).into()
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// The server before the first wave.
    pub quiet: Level,
    /// What the bystanders noticed then.
    pub undisturbed: Noticed,
    /// Every wave.
    pub waves: Vec<Wave>,
    /// A line for each promise that was not kept.
    pub broken: Vec<String>,
}

/// Plays a plan. The observers' tasks run on the runtime given, so that attackers do not hold them up.
///
/// # Errors
/// When the server does not start, ends, or refuses what everybody may.
pub async fn run(plan: &Plan, observers: &Handle) -> Result<Report, Failure> {
    let groups = plan.groups();
    if groups.is_empty() {
        let names: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
        return Err(format!("there is no such kind; there are {}", names.join(", ")).into());
    }
    let began = Instant::now();
    let place = Place::start(&plan.program, plan.store, 1, Limits::Default, plan.defect).await?;
    let server = place.servers.first().ok_or("no server")?;
    let (pid, address) = (server.pid()?, server.address);
    let mut field = Arc::new(prepare(plan, address).await?);
    let (watch, bystanders) = observers.spawn(observe(pid, place.folder.path().to_owned(), address)).await??;
    let (quiet, undisturbed) = {
        tokio::time::sleep(QUIET).await;
        (watch.now().await?, bystanders.take())
    };
    let quiet = Level::of(&quiet);

    // The second of a kind is what the others are compared with.
    let waves = (plan.time.as_secs() / (5 * groups.len() as u64)).clamp(3, 8);
    let rounds = u32::try_from(groups.len() as u64 * waves)?;
    // A second of each round is for the settling.
    let left = plan.time.saturating_sub(began.elapsed()) / rounds;
    let time = left.saturating_sub(Duration::from_secs(1)).max(Duration::from_secs(1));
    wave::head(&quiet, &undisturbed, time);
    let mut report = Report { quiet, undisturbed, waves: Vec::new(), broken: Vec::new() };
    let mut refreshed = Instant::now();
    let mut number = 0;
    for group in &groups {
        for turn in 1..=waves {
            if refreshed.elapsed() > REFRESH_EVERY {
                let Field { people, accountant, .. } = Arc::make_mut(&mut field);
                for person in people.iter_mut().chain([accountant]) {
                    person.refresh().await?;
                }
                refreshed = Instant::now();
            }
            number += 1;
            let ground = Ground::new(&field, number, time);
            let earlier: Vec<&Wave> = report.waves.iter().filter(|wave| wave.group == group.name).collect();
            let allowance = if plan.store == Store::Memory { verdict::STORED_IN_MEMORY } else { 0 };
            let wave = play(group, turn, &ground, &watch, &bystanders, &report.quiet, &earlier, allowance).await?;
            report.waves.push(wave);
            if let Some(wave) = report.waves.last() {
                say(&wave.to_string());
            }
        }
    }
    report.broken = verdict::broken(&report);
    let log = std::fs::read_to_string(place.folder.path().join("server.log")).unwrap_or_default();
    report.broken.extend(log.lines().filter(|line| line.contains("panicked")).map(|line| format!("panic: {line}")));
    Ok(report)
}

async fn observe(pid: u32, folder: PathBuf, server: std::net::SocketAddr) -> Result<(Watch, Bystanders), Failure> {
    let [poster, reader, watcher, _] = BYSTANDERS;
    let poster = Person::register(server, "bystander_a", poster).await?;
    let reader = Person::register(server, "bystander_b", reader).await?;
    let room = poster.group("Bystanders", std::slice::from_ref(&reader)).await?;
    let bystanders = Bystanders::start(poster, reader, &room).await?;
    Ok((Watch::start(pid, &folder, server, IpAddr::V4(watcher)), bystanders))
}

/// Registers attackers, and gives them a room with a page of long messages.
async fn prepare(plan: &Plan, server: std::net::SocketAddr) -> Result<Field, Failure> {
    let mut people = Vec::new();
    for number in 1..=4 {
        people.push(Person::register(server, &format!("attacker_{number}"), Ipv4Addr::new(127, 0, 2, number)).await?);
    }
    // Somebody who counts what is stored, and whose budget of calls nobody spends.
    let [.., address] = BYSTANDERS;
    let accountant = Person::register(server, "accountant", address).await?;
    let room = accountant.group("Attackers", &people).await?;
    let mut messages = vec![0; people.len()];
    for number in 0..100 {
        let index = number % people.len();
        let post = json!({"body": "x".repeat(1500), "client_id": format!("page-{number}")});
        let posted = people[index].call("POST", &format!("/messages/{room}"), Some(&post)).await?;
        messages[index] = posted["seq"].as_u64().ok_or("a message without a number")?;
    }
    Ok(Field { server, people, accountant, room, messages, seed: plan.seed })
}

#[expect(clippy::too_many_arguments, reason = "they are what a wave is measured by")]
async fn play(
    group: &Group,
    turn: u64,
    ground: &Ground,
    watch: &Watch,
    bystanders: &Bystanders,
    quiet: &Level,
    earlier: &[&Wave],
    allowance: u64,
) -> Result<Wave, Failure> {
    let events = ground.field.accountant.events().await?;
    let before = watch.now().await?;
    watch.take();
    bystanders.take();
    let began = Instant::now();
    let mut attackers = JoinSet::new();
    for &kind in &group.kinds {
        let ground = ground.counted_apart();
        let (sent, refused) = (ground.sent.clone(), ground.refused.clone());
        let attack = (kind.run)(ground);
        attackers.spawn(async move {
            attack.await;
            let [sent, refused] = [sent, refused].map(|count| count.load(Ordering::Relaxed));
            Played { kind, sent, refused }
        });
    }
    let mut played = Vec::new();
    while let Some(attacker) = attackers.join_next().await {
        played.push(attacker?);
    }
    let during = watch.take();
    let attacked = began.elapsed();
    let noticed = bystanders.take();
    let events = ground.field.accountant.events().await? - events
        + ground.stored.load(Ordering::Relaxed)
        + noticed.posts.len() as u64;
    let mut wave = Wave {
        group: group.name.clone(),
        number: turn,
        attacked,
        played,
        stored: events * allowance,
        peak_allowed: group.kinds.iter().map(|kind| kind.peak * 1024).sum(),
        late_allowed: group.kinds.iter().map(|kind| kind.late * 1024).sum(),
        before,
        during,
        after: Sample::default(),
        settled: None,
        noticed,
        afterwards: Noticed::default(),
    };
    let began = Instant::now();
    let mut calm: Option<Instant> = None;
    while began.elapsed() < SETTLING {
        wave.after = watch.now().await?;
        if verdict::is_calm(&wave, quiet, earlier) {
            let since = *calm.get_or_insert_with(Instant::now);
            if since.elapsed() >= CALM {
                wave.settled = Some(since - began);
                break;
            }
        } else {
            calm = None;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    wave.afterwards = bystanders.take();
    Ok(wave)
}
