//! `songkin-server`.

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::Parser;
use tokio::{net::TcpListener, sync::Notify};

use super::{
    CommonFlags, Parts,
    backup::{self, Wanted},
    begin,
    demo::prepare_demo,
    healthcheck,
    keys::{self, KeyAction},
    parts::or_cores,
    run,
};
use crate::{
    api::{self, App, Metrics, Spool, Stopping, Tls},
    audio::{isolated, run_isolated_child},
    config::Settings,
    generation::Generation,
    jobs::JobStore,
    keys::{AuditLog, KeyHash, KeyStore, Keyring},
    model::describe_device,
    recommend::{Current, RecommendSettings, Recommender},
    text::Chain,
};

/// Recommends music by how it sounds, over HTTP.
#[derive(Debug, Parser)]
#[command(name = "songkin-server", version)]
pub struct ServerCommand {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    common: CommonFlags,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Serve the data directory (the default).
    Serve,
    /// Ingest the demo catalogue into data/demo, unless that is done, and serve it, on this machine
    /// without a key.
    Demo {
        /// Where the demo catalogue lies.
        #[arg(long, default_value = "demo")]
        demo_dir: PathBuf,
    },
    /// Ask the server that listens on `server.listen` whether it lives; ends with 0 if so.
    Healthcheck {
        /// Ask whether it can answer requests, too.
        #[arg(long)]
        ready: bool,
    },
    /// Make, list, rotate and revoke API keys.
    Keys {
        #[command(subcommand)]
        action: KeyAction,
    },
    /// Back up the data directory, audio left out, while server and workers go on.
    Backup {
        /// Where to; not there yet, or empty.
        dir: PathBuf,
    },
    /// Compare a backup with its hashes; without one, look at everything in the data directory.
    Verify {
        /// The backup.
        dir: Option<PathBuf>,
    },
    /// Put a backup into the data directory. Server and workers have to be stopped.
    Restore {
        /// The backup.
        dir: PathBuf,
        /// Take a data directory that holds data; what it holds is put aside.
        #[arg(long)]
        replace: bool,
    },
    /// Decode one file in this process, within limits; started by the server itself.
    #[command(name = isolated::SUBCOMMAND, hide = true)]
    DecodeIsolated {
        /// What to decode.
        task: String,
    },
}

/// Runs the command.
#[must_use]
pub fn server(command: ServerCommand) -> ExitCode {
    if let Some(Action::DecodeIsolated { task }) = &command.action {
        return run_isolated_child(task);
    }
    let mut settings = match begin(&command.common) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    if let Some(Action::Healthcheck { ready }) = command.action {
        return check_health(&settings, ready);
    }
    let wanted = match &command.action {
        Some(Action::Backup { dir }) => Some(Wanted::Backup(dir.clone())),
        Some(Action::Verify { dir }) => Some(Wanted::Verify(dir.clone())),
        Some(Action::Restore { dir, replace }) => Some(Wanted::Restore {
            from: dir.clone(),
            replace: *replace,
        }),
        _ => None,
    };
    if let Some(wanted) = wanted {
        return run(backup::run(settings, wanted));
    }
    let demo_dir = match command.action {
        Some(Action::Keys { action }) => {
            return run(async move { keys::keys(&settings, action).await });
        }
        Some(Action::Demo { demo_dir }) => {
            settings.server.anonymous = true;
            if settings.data == crate::config::Data::default() {
                settings.data.dir = settings.data.dir.join("demo");
            }
            Some(demo_dir)
        }
        _ => None,
    };
    run(serve(settings, demo_dir))
}

/// Asks a running server, and says on standard error what is wrong with it.
fn check_health(settings: &Settings, ready: bool) -> ExitCode {
    let path = if ready { "/readyz" } else { "/livez" };
    let listen = settings.server.listen;
    let tls = !settings.server.tls_certificate.as_os_str().is_empty();
    match healthcheck(listen, tls, path) {
        Ok(200..=299) => return ExitCode::SUCCESS,
        Ok(status) => eprintln!("{path} on {listen} answers {status}"),
        Err(error) => eprintln!("{path} on {listen} does not answer: {error}"),
    }
    ExitCode::FAILURE
}

