//! A run: servers, clients, faults, the end, and the check.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::check::{Record, Stored, Violation};
use crate::client::{Client, PASSWORD, World};
use crate::history::{Content, History, Room, User, What};
use crate::place::{Failure, Limits, Place, Store};
use crate::random::Random;
use crate::rest::Rest;
use crate::say;
use crate::socket::Names;

/// How long after the last fault every socket has to have come to the end of every log.
const CATCH_UP: Duration = Duration::from_secs(30);
/// How soon presence is the truth: 10 s after the last connection, and the rounds that find it.
const PRESENCE: Duration = Duration::from_secs(15);

/// What is to be played.
#[derive(Debug, Clone)]
pub struct Plan {
    /// A program that is a server when its first argument is `serve`.
    pub program: PathBuf,
    /// Servers that run already, and are left alone; none: they are started.
    pub servers: Vec<SocketAddr>,
    /// Where everything is stored.
    pub store: Store,
    /// Server processes.
    pub nodes: usize,
    /// People.
    pub users: usize,
    /// Groups; there is a direct room for every three people.
    pub groups: usize,
    /// How long clients and faults go on.
    pub time: Duration,
    /// The same script for the same seed.
    pub seed: u64,
    /// Whether servers and databases are killed and stopped.
    pub faults: bool,
    /// A defect that the servers are to have.
    pub defect: Option<&'static str>,
}

/// What came out.
#[derive(Debug)]
pub struct Report {
    /// Everything that is known.
    pub record: Record,
    /// What is not as it was promised.
    pub violations: Vec<Violation>,
    /// What happened, in numbers.
    pub figures: String,
}

/// Plays a plan, and checks what came out.
///
/// # Errors
/// When the check itself cannot go on: a server that does not come up again, a client that does not come to an end.
pub async fn run(plan: &Plan) -> Result<Report, Failure> {
    let place = match plan.servers.as_slice() {
        [] => Some(Place::start(&plan.program, plan.store, plan.nodes, Limits::Lifted, plan.defect).await?),
        _ => None,
    };
    let nodes: Vec<SocketAddr> = match &place {
        Some(place) => place.servers.iter().map(|server| server.address).collect(),
        None => plan.servers.clone(),
    };
    let world = Arc::new(people(plan, nodes).await?);
    let clients: Vec<_> = (0..plan.users)
        .map(|user| tokio::spawn(Client::new(user, world.clone(), Random::new(plan.seed, user as u64 + 1)).live()))
        .collect();
    let place = match place {
        Some(place) => Some(faults(plan, place, &world).await?),
        None => {
            tokio::time::sleep(plan.time).await;
            None
        }
    };
    let began = Instant::now();
    let stage = |what: &str| {
        world.history.note(usize::MAX, What::Note(what.to_owned()));
        say(&format!("{:.1} s after the faults: {what}", began.elapsed().as_secs_f64()));
    };
    stage("the clients come to an end");
    world.over.store(true, Ordering::Relaxed);
    let mut settled = Vec::new();
    for client in clients {
        settled.push(client.await??);
    }
    let mut violations = Vec::new();
    stage("every client has come to its end");
    let marks = marks(&mut settled, &world).await?;
    stage("the last messages are posted");
    violations.extend(stragglers(&mut settled, &world, &marks).await?);
    stage("all that was to arrive was waited for");
    if world.nodes.len() == 1 {
        violations.extend(listeners(&mut settled, &world).await?);
    }
    // Presence takes its time. Other nodes do not know of it without a relay, and no defect is about it.
    if world.nodes.len() == 1 && plan.defect.is_none() {
        violations.extend(presence(&mut settled, &world).await?);
    }
    let mut record = read(&mut settled, &world).await?;
    if place.is_some() {
        violations.extend(left_behind(&mut settled, &world).await?);
    }
    record.nodes = world.nodes.len();
    record.entries = world.history.take();
    violations.extend(record.check());
    drop(place);
    let figures = figures(&record);
    Ok(Report { record, violations, figures })
}

fn figures(record: &Record) -> String {
    let count = |of: fn(&What) -> bool| record.entries.iter().filter(|entry| of(&entry.what)).count();
    format!(
        "{} calls, {} sockets, {} events delivered, {} stored, {} faults",
        count(|what| matches!(what, What::Called { .. })),
        count(|what| matches!(what, What::Opened { .. })),
        count(|what| matches!(what, What::Got { .. })),
        record.logs.iter().map(Vec::len).sum::<usize>(),
        count(|what| matches!(what, What::Fault(_))),
    )
}

