//! The ready-to-run chat server: accounts, friends, rooms and live messages over SQLite, with a page to try it.
//!
//! `cargo run --release --example server -- --help` lists the settings.

mod files;
mod logs;
mod metrics;
mod secret;
mod settings;
mod site;
mod store;

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use chatcore::Chat;
use chatcore_hyper::Api;
use clap::Parser as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use settings::Settings;
use site::Site;

/// How long a stopping server waits for its stores to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// What the program does: reads its arguments and serves until it is told to stop.
#[must_use]
pub fn main() -> ExitCode {
    main_with(std::env::args_os())
}

/// The same with arguments of the caller's; the first is the program's name.
#[must_use]
pub fn main_with(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let settings = Settings::parse_from(arguments);
    #[cfg(feature = "defects")]
    if let Some(name) = std::env::var_os("CHATCORE_DEFECT") {
        let Some(defect) = chatcore::defect::Defect::ALL.iter().find(|defect| name == defect.name()) else {
            return failed(&io::Error::other(format!("CHATCORE_DEFECT: there is no {}", name.display())));
        };
        chatcore::defect::enable(*defect);
    }
    logs::start(settings.log_format);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    match runtime.block_on(run(settings)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&*error),
    }
}

/// Says what went wrong, with all its causes, where a person who has just started the server looks.
fn failed(error: &dyn Error) -> ExitCode {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    // There is nowhere left to say that standard error is gone.
    let _ = writeln!(io::stderr(), "chatcore server: {text}");
    ExitCode::FAILURE
}

async fn run(settings: Settings) -> Result<(), Box<dyn Error>> {
    let secret = secret::load(&settings)?;
    let opened = store::open(&settings.store, settings.messages.as_ref()).await?;
    let chat = Chat::builder(opened.storage.clone(), settings.core(secret)).start()?;
    let mut http = settings.http();
    let files = files::raise_limit();
    if http.connections > files {
        tracing::warn!(wanted = http.connections, possible = files, "fewer connections than --connections says");
        http.connections = files;
    }
    let api = Api::new(chat, http);
    let listener = TcpListener::bind(settings.listen)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("--listen {}: {error}", settings.listen)))?;
    let address = listener.local_addr()?;
    // On standard output, alone and at once, so that a script can read it.
    writeln!(io::stdout(), "chatcore is ready: http://{address}{}/", settings.prefix)?;
    io::stdout().flush()?;
    let site = Site::new(api.clone());
    chatcore_hyper::serve_with(listener, api, site, stopped()?).await?;
    // Whatever was acknowledged is stored; closing only spares the databases a surprise.
    if tokio::time::timeout(CLOSE_TIMEOUT, opened.close()).await.is_err() {
        tracing::warn!("a store was not closed in time");
    }
    tracing::info!("stopped");
    Ok(())
}

/// Ready when somebody asks the server to stop: SIGINT or SIGTERM.
fn stopped() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping");
    })
}