async fn serve(settings: Settings, demo_dir: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    // Before the long work: an address that is taken should be told at once.
    let listen = settings.server.listen;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}"))?;
    let device_died = Arc::new(Notify::new());
    let told = Arc::clone(&device_died);
    let parts = Parts::open(settings, move || told.notify_one()).await?;
    if let Some(dir) = demo_dir {
        prepare_demo(&parts, &dir).await?;
    }
    let failed = Arc::new(AtomicBool::new(false));
    let why = Arc::clone(&failed);
    let shutdown = async move {
        tokio::select! {
            () = stop_signal() => {}
            () = device_died.notified() => why.store(true, Ordering::SeqCst),
        }
    };
    parts.serve(listener, shutdown).await?;
    parts.catalog.close().await;
    let failed = failed.load(Ordering::SeqCst);
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

impl Parts {
    /// Serves the API on `listener` until `shutdown` completes, and follows the active generation
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// When the spool cannot be opened or the listener fails.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let current = Arc::new(Current::default());
        let address = listener.local_addr()?;
        // Whatever the settings say, what others can reach is for those who have a key.
        let anonymous = self.settings.server.anonymous && address.ip().is_loopback();
        let app = Arc::new(app(self, &current, anonymous).await?);
        let mut loaded = Loaded::default();
        loaded.follow(self, &current, &app.metrics).await;
        let tls = app.tls.is_some();
        tracing::info!(%address, tls, device = app.device, "serving; /docs describes the API");
        tell_who_gets_in(&app);
        let reload_every = Duration::from_secs(self.settings.server.reload_seconds);
        // Beside the server and not in turn with it: loading takes seconds.
        let follow = async {
            loop {
                tokio::time::sleep(reload_every).await;
                loaded.follow(self, &current, &app.metrics).await;
                reload_certificate(&app).await;
            }
        };
        tokio::select! {
            () = api::serve(listener, Arc::clone(&app), shutdown) => {}
            () = follow => {}
            never = app.keys.keep_fresh() => match never {},
            never = app.recommender.descriptions().keep_fresh() => match never {},
        }
        if let Err(error) = app.keys.note_uses().await {
            tracing::warn!(error = %Chain(&error), "the last uses of keys are not written down");
        }
        Ok(())
    }
}

fn tell_who_gets_in(app: &App) {
    if app.anonymous {
        tracing::info!("callers on this machine need no key for what changes nothing");
    } else if app.settings.server.anonymous {
        tracing::warn!("this address can be reached from elsewhere, so every caller needs a key");
    }
    if app.keys.opens_nothing() && !app.anonymous {
        tracing::warn!(
            "there is no key yet, so nobody gets in: `songkin-server keys create NAME --scopes admin` makes one"
        );
    }
}

async fn app(parts: &Parts, current: &Arc<Current>, anonymous: bool) -> anyhow::Result<App> {
    let settings = &parts.settings;
    let database = parts.catalog.database();
    let configured = settings.server.admin_key_sha256.hashes().iter();
    let configured = configured.copied().map(KeyHash::from_bytes).collect();
    let keys = Keyring::open(KeyStore::new(database.clone()), configured)
        .await
        .context("cannot read the keys")?;
    let recommend = RecommendSettings {
        max_query_seconds: settings.audio.max_query_seconds,
        max_decodes: or_cores(settings.server.max_decodes),
        max_waiting: settings.server.max_waiting,
        max_wait: Duration::from_secs_f64(settings.server.max_wait_seconds),
        cache_bytes: settings.cache.max_mib << 20,
        description_bytes: settings.cache.tracks_max_mib << 20,
    };
    let recommender = Recommender::new(
        parts.catalog.clone(),
        Arc::clone(&parts.batcher),
        parts.decoder.clone(),
        Arc::clone(current),
        recommend,
    );
    let server = &settings.server;
    let spool_dir = parts.spool_dir();
    let spool = Spool::open(
        &spool_dir,
        server.max_body_mib << 20,
        server.max_spool_mib << 20,
    )
    .with_context(|| format!("cannot open the spool {}", spool_dir.display()))?;
    let tls = if server.tls_certificate.as_os_str().is_empty() {
        None
    } else {
        let tls = Tls::open(&server.tls_certificate, &server.tls_key)
            .context("server.tls_certificate and server.tls_key")?;
        Some(Arc::new(tls))
    };
    Ok(App {
        settings: settings.clone(),
        metrics: Metrics::new(&recommender),
        recommender,
        keys,
        anonymous,
        audit: AuditLog::new(database.clone()),
        jobs: JobStore::new(database.clone()),
        generations: parts.store.clone(),
        reports: parts.reports_dir(),
        stopping: Stopping::default(),
        spool,
        tls,
        device: describe_device(parts.batcher.device()),
    })
}

