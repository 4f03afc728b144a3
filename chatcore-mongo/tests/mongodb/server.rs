//! A server of a test's own, to be stopped and started. Needs a `mongod`, whose path is in `MONGOD`.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use chatcore_mongo::MongoOptions;
use mongodb::Client;
use mongodb::bson::{Document, doc};
use mongodb::options::ClientOptions;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::say;

pub(crate) struct Server {
    program: String,
    folder: TempDir,
    port: u16,
    is_set: bool,
    process: Child,
}

impl Server {
    /// None, and a line that says so, where the environment names no program.
    pub(crate) async fn start(is_set: bool) -> Option<Self> {
        let mut server = Self::launch(is_set)?;
        server.wait(is_set).await;
        Some(server)
    }

    fn launch(is_set: bool) -> Option<Self> {
        let Ok(program) = std::env::var("MONGOD") else {
            say("MONGOD is not set: not tested with a server that stops");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = launch(&program, &folder, port, is_set);
        Some(Self { program, folder, port, is_set, process })
    }

    /// Until it answers at all.
    async fn answers(&self) {
        for _ in 0..300 {
            if self.command(doc! { "hello": 1 }).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the server does not come up");
    }

    pub(crate) fn options(&self) -> MongoOptions {
        let set = if self.is_set { "?replicaSet=rs0" } else { "" };
        MongoOptions::from_url(&format!("mongodb://127.0.0.1:{}/{set}", self.port)).unwrap()
    }

    /// Without a chance to write anything more.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    pub(crate) async fn start_again(&mut self) {
        self.process = launch(&self.program, &self.folder, self.port, self.is_set);
        self.wait(false).await;
    }

    /// Runs a command on the server itself, whether it is a primary or not.
    pub(crate) async fn command(&self, command: Document) -> Result<Document, mongodb::error::Error> {
        let url = format!("mongodb://127.0.0.1:{}/?directConnection=true", self.port);
        let mut options = ClientOptions::parse(url).await?;
        options.server_selection_timeout = Some(Duration::from_secs(1));
        Client::with_options(options)?.database("admin").run_command(command).await
    }

    /// Until it answers; as a set, until it has a primary.
    async fn wait(&mut self, initiate: bool) {
        let mut left = 300;
        loop {
            if let Ok(hello) = self.command(doc! { "hello": 1 }).await {
                if !self.is_set || hello.get_bool("isWritablePrimary").is_ok_and(|is| is) {
                    return;
                }
                if initiate && !hello.contains_key("setName") {
                    let member = doc! { "_id": 0, "host": format!("127.0.0.1:{}", self.port) };
                    let set = doc! { "_id": "rs0", "members": [member] };
                    self.command(doc! { "replSetInitiate": set }).await.unwrap();
                }
            }
            left -= 1;
            assert!(left > 0, "the server does not come up");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Several servers that are one replica set.
pub(crate) struct Set {
    nodes: Vec<Server>,
}

impl Set {
    /// None, and a line that says so, where the environment names no program.
    pub(crate) async fn start(size: usize) -> Option<Self> {
        let mut nodes = Vec::with_capacity(size);
        for _ in 0..size {
            nodes.push(Server::launch(true)?);
        }
        for node in &mut nodes {
            node.answers().await;
        }
        let member = |(index, node): (usize, &Server)| {
            doc! { "_id": i32::try_from(index).unwrap(), "host": format!("127.0.0.1:{}", node.port) }
        };
        let members: Vec<Document> = nodes.iter().enumerate().map(member).collect();
        // As fast as it goes: the heartbeats are every second, and an election begins after two without one.
        let settings = doc! { "heartbeatIntervalMillis": 500, "electionTimeoutMillis": 2000 };
        let set = doc! { "_id": "rs0", "members": members, "settings": settings };
        nodes[0].command(doc! { "replSetInitiate": set }).await.unwrap();
        let set = Self { nodes };
        set.primary().await;
        Some(set)
    }

    pub(crate) fn options(&self) -> MongoOptions {
        let hosts: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        MongoOptions::from_url(&format!("mongodb://{}/?replicaSet=rs0", hosts.join(","))).unwrap()
    }

    /// Which node is the primary, as soon as one is.
    pub(crate) async fn primary(&self) -> usize {
        for _ in 0..600 {
            for (index, node) in self.nodes.iter().enumerate() {
                let hello = node.command(doc! { "hello": 1 }).await;
                if hello.is_ok_and(|hello| hello.get_bool("isWritablePrimary").is_ok_and(|is| is)) {
                    return index;
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("no primary is elected");
    }

    pub(crate) fn node(&mut self, index: usize) -> &mut Server {
        &mut self.nodes[index]
    }
}

fn launch(program: &str, folder: &TempDir, port: u16, is_set: bool) -> Child {
    let mut command = Command::new(program);
    command.args(["--bind_ip", "127.0.0.1", "--wiredTigerCacheSizeGB", "0.25", "--port", &port.to_string()]);
    command.arg("--dbpath").arg(folder.path()).arg("--unixSocketPrefix").arg(folder.path());
    if is_set {
        command.args(["--replSet", "rs0"]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap()
}