/// Registers everybody, and makes the rooms.
async fn people(plan: &Plan, nodes: Vec<SocketAddr>) -> Result<World, Failure> {
    let (rest, address) = (Rest::default(), nodes[0]);
    // A server that runs already may know those of an earlier run.
    let run = getrandom::u64()? >> 16;
    let logins: Vec<String> = (0..plan.users).map(|number| format!("u{run:x}.{number}")).collect();
    let mut users = Vec::new();
    let mut tokens = Vec::new();
    for name in &logins {
        let new = json!({"username": name, "email": format!("{name}@example.org"), "password": PASSWORD});
        let answer = rest.call(address, "POST", "/auth/register", "", Some(&new)).await?;
        users.push(answer.body["id"].as_str().ok_or_else(|| format!("not registered: {answer:?}"))?.to_owned());
        let login = json!({"login": name, "password": PASSWORD});
        let answer = rest.call(address, "POST", "/auth/login", "", Some(&login)).await?;
        tokens.push(answer.body["access_token"].as_str().ok_or("no token")?.to_owned());
    }
    let mut random = Random::new(plan.seed, 0);
    let (mut rooms, mut members, mut direct) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..plan.groups + plan.users / 3 {
        let owner = number % plan.users;
        let is_direct = number >= plan.groups;
        let others: Vec<User> = if is_direct {
            vec![(owner + 1 + number / plan.users) % plan.users]
        } else {
            (0..plan.users).filter(|user| *user != owner && random.percent(60)).collect()
        };
        let body = if is_direct {
            json!({"kind": "direct", "user_id": users[others[0]]})
        } else {
            let ids: Vec<&String> = others.iter().map(|user| &users[*user]).collect();
            json!({"kind": "group", "name": format!("group {number}"), "member_ids": ids})
        };
        let answer = rest.call(address, "POST", "/chat-rooms", &tokens[owner], Some(&body)).await?;
        let id = answer.body["id"].as_str().ok_or_else(|| format!("no room: {answer:?}"))?.to_owned();
        if rooms.contains(&id) {
            continue;
        }
        rooms.push(id);
        members.push(std::iter::once(owner).chain(others).collect());
        direct.push(is_direct);
    }
    Ok(World {
        history: Arc::new(History::default()),
        names: Arc::new(Names::new(users, rooms)),
        members,
        direct,
        nodes,
        logins,
        over: AtomicBool::new(false),
    })
}

/// Does things to servers and databases until the time is over; everything works again then.
async fn faults(plan: &Plan, mut place: Place, world: &World) -> Result<Place, Failure> {
    let end = Instant::now() + plan.time;
    let mut random = Random::new(plan.seed, u64::MAX);
    let pause = |random: &mut Random| Duration::from_millis(1500 + random.below(4500));
    loop {
        let next = Instant::now() + pause(&mut random);
        tokio::time::sleep_until(next.min(end)).await;
        if Instant::now() >= end {
            return Ok(place);
        }
        if plan.faults {
            fault(&mut place, world, &mut random).await?;
        }
    }
}

async fn fault(place: &mut Place, world: &World, random: &mut Random) -> Result<(), Failure> {
    let note = |what: String| world.history.note(usize::MAX, What::Fault(what));
    let over = |what: String| world.history.note(usize::MAX, What::Note(what));
    let time = Duration::from_millis(500 + random.below(3500));
    let node = random.index(place.servers.len());
    match random.below(100) {
        0..30 if place.durable => {
            note(format!("node {node} is killed"));
            place.servers[node].kill().await?;
            place.servers[node].start().await?;
            over(format!("node {node} is back"));
        }
        30..45 if place.durable => {
            note(format!("node {node} is asked to stop"));
            place.servers[node].stop().await?;
            place.servers[node].start().await?;
            over(format!("node {node} is back"));
        }
        45..75 if !place.databases.is_empty() => {
            let database = &place.databases[random.index(place.databases.len())];
            if random.percent(60) {
                note(format!("{} is killed", database.name));
                database.kill().await?;
                database.restart().await?;
                over(format!("{} is back", database.name));
            } else {
                note(format!("{} is stopped for {time:?}", database.name));
                database.pause(time).await?;
                over(format!("{} goes on", database.name));
            }
        }
        _ => {
            note(format!("node {node} is stopped for {time:?}"));
            place.servers[node].pause(time).await?;
            over(format!("node {node} goes on"));
        }
    }
    Ok(())
}

