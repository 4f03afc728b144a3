//! The soak as a program: `cargo run -p chatcore-checker --bin soak -- --help`.

use std::alloc::System;
use std::process::ExitCode;
use std::time::Duration;

use cap::Cap;
use chatcore_checker::place::{Failure, Store};
use chatcore_checker::soak::{Plan, attack, heap, run, verdict};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// Counts what the server under attack has allocated: resident memory alone hides growth in what earlier waves have left free.
#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);

/// Attacks a chatcore server with everything that a client can send, in waves, and tells whether it cost anything that lasts.
///
/// It starts the server by itself, with its default limits, and uses addresses of this machine alone (127.0.0.0/8). It needs Linux.
#[derive(Debug, Parser)]
#[command(name = "soak", version)]
struct Options {
    /// Where everything is stored.
    #[arg(long, default_value = "memory")]
    store: Store,

    /// How long, in seconds; what does not settle takes longer.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,

    /// The same addresses, ids and tokens for the same seed; by default another one each time, which is printed.
    #[arg(long)]
    seed: Option<u64>,

    /// A kind of attacker to play alone; may be given more than once.
    #[arg(long, value_parser = kind)]
    only: Vec<String>,

    /// Plays each kind of attacker in waves of its own, and not all of one transport at once: tells which one breaks what.
    #[arg(long)]
    apart: bool,

    /// A deliberate defect of the server: see `chatcore::defect`.
    #[arg(long, value_parser = defect)]
    defect: Option<&'static str>,
}

fn kind(name: &str) -> Result<String, String> {
    let names: Vec<_> = attack::KINDS.iter().map(|kind| kind.name).collect();
    names.contains(&name).then(|| name.to_owned()).ok_or_else(|| format!("one of {}", names.join(", ")))
}

fn defect(name: &str) -> Result<&'static str, String> {
    let names = || chatcore::defect::Defect::ALL.iter().map(|defect| defect.name());
    names().find(|known| *known == name).ok_or_else(|| format!("one of {}", names().collect::<Vec<_>>().join(", ")))
}

fn main() -> ExitCode {
    // The server under attack is this same program.
    let mut arguments: Vec<_> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|argument| argument == "serve") {
        arguments.remove(1);
        if let Err(error) = heap::tell(|| HEAP.allocated()) {
            return failed(&*error);
        }
        return chatcore_server::main_with(arguments);
    }
    match soak(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => failed(&*error),
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    use std::io::Write as _;
    // There is nowhere left to say that standard error is gone.
    let _ = writeln!(std::io::stderr(), "soak: {error}");
    ExitCode::from(2)
}

fn soak(options: &Options) -> Result<bool, Failure> {
    let seed = match options.seed {
        Some(seed) => seed,
        None => getrandom::u64()? >> 32,
    };
    chatcore_checker::say(&format!("seed {seed}, store {:?}, {} s", options.store, options.seconds));
    let plan = Plan {
        program: std::env::current_exe()?,
        store: options.store,
        time: Duration::from_secs(options.seconds),
        seed,
        only: options.only.clone(),
        apart: options.apart,
        defect: options.defect,
    };
    // One thread each: attackers at full pace neither hold up who watches, nor take every core from the server.
    let threads = |name: &str| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name(name).enable_all().build()
    };
    let (observers, attackers) = (threads("observers")?, threads("attackers")?);
    let report = attackers.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        // What is dropped with the run takes its server with it.
        tokio::select! {
            report = run(&plan, observers.handle()) => report,
            _ = interrupt.recv() => Err("interrupted".into()),
            _ = terminate.recv() => Err("told to stop".into()),
        }
    })?;
    Ok(verdict::tell(&report))
}
