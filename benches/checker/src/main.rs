//! The checker as a program: `cargo run -p chatcore-checker -- --help`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use chatcore_checker::place::{Failure, Store};
use chatcore_checker::run::{Plan, run, tell};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// Plays many clients and many faults against chatcore servers, and proves from what each saw that every promise was kept.
///
/// It starts the servers by itself, and the databases too: MariaDB and MongoDB by the scripts of this repository, MySQL by the script that
/// `MYSQL_SERVER` names.
#[derive(Debug, Parser)]
#[command(name = "checker", version)]
struct Options {
    /// A server that runs already, as `ADDRESS:PORT`; it is left alone, and its rate limits have to be off. May be given more than once, for several
    /// over one store.
    #[arg(long = "server")]
    servers: Vec<SocketAddr>,

    /// Where everything is stored.
    #[arg(long, default_value = "sqlite", conflicts_with = "servers")]
    store: Store,

    /// Server processes over the one store.
    #[arg(long, default_value_t = 1, conflicts_with = "servers", value_parser = clap::value_parser!(u16).range(1..=16))]
    nodes: u16,

    /// People, each with a client.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(3..=500))]
    users: u16,

    /// Groups, beside a direct room for every three people.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=100))]
    groups: u16,

    /// How long, in seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,

    /// The same script of calls and faults for the same seed; by default another one each time, which is printed.
    #[arg(long)]
    seed: Option<u64>,

    /// Where to write everything that happened, and what is stored, if a promise was not kept.
    #[arg(long)]
    history: Option<PathBuf>,

    /// Neither servers nor databases are killed or stopped.
    #[arg(long)]
    no_faults: bool,

    /// A deliberate defect of the servers, which has to be found: see `chatcore::defect`.
    #[arg(long, value_parser = defect)]
    defect: Option<&'static str>,
}

fn defect(name: &str) -> Result<&'static str, String> {
    let names = || chatcore::defect::Defect::ALL.iter().map(|defect| defect.name());
    names().find(|known| *known == name).ok_or_else(|| format!("one of {}", names().collect::<Vec<_>>().join(", ")))
}

fn main() -> ExitCode {
    // The servers under test are this same program.
    let mut arguments: Vec<_> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|argument| argument == "serve") {
        arguments.remove(1);
        return chatcore_server::main_with(arguments);
    }
    match check(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            use std::io::Write as _;
            // There is nowhere left to say that standard error is gone.
            let _ = writeln!(std::io::stderr(), "checker: {error}");
            ExitCode::from(2)
        }
    }
}

fn check(options: &Options) -> Result<bool, Failure> {
    let seed = match options.seed {
        Some(seed) => seed,
        None => getrandom::u64()? >> 32,
    };
    let plan = Plan {
        program: std::env::current_exe()?,
        servers: options.servers.clone(),
        store: options.store,
        nodes: options.nodes.into(),
        users: options.users.into(),
        groups: options.groups.into(),
        time: Duration::from_secs(options.seconds),
        seed,
        faults: !options.no_faults,
        defect: options.defect,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        // What is dropped with the run takes its servers and databases with it.
        tokio::select! {
            report = run(&plan) => report,
            _ = interrupt.recv() => Err("interrupted".into()),
            _ = terminate.recv() => Err("told to stop".into()),
        }
    })?;
    let kept = tell(&plan, &report);
    if let Some(file) = options.history.as_ref().filter(|_| !kept) {
        std::fs::write(file, report.record.to_string())?;
    }
    Ok(kept)
}
