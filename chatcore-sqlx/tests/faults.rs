//! What happens to a database while 64 people post: it is killed, cut off, filled up, held by another node. Whatever was acknowledged is there once.
//!
//! MariaDB is started by `scripts/mariadb.sh`, where there is a server to start; MySQL by the script that `MYSQL_SERVER` names, which takes the
//! same words. Tests that need no server of their own run on those that `CHATCORE_TEST_MARIADB` and `CHATCORE_TEST_MYSQL` name.
#![cfg(all(feature = "mysql", feature = "sqlite", feature = "testing"))]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stderr, reason = "a test that cannot run says so")]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use chatcore::store::{AppendOutcome, MarkerWrite};
use chatcore::testing::faults::{Load, rides_out};
use chatcore::testing::fixtures::{at, group, post, room_id, seq, session, session_id, token, user_id};
use chatcore_sqlx::testing::TemporaryDatabase;
use chatcore_sqlx::{MySqlOptions, MySqlStore, SqliteOptions, SqliteStore};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, Row as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// How long after a database is back everything has to work again.
const RECOVERY: Duration = Duration::from_secs(10);

/// A server of a test's own.
struct Server {
    script: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
}

impl Server {
    fn maria() -> Option<Self> {
        let there = ["/usr/sbin/mariadbd", "/usr/bin/mariadbd"].iter().any(|path| Path::new(path).exists());
        if !there && std::env::var_os("MARIADBD").is_none() {
            eprintln!("there is no mariadbd: not tested");
            return None;
        }
        Some(Self::start(Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/mariadb.sh")))
    }

    fn mysql() -> Option<Self> {
        let Some(script) = std::env::var_os("MYSQL_SERVER") else {
            eprintln!("MYSQL_SERVER is not set: not tested with a server that is killed");
            return None;
        };
        Some(Self::start(script.into()))
    }

    fn start(script: PathBuf) -> Self {
        let folder = tempfile::Builder::new().prefix("chat").tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self { script, folder, port };
        server.run("start");
        server
    }

    fn run(&self, action: &str) {
        let mut command = Command::new(&self.script);
        command.arg(action).arg(self.folder.path()).arg(self.port.to_string());
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap();
        assert!(status.success(), "{action}: {status}");
    }

    fn url(&self) -> String {
        format!("mysql://root@127.0.0.1:{}", self.port)
    }

    async fn connection(&self) -> MySqlConnection {
        self.url().parse::<MySqlConnectOptions>().unwrap().connect().await.unwrap()
    }

    /// Without a chance to write anything more.
    async fn kill(&self) {
        let pid: String =
            sqlx::query("SELECT @@pid_file").fetch_one(&mut self.connection().await).await.unwrap().get(0);
        // MariaDB names it after the host, in the folder of its data.
        let path = self.folder.path().join("data").join(pid);
        let pid = std::fs::read_to_string(path).unwrap();
        let killed = Command::new("kill").args(["-9", pid.trim()]).status().unwrap();
        assert!(killed.success());
        while Path::new("/proc").join(pid.trim()).join("exe").exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut stop = Command::new(&self.script);
        stop.arg("stop").arg(self.folder.path()).arg(self.port.to_string());
        // The folder goes with it; what cannot be stopped any more is gone.
        if !stop.stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
            eprintln!("a server was not stopped");
        }
    }
}

async fn survives_a_kill(server: Option<Server>) {
    let Some(server) = server else { return };
    let database = TemporaryDatabase::create(&server.url()).await.unwrap();
    let storage = database.store().await.unwrap().storage();
    let recovery = rides_out(&storage, || async {
        server.kill().await;
        server.run("start");
    })
    .await;
    assert!(recovery < RECOVERY, "{recovery:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_that_is_killed_keeps_what_it_acknowledged() {
    survives_a_kill(Server::maria()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mysql_that_is_killed_keeps_what_it_acknowledged() {
    survives_a_kill(Server::mysql()).await;
}

/// A database on the server that the variable names.
async fn on(variable: &str) -> Option<TemporaryDatabase> {
    let Ok(url) = std::env::var(variable) else {
        eprintln!("{variable} is not set: not tested");
        return None;
    };
    Some(TemporaryDatabase::create(&url).await.unwrap())
}

/// Kills every connection to the database, ten times in a second.
async fn cut(database: &TemporaryDatabase) {
    let mut own = database.connect_options().connect().await.unwrap();
    let name: String = sqlx::query_scalar("SELECT database()").fetch_one(&mut own).await.unwrap();
    let mut killed = 0;
    for _ in 0..10 {
        let ids: Vec<u64> = sqlx::query_scalar(
            "SELECT CAST(id AS UNSIGNED) FROM information_schema.processlist WHERE db = ? AND id <> connection_id()",
        )
        .bind(&name)
        .fetch_all(&mut own)
        .await
        .unwrap();
        for id in ids {
            // One that has ended by itself since cannot be killed.
            if own.execute(AssertSqlSafe(format!("KILL CONNECTION {id}"))).await.is_ok() {
                killed += 1;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(killed >= 10, "{killed} connections were cut");
    own.close().await.unwrap();
}

async fn survives_cuts(variable: &str) {
    let Some(database) = on(variable).await else { return };
    let storage = database.store().await.unwrap().storage();
    let recovery = rides_out(&storage, || cut(&database)).await;
    assert!(recovery < RECOVERY, "{recovery:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_mariadb_are_cut() {
    survives_cuts("CHATCORE_TEST_MARIADB").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_mysql_are_cut() {
    survives_cuts("CHATCORE_TEST_MYSQL").await;
}

/// Two nodes append to the same rooms at once.
async fn two_nodes(variable: &str) {
    let Some(database) = on(variable).await else { return };
    let nodes = [database.store().await.unwrap().storage(), database.store().await.unwrap().storage()];
    let mut load = Load::start(&nodes).await;
    load.acknowledges(1000).await;
    load.finish(&nodes[1]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_share_mariadb() {
    two_nodes("CHATCORE_TEST_MARIADB").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_share_mysql() {
    two_nodes("CHATCORE_TEST_MYSQL").await;
}

/// Carries bytes to and from a server, or holds them: then nothing moves, and neither side is told.
struct Network {
    port: u16,
    holds: watch::Sender<bool>,
}

impl Network {
    /// To the server of that database.
    async fn of(database: &TemporaryDatabase) -> Self {
        let (host, port) = (database.connect_options().get_host().to_owned(), database.connect_options().get_port());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (holds, held) = watch::channel(false);
        let network = Self { port: listener.local_addr().unwrap().port(), holds };
        tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let far = TcpStream::connect((host.as_str(), port)).await.unwrap();
                tokio::spawn(carry(near, far, held.clone()));
            }
        });
        network
    }

    /// How to reach the database by it.
    fn options(&self, database: &TemporaryDatabase) -> MySqlOptions {
        MySqlOptions::new(database.connect_options().host("127.0.0.1").port(self.port))
    }
}

/// Until either side closes, or the test is over.
async fn carry(mut near: TcpStream, mut far: TcpStream, held: watch::Receiver<bool>) {
    let becomes = |wanted: bool| {
        let mut held = held.clone();
        async move { held.wait_for(|held| *held == wanted).await.is_ok() }
    };
    let mut copy = std::pin::pin!(tokio::io::copy_bidirectional(&mut near, &mut far));
    loop {
        tokio::select! {
            biased;
            there = becomes(true) => if !(there && becomes(false).await) { return },
            _ = &mut copy => return,
        }
    }
}

/// A node vanishes in the middle of an append, with the room locked, and nothing tells the server. Others wait no longer than its connection may be idle.
async fn vanishes(variable: &str) {
    let Some(database) = on(variable).await else { return };
    let network = Network::of(&database).await;
    let options = network.options(&database);
    let options = options.lock_timeout(Duration::from_secs(30)).idle_timeout(Duration::from_secs(1));
    let there = MySqlStore::open(&options).await.unwrap().storage();
    let here = database.store().await.unwrap().storage();
    let draft = |key: &str| [post(room_id(1), user_id(1), key, "text")];
    there.messages.append(&draft("1"), 20).await.unwrap();
    // So that it is in the middle when the network goes: it waits for the room.
    let mut other = database.connect_options().connect().await.unwrap();
    other.execute("BEGIN; SELECT * FROM chat_heads FOR UPDATE").await.unwrap();
    let append = tokio::spawn(async move { there.messages.append(&draft("2"), 20).await });
    let waits = "SELECT COUNT(*) FROM information_schema.innodb_trx JOIN information_schema.processlist \
                 ON id = trx_mysql_thread_id WHERE db = database() AND trx_state = 'LOCK WAIT'";
    let mut observer = database.connect_options().connect().await.unwrap();
    while sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut observer).await.unwrap() == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    network.holds.send(true).unwrap();
    other.execute("ROLLBACK").await.unwrap();
    let began = Instant::now();
    let outcomes = loop {
        match here.messages.append(&draft("3"), 20).await {
            Ok(outcomes) => break outcomes,
            Err(error) => assert!(error.retryable() && began.elapsed() < RECOVERY, "{error:?}"),
        }
    };
    let waited = began.elapsed();
    assert!(waited > Duration::from_millis(500), "nobody was in the way: {waited:?}");
    assert!(matches!(outcomes[..], [AppendOutcome::Appended(seq)] if seq.number() == 2), "{outcomes:?}");
    append.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_on_mariadb_vanishes() {
    vanishes("CHATCORE_TEST_MARIADB").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_on_mysql_vanishes() {
    vanishes("CHATCORE_TEST_MYSQL").await;
}

/// Callers go away while their transaction begins, because the database takes long. Nobody after them finds himself in it: what is read is what is
/// there, and what is written is committed.
async fn given_up(variable: &str) {
    let Some(database) = on(variable).await else { return };
    let network = Network::of(&database).await;
    let options = network.options(&database).readers(1);
    let storage = MySqlStore::open(&options).await.unwrap().storage();
    let here = database.store().await.unwrap().storage();
    let (one, two) = (user_id(1), user_id(2));
    let relation = async || storage.friendships.relation(one, two).await.unwrap();
    let held = async |call: &mut (dyn Future<Output = ()> + Unpin)| {
        // The pool looks at what it gets back, and tells nobody when it has. So soon after that it is not asked again before it is used.
        tokio::time::sleep(Duration::from_millis(200)).await;
        network.holds.send(true).unwrap();
        tokio::time::timeout(Duration::from_millis(100), call).await.unwrap_err();
        network.holds.send(false).unwrap();
    };

    relation().await;
    let mut gives_up = Box::pin(async { _ = relation().await });
    held(&mut gives_up).await;
    drop(gives_up);
    assert!(storage.rooms.memberships(one).await.unwrap().is_empty());
    here.rooms.create(&group(1, &[one])).await.unwrap();
    assert_eq!(storage.rooms.memberships(one).await.unwrap().len(), 1, "made since");

    // Several, so that each connection has its turn.
    for n in 1..=10 {
        storage.sessions.create(&session(n, one), &token(n.into())).await.unwrap();
    }
    let markers = [MarkerWrite { room: room_id(1), user: one, seq: seq(1) }];
    let mut gives_up = Box::pin(async { storage.rooms.mark_read(&markers).await.unwrap() });
    held(&mut gives_up).await;
    drop(gives_up);
    let ids: Vec<_> = (1..=10).map(session_id).collect();
    for id in &ids {
        assert!(storage.sessions.end(one, *id).await.unwrap());
    }
    assert_eq!(here.sessions.alive(&ids, at(0)).await.unwrap(), [], "all were ended, as was acknowledged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_begin_on_mariadb_is_given_up() {
    given_up("CHATCORE_TEST_MARIADB").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_begin_on_mysql_is_given_up() {
    given_up("CHATCORE_TEST_MYSQL").await;
}

/// All connections of a small pool are held by statements that wait for a lock; when it is free, everything goes on.
async fn exhausted(variable: &str) {
    let Some(database) = on(variable).await else { return };
    let options: MySqlOptions = database.options().writers(2).readers(1).acquire_timeout(Duration::from_secs(1));
    let storage = MySqlStore::open(&options).await.unwrap().storage();
    let mut load = Load::start(std::slice::from_ref(&storage)).await;
    load.acknowledges(100).await;
    let mut other = database.connect_options().connect().await.unwrap();
    other.execute("LOCK TABLES chat_heads WRITE, chat_members WRITE, chat_keys WRITE").await.unwrap();
    load.fails().await;
    other.execute("UNLOCK TABLES").await.unwrap();
    let recovery = load.acknowledges(64).await;
    assert!(recovery < RECOVERY, "{recovery:?}");
    load.finish(&storage).await;
    other.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_on_mariadb_is_exhausted() {
    exhausted("CHATCORE_TEST_MARIADB").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_on_mysql_is_exhausted() {
    exhausted("CHATCORE_TEST_MYSQL").await;
}

/// Read-only for everybody but administrators, of whom the test's own user is none.
async fn read_only(server: Option<Server>) {
    let Some(server) = server else { return };
    let mut root = server.connection().await;
    root.execute("CREATE USER plain@'%' IDENTIFIED BY 'plain'").await.unwrap();
    root.execute("GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, REFERENCES, DROP ON *.* TO plain@'%'")
        .await
        .unwrap();
    let database = TemporaryDatabase::create(&format!("mysql://plain:plain@127.0.0.1:{}", server.port)).await.unwrap();
    let storage = database.store().await.unwrap().storage();
    let mut load = Load::start(std::slice::from_ref(&storage)).await;
    load.acknowledges(100).await;
    root.execute("SET GLOBAL read_only = ON").await.unwrap();
    load.fails().await;
    root.execute("SET GLOBAL read_only = OFF").await.unwrap();
    let recovery = load.acknowledges(64).await;
    assert!(recovery < RECOVERY, "{recovery:?}");
    load.finish(&storage).await;
    root.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_is_read_only_for_a_while() {
    read_only(Server::maria()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mysql_is_read_only_for_a_while() {
    read_only(Server::mysql()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_is_held_by_another_process_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat.db");
    let store = SqliteStore::open(&SqliteOptions::file(&path)).await.unwrap();
    let storage = store.storage();
    let mut load = Load::start(std::slice::from_ref(&storage)).await;
    load.acknowledges(100).await;
    // Another process holds the file for longer than anybody waits.
    let mut other = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    load.fails().await;
    other.execute("ROLLBACK").await.unwrap();
    let recovery = load.acknowledges(64).await;
    assert!(recovery < RECOVERY, "{recovery:?}");
    load.finish(&storage).await;
    other.close().await.unwrap();
    drop(storage);
    store.close().await;
}
