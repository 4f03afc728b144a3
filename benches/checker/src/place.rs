//! The processes under test: chatcore servers, and the databases below them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// What went wrong before or beside the check itself.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Where everything is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Store {
    /// In the memory of the one server, which is not killed then.
    Memory,
    /// In a file.
    Sqlite,
    /// In MariaDB.
    Mariadb,
    /// In MySQL, which the script that `MYSQL_SERVER` names starts.
    Mysql,
    /// In MongoDB.
    Mongodb,
    /// Logs in MongoDB; everything else in MySQL, or in MariaDB where `MYSQL_SERVER` is not set.
    Mix,
}

/// A port that is free at this moment.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

async fn signal(pid: u32, name: &str) -> io::Result<()> {
    let status = Command::new("kill").args([name, &pid.to_string()]).stderr(Stdio::null()).status().await?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("kill {name} {pid}: {status}"))) }
}

/// Whether a process is there, if only for its end (proc(5)); one that is dead and not asked for by its parent is not.
fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

/// A database server of our own, in a folder of our own.
#[derive(Debug)]
pub struct Database {
    /// What it is, for people.
    pub name: &'static str,
    script: PathBuf,
    folder: TempDir,
    port: u16,
    pid_file: &'static str,
}

impl Database {
    async fn start(name: &'static str, script: PathBuf, pid_file: &'static str) -> Result<Self, Failure> {
        // In memory where there is such a file system: a check need not outlive the machine.
        let base = if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
        let folder = tempfile::Builder::new().prefix("checker").tempdir_in(base)?;
        let database = Self { name, script, folder, port: free_port()?, pid_file };
        database.restart().await?;
        Ok(database)
    }

    async fn mariadb() -> Result<Self, Failure> {
        Self::start("MariaDB", scripts().join("mariadb.sh"), "pid").await
    }

    async fn mysql() -> Result<Self, Failure> {
        let script = std::env::var_os("MYSQL_SERVER").ok_or("MYSQL_SERVER names no script")?;
        Self::start("MySQL", script.into(), "mysqld.pid").await
    }

    async fn mongodb() -> Result<Self, Failure> {
        Self::start("MongoDB", scripts().join("mongodb.sh"), "mongod.pid").await
    }

    async fn run(&self, action: &str) -> Result<(), Failure> {
        let mut command = Command::new(&self.script);
        command.arg(action).arg(self.folder.path()).arg(self.port.to_string());
        // Into a file: a server that it starts may keep what it is given.
        let log = self.folder.path().join("script.log");
        let file = std::fs::File::create(&log)?;
        let status = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).status().await?;
        if status.success() {
            return Ok(());
        }
        let said = std::fs::read_to_string(log).unwrap_or_default();
        Err(format!("{} {action}: {status}: {said}{}", self.script.display(), self.last_words()).into())
    }

    /// The ends of its logs.
    fn last_words(&self) -> String {
        let logs = ["log", "mongod.log", "mysqld.log"].map(|name| self.folder.path().join(name));
        let logs = logs.iter().filter_map(|log| std::fs::read_to_string(log).ok());
        logs.map(|log| log.lines().rev().take(20).collect::<Vec<_>>().join("\n")).collect()
    }

    /// Starts it, if it does not run.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn restart(&self) -> Result<(), Failure> {
        self.run("start").await
    }

    /// # Errors
    /// When it does not run.
    pub fn pid(&self) -> Result<u32, Failure> {
        Ok(std::fs::read_to_string(self.folder.path().join(self.pid_file))?.trim().parse()?)
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill(&self) -> Result<(), Failure> {
        let pid = self.pid()?;
        signal(pid, "-KILL").await?;
        while lives(pid) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// SIGSTOP for so long.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn pause(&self, time: Duration) -> Result<(), Failure> {
        let pid = self.pid()?;
        signal(pid, "-STOP").await?;
        tokio::time::sleep(time).await;
        Ok(signal(pid, "-CONT").await?)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let mut stop = std::process::Command::new(&self.script);
        stop.arg("stop").arg(self.folder.path()).arg(self.port.to_string()).stdout(Stdio::null());
        if !stop.status().is_ok_and(|status| status.success()) {
            crate::say(&format!("{} was not stopped", self.name));
        }
    }
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts")
}

/// A server process. Killed when it is dropped.
#[derive(Debug)]
pub struct Server {
    program: PathBuf,
    arguments: Vec<String>,
    defect: Option<&'static str>,
    folder: PathBuf,
    /// Where it listens, also after it was started again.
    pub address: SocketAddr,
    child: Option<Child>,
}