/// Takes up a new certificate. One that cannot be used is told once, and the former one stays.
async fn reload_certificate(app: &Arc<App>) {
    let Some(tls) = app.tls.clone() else {
        return;
    };
    match tokio::task::spawn_blocking(move || tls.reload()).await {
        Ok(Ok(false)) => {}
        Ok(Ok(true)) => {
            app.metrics.tls_load(true);
            tracing::info!("took up a new certificate");
        }
        Ok(Err(error)) => {
            app.metrics.tls_load(false);
            let error = anyhow::Error::new(error);
            tracing::error!("cannot use the new certificate, the former one stays: {error:#}");
        }
        Err(error) => tracing::error!(error = %error, "looking for a certificate ended early"),
    }
}

/// When a generation that could not be loaded is tried again: the disk may have been away for a
/// moment, or a build may have written it anew.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Which generation is loaded, and which could not be.
#[derive(Default)]
struct Loaded {
    id: Option<String>,
    refused: Option<(String, Instant)>,
}

impl Loaded {
    /// Loads the active generation if it is another one. One that fails is told and not served; the
    /// former one stays.
    async fn follow(&mut self, parts: &Parts, current: &Arc<Current>, metrics: &Metrics) {
        let active = match parts.catalog.active_generation().await {
            Ok(Some(active)) => active,
            Ok(None) => return,
            Err(error) => {
                return tracing::error!(error = %error, "cannot look for the active generation");
            }
        };
        if self.id.as_ref() == Some(&active.id) {
            // Somebody went back: the refused one may have been mended before it comes again.
            self.refused = None;
            return;
        }
        if let Some((id, when)) = &self.refused
            && *id == active.id
            && when.elapsed() < TRY_AGAIN_AFTER
        {
            return;
        }
        let dir = parts.store.path(&active.id);
        let (batcher, current) = (Arc::clone(&parts.batcher), Arc::clone(current));
        let outcome = tokio::task::spawn_blocking(move || {
            let generation = Generation::load(&dir, &batcher)?;
            let (tracks, model) = (
                generation.manifest.tracks,
                generation.manifest.model.clone(),
            );
            // The former generation is dropped here, off the runtime, unless a request holds it.
            drop(current.swap(Arc::new(generation)));
            Ok::<_, crate::generation::GenerationError>((tracks, model))
        })
        .await;
        match outcome {
            Ok(Ok((tracks, model))) => {
                tracing::info!(
                    generation = active.id,
                    tracks,
                    model = model.name,
                    trained = model.trained,
                    "loaded"
                );
                metrics.generation_load(true);
                self.id = Some(active.id);
            }
            Ok(Err(error)) => {
                let error = anyhow::Error::new(error);
                tracing::error!(
                    generation = active.id,
                    "cannot load the active generation: {error:#}"
                );
                metrics.generation_load(false);
                self.refused = Some((active.id, Instant::now()));
            }
            Err(error) => tracing::error!(error = %error, "loading a generation ended early"),
        }
    }
}

/// Completes when the process is asked to stop.
pub(super) async fn stop_signal() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => {
                tokio::select! {
                    _ = interrupt => {}
                    _ = terminate.recv() => {}
                }
            }
            Err(error) => {
                tracing::warn!(error = %error, "cannot listen for SIGTERM");
                let _ = interrupt.await;
            }
        }
    }
    #[cfg(not(unix))]
    {
        let _ = interrupt.await;
    }
}