/// The last message of every room, by its owner.
async fn marks(clients: &mut [Client], world: &World) -> Result<Vec<u64>, Failure> {
    for client in clients.iter_mut() {
        client.reconcile().await?;
    }
    // On other nodes a block may hold for so long.
    if world.nodes.len() > 1 {
        tokio::time::sleep(Duration::from_secs(6)).await;
    }
    let mut marks = Vec::new();
    for room in 0..world.members.len() {
        marks.push(clients[world.owner(room)].mark(room).await?);
    }
    Ok(marks)
}

/// Opens the sockets that have ended, with what kept anybody from it.
async fn reopen(clients: impl Iterator<Item = &mut Client>, trouble: &mut HashMap<User, Failure>) {
    for client in clients {
        match client.ready().await {
            Ok(()) => _ = trouble.remove(&client.user),
            Err(error) => _ = trouble.insert(client.user, error),
        }
    }
}

/// Clients that do not come to the last message of each of their rooms, by as many sockets as it takes: those of a token that runs out are ended.
async fn stragglers(clients: &mut [Client], world: &World, marks: &[u64]) -> Result<Vec<Violation>, Failure> {
    let mut wanted: HashMap<(User, Room), u64> = HashMap::new();
    for (user, client) in clients.iter_mut().enumerate() {
        let page = client.get("/chat-rooms?limit=100").await?;
        let rooms = page["items"].as_array().into_iter().flatten().filter_map(|room| world.names.of(&room["id"]));
        wanted.extend(rooms.map(|room| ((user, room), marks[room])));
    }
    let until = Instant::now() + CATCH_UP;
    let mut trouble = HashMap::new();
    while !wanted.is_empty() && Instant::now() < until {
        let late: BTreeSet<User> = wanted.keys().map(|(user, _)| *user).collect();
        reopen(clients.iter_mut().filter(|client| late.contains(&client.user)), &mut trouble).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        wanted.retain(|(user, room), mark| clients[*user].positions().get(room).is_none_or(|seen| seen < mark));
    }
    let late = wanted.into_iter().map(|((user, room), mark)| {
        let seen = clients[user].positions().get(&room).copied().unwrap_or(0);
        let open = clients[user].main_socket().map(|socket| socket.id);
        let trouble = trouble.get(&user);
        let what = format!(
            "user {user}, room {room}: at {seen} of {mark} after {CATCH_UP:?}; its socket is {open:?}, its trouble {trouble:?}"
        );
        Violation::met("every client arrives", what).shown_by(world.history.last_of_sockets(user))
    });
    Ok(late.collect())
}