impl Server {
    /// Starts it, and waits until it says that it is ready.
    ///
    /// # Errors
    /// When it does not come up within 30 s.
    pub async fn start(&mut self) -> Result<(), Failure> {
        let mut command = Command::new(&self.program);
        command.arg("serve").args(&self.arguments).current_dir(&self.folder);
        command.env("RUST_LOG", "error").stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("server.log"))?;
        command.stderr(log);
        if let Some(defect) = self.defect {
            command.env("CHATCORE_DEFECT", defect);
        }
        let mut child = command.spawn()?;
        let output = child.stdout.take().ok_or("no standard output")?;
        let mut line = String::new();
        let ready = tokio::time::timeout(Duration::from_secs(30), BufReader::new(output).read_line(&mut line)).await;
        if !matches!(ready, Ok(Ok(1..))) {
            let log = std::fs::read_to_string(self.folder.join("server.log")).unwrap_or_default();
            return Err(format!("a server did not start: {log}").into());
        }
        self.child = Some(child);
        Ok(())
    }

    /// # Errors
    /// When it does not run.
    pub fn pid(&self) -> Result<u32, Failure> {
        Ok(self.child.as_ref().and_then(Child::id).ok_or("the server does not run")?)
    }

    /// SIGKILL, and waits for the end.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill(&mut self) -> Result<(), Failure> {
        Ok(self.child.take().ok_or("the server does not run")?.kill().await?)
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// When it does not end within a minute.
    pub async fn stop(&mut self) -> Result<(), Failure> {
        signal(self.pid()?, "-TERM").await?;
        let mut child = self.child.take().ok_or("the server does not run")?;
        let ended = tokio::time::timeout(Duration::from_secs(60), child.wait()).await;
        ended.map_err(|_| "a server that was asked to stop had not done so after a minute")??;
        Ok(())
    }

    /// SIGSTOP for so long.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn pause(&self, time: Duration) -> Result<(), Failure> {
        let pid = self.pid()?;
        signal(pid, "-STOP").await?;
        tokio::time::sleep(time).await;
        Ok(signal(pid, "-CONT").await?)
    }
}

/// Which limits the servers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limits {
    /// Those that everybody gets who sets none.
    Default,
    /// Such that a few clients at one address may do as much as many elsewhere; heartbeats and tokens are shorter, so that they matter within a minute.
    Lifted,
}

/// Everything that runs.
#[derive(Debug)]
pub struct Place {
    // In this order they end.
    /// The servers.
    pub servers: Vec<Server>,
    /// The databases that were started for them.
    pub databases: Vec<Database>,
    /// Whether what is stored outlives a server.
    pub durable: bool,
    /// What the servers wrote, and files of theirs.
    pub folder: TempDir,
}

impl Place {
    /// Starts databases and servers.
    ///
    /// # Errors
    /// When any does not come up.
    pub async fn start(
        program: &Path,
        store: Store,
        nodes: usize,
        limits: Limits,
        defect: Option<&'static str>,
    ) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("checker").tempdir()?;
        let mut databases = Vec::new();
        let mut arguments: Vec<String> = Vec::new();
        let sql = |database: &Database| format!("mysql://root@127.0.0.1:{}/chat?ssl-mode=DISABLED", database.port);
        let mongo = |database: &Database| format!("mongodb://127.0.0.1:{}/chat?replicaSet=rs0", database.port);
        match store {
            Store::Memory => arguments.extend(["--store".into(), "memory".into()]),
            Store::Sqlite => {
                let file = folder.path().join("chat.db");
                arguments.extend(["--store".into(), format!("sqlite:{}", file.display())]);
            }
            Store::Mariadb | Store::Mysql | Store::Mix => {
                let maria =
                    store == Store::Mariadb || (store == Store::Mix && std::env::var_os("MYSQL_SERVER").is_none());
                let rooms = if maria { Database::mariadb().await? } else { Database::mysql().await? };
                create_schema(rooms.port).await?;
                arguments.extend(["--store".into(), sql(&rooms)]);
                databases.push(rooms);
                if store == Store::Mix {
                    let logs = Database::mongodb().await?;
                    arguments.extend(["--messages".into(), mongo(&logs)]);
                    databases.push(logs);
                }
            }
            Store::Mongodb => {
                let all = Database::mongodb().await?;
                arguments.extend(["--store".into(), mongo(&all)]);
                databases.push(all);
            }
        }
        arguments.extend(["--jwt-secret".into(), "a secret of thirty-two bytes or more, for this check".into()]);
        if limits == Limits::Lifted {
            arguments.extend(LIFTED.map(str::to_owned));
        }
        let mut servers = Vec::new();
        for _ in 0..nodes {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
            let mut arguments = arguments.clone();
            arguments.extend(["--listen".into(), address.to_string()]);
            let folder = folder.path().to_owned();
            let mut server = Server { program: program.to_owned(), arguments, defect, folder, address, child: None };
            server.start().await?;
            servers.push(server);
        }
        Ok(Self { servers, databases, durable: store != Store::Memory, folder })
    }
}

/// The arguments of servers whose limits are lifted.
const LIFTED: [&str; 11] = [
    "--logins-per-account=off",
    "--logins-by-strangers=off",
    "--logins-per-address=off",
    "--registrations-per-address=off",
    "--connects-per-user=off",
    "--work-per-user=off",
    "--requests-per-address=off",
    "--frames-per-second=100000",
    "--connections-per-user=1000",
    "--heartbeat-ms=5000",
    "--access-ttl=60",
];

/// Makes the schema `chat`, by the command-line client, which comes with either server.
async fn create_schema(port: u16) -> Result<(), Failure> {
    let port = port.to_string();
    for client in ["mariadb", "mysql"] {
        let mut command = Command::new(client);
        command.args([
            "--no-defaults",
            "-h127.0.0.1",
            "-uroot",
            "-P",
            &port,
            "-e",
            "CREATE DATABASE IF NOT EXISTS chat",
        ]);
        match command.status().await {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => return Err(format!("{client}: {status}").into()),
            Err(_) => {}
        }
    }
    Err("there is neither `mariadb` nor `mysql` to make a database with".into())
}