/// The sockets that are counted as listening to a room are those that do.
async fn listeners(clients: &mut [Client], world: &World) -> Result<Vec<Violation>, Failure> {
    clients.iter_mut().for_each(Client::leave_others);
    let until = Instant::now() + PRESENCE;
    let mut trouble = HashMap::new();
    loop {
        reopen(clients.iter_mut(), &mut trouble).await;
        let mut listening: HashMap<Room, u64> = HashMap::new();
        for client in clients.iter_mut().filter(|client| client.main_socket().is_some()) {
            let page = client.get("/chat-rooms?limit=100").await?;
            let rooms = page["items"].as_array().into_iter().flatten();
            for room in rooms.filter_map(|room| world.names.of(&room["id"])) {
                *listening.entry(room).or_default() += 1;
            }
        }
        let mut wrong = Vec::new();
        for (room, id) in world.names.rooms.iter().enumerate() {
            let told = clients[world.owner(room)].get(&format!("/ws/rooms/{id}/status")).await?;
            let truth = listening.get(&room).copied().unwrap_or(0);
            if told["connections"].as_u64() != Some(truth) {
                let what = format!("{} sockets are counted in room {room}, and {truth} listen", told["connections"]);
                wrong.push(Violation::met("listeners are counted", what));
            }
        }
        if wrong.is_empty() || Instant::now() > until {
            return Ok(wrong);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// When all clients have gone, no server holds anything for them, and none of its tasks has panicked.
async fn left_behind(clients: &mut [Client], world: &World) -> Result<Vec<Violation>, Failure> {
    const NOTHING: [&str; 5] = ["sockets", "connections", "rooms_listened", "drafts_waiting", "task_panics_total"];
    clients.iter_mut().for_each(Client::leave);
    let until = Instant::now() + PRESENCE;
    let rest = Rest::default();
    loop {
        let mut wrong = Vec::new();
        for (node, address) in world.nodes.iter().enumerate() {
            let metrics = rest.text(*address, "/metrics").await?;
            for name in NOTHING {
                let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("chatcore_{name} ")));
                if line != Some("0") {
                    let what = format!("node {node} has {name} {line:?} when all clients have gone");
                    wrong.push(Violation::met("nothing is left behind", what));
                }
            }
        }
        if wrong.is_empty() || Instant::now() > until {
            return Ok(wrong);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Whoever has a socket is shown as there, and whoever has none is not, within the bound.
async fn presence(clients: &mut [Client], world: &World) -> Result<Vec<Violation>, Failure> {
    for client in clients.iter_mut().skip(1).step_by(2) {
        client.leave();
    }
    let until = Instant::now() + PRESENCE;
    let mut trouble = HashMap::new();
    loop {
        reopen(clients.iter_mut().step_by(2), &mut trouble).await;
        let mut wrong = Vec::new();
        for user in 0..world.names.users.len() {
            let path = format!("/users/{}", world.names.users[user]);
            let told = clients[0].get(&path).await?;
            let truth = if user % 2 == 0 { "online" } else { "offline" };
            if told["presence"]["status"] != truth {
                let (open, trouble) = (clients[user].main_socket().is_some(), trouble.get(&user));
                let what = format!(
                    "user {user} is shown {}, and is {truth} (socket open: {open}, trouble: {trouble:?})",
                    told["presence"]
                );
                wrong.push(Violation::met("presence settles", what));
            }
        }
        if wrong.is_empty() || Instant::now() > until {
            return Ok(wrong);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// What is stored, as the owners are told of it.
async fn read(clients: &mut [Client], world: &World) -> Result<Record, Failure> {
    let mut record = Record::default();
    for (room, id) in world.names.rooms.iter().enumerate() {
        let owner = &mut clients[world.owner(room)];
        let (mut log, mut messages) = (Vec::new(), Vec::new());
        loop {
            let page = owner.get(&format!("/chat-rooms/{id}/events?after={}&limit=100", log.len())).await?;
            let items = page["items"].as_array().ok_or("a page has no items")?;
            log.extend(items.iter().map(|event| stored(&world.names, event)));
            if page["more"] == false {
                break;
            }
        }
        let mut after = 0;
        loop {
            let page = owner.get(&format!("/messages/{id}?after={after}&limit=100")).await?;
            let items = page["items"].as_array().ok_or("a page has no items")?;
            messages.extend(items.iter().cloned());
            after = items.last().and_then(|message| message["seq"].as_u64()).unwrap_or(after);
            if page["has_after"] == false {
                break;
            }
        }
        record.logs.push(log);
        record.messages.push(messages);
        if world.direct[room] {
            record.pairs.insert(room, [world.members[room][0], world.members[room][1]]);
        }
    }
    for client in clients {
        let page = client.get("/chat-rooms?limit=100").await?;
        for summary in page["items"].as_array().into_iter().flatten() {
            if let Some(room) = world.names.of(&summary["id"]) {
                record.summaries.push((client.user, room, summary.clone()));
            }
        }
    }
    Ok(record)
}

fn stored(names: &Names, event: &Value) -> Stored {
    Stored {
        content: Content::of(event),
        actor: names.of(&event["actor"]),
        subject: names.of(&event["data"]["user"]),
        value: event.clone(),
    }
}

/// Prints what came out; answers whether everything was as promised.
pub fn tell(plan: &Plan, report: &Report) -> bool {
    let place = match plan.servers.as_slice() {
        [] => format!("{:?}, {} node(s)", plan.store, plan.nodes),
        servers => format!("{servers:?}"),
    };
    let what = format!("{place}, {:?}, seed {}", plan.time, plan.seed);
    say(&format!("{what}: {}", report.figures));
    for violation in &report.violations {
        say(&violation.show(&report.record).to_string());
    }
    say(&match report.violations.len() {
        0 => format!("{what}: every promise was kept"),
        count => format!("{what}: {count} violation(s)"),
    });
    report.violations.is_empty()
}
