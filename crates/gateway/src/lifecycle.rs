//! From start to exit: cores, acceptor and operators' port come up; a signal or an operator takes them down.
//!
//! ```text
//!   serving ── SIGTERM, SIGINT or POST /drain ──▶ readiness off ── drain_delay ──▶ listener closed
//!                                                                                      │ all streams have ended
//!            exit 0 ◀── error event into what is left ◀── drain_timeout ───────────────┤
//!               ▲                                                                      │
//!               └──────────────────────────────────────────────────────────────────────┘
//! ```

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use plimsoll_telemetry::{Exporter, catalog};
use plimsoll_types::{Clock, Instant, TokioClock};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::accept::{self, Door};
use crate::admin::Admin;
use crate::assemble;
use crate::config::Config;
use crate::core::{self, Seat};
use crate::discovery::{self, Found};
use crate::fleet;
use crate::house::House;
use crate::peers;
use crate::reload::Reloader;
use crate::sources::Sources;

/// Where a configuration came from.
#[derive(Debug, Clone)]
pub struct Source {
    /// What is to be run.
    pub config: Config,
    /// The file to look at again, if there is one.
    pub file: Option<PathBuf>,
}

/// How often a drain looks whether all is done.
const LOOK: Duration = Duration::from_millis(20);
/// How long streams that are cut have to say so to their clients.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Runs a gateway until it is told to go. `ready` is called once it serves, with the addresses that it got.
///
/// # Errors
///
/// What kept it from starting, in words for the operator.
pub fn run(
    source: Source,
    exporter: Option<Exporter>,
    ready: impl FnOnce(&Config, &House),
) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, control(source, exporter, ready))
}

async fn control(
    source: Source,
    exporter: Option<Exporter>,
    ready: impl FnOnce(&Config, &House),
) -> Result<(), String> {
    let clock: Arc<dyn Clock> = Arc::new(TokioClock::start());
    let mut config = source.config;
    let cannot = |what: &str, error: std::io::Error| format!("{what}: {error}");
    let listener = accept::listen(config.listen_address()?).map_err(|error| cannot(&config.listen, error))?;
    let admin = accept::listen(config.admin_address()?).map_err(|error| cannot(&config.admin, error))?;
    let house = assemble::house(config.clone(), clock, exporter.clone())?;
    // With port 0 the kernel chose one, which is what people want to know.
    config.listen = listener.local_addr().map_or(config.listen.clone(), |address| address.to_string());
    config.admin = admin.local_addr().map_or(config.admin.clone(), |address| address.to_string());
    let (closing, closed) = watch::channel(false);
    let doors = start_cores(&house, config.threads);
    let seats: Vec<Arc<Seat>> = doors.iter().map(|door| Arc::clone(&door.seat)).collect();
    start_acceptor(&house, listener, doors, closed);

    let drain = Arc::new(Notify::new());
    let reload = Arc::new(Notify::new());
    let operators = Admin {
        house: Arc::clone(&house),
        local: config.admin_address()?.ip().is_loopback(),
        drain: Arc::clone(&drain),
        reload: source.file.is_some().then(|| Arc::clone(&reload)),
    };
    let admin = tokio::net::TcpListener::from_std(admin).map_err(|error| cannot("admin", error))?;
    tokio::task::spawn_local(Arc::new(operators).serve(admin));
    for outcome in ["applied", "refused"] {
        catalog::RELOADS.counter(&[outcome]).increment(0);
    }
    let _upkeep = exporter.map(|exporter| start_upkeep(exporter, Arc::clone(&house)));
    let _watching = fleet::start(&house);
    tokio::task::spawn_local(peers::start(Arc::clone(&house)));
    let found = Found::default();
    let mut sources = Sources::new(&house, &found);
    sources.look().await;
    tokio::task::spawn_local(sources.keep_looking());
    discovery::ask(&house, &found).await;
    tokio::task::spawn_local(discovery::keep_asking(Arc::clone(&house), Found::clone(&found)));
    let signals = |kind| signal(kind).map_err(|error| cannot("signals", error));
    let hangup = signals(SignalKind::hangup())?;
    let (mut terminate, mut interrupt) =
        (signals(SignalKind::terminate())?, signals(SignalKind::interrupt())?);
    if let Some(file) = &source.file {
        tokio::task::spawn_local(Reloader::new(&house, &found, file).watch(hangup, reload));
    }
    ready(&config, &house);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = drain.notified() => {}
    }
    // A second Ctrl-C does not wait.
    tokio::select! {
        () = go(&house, &closing, &seats) => {}
        _ = interrupt.recv() => tracing::warn!("ended without waiting"),
    }
    house.served.end();
    Ok(())
}

/// Starts a thread for each core.
fn start_cores(house: &Arc<House>, threads: u64) -> Vec<Door> {
    let all = thread::available_parallelism().map_or(1, usize::from);
    let cores = if threads == 0 { all } else { threads as usize };
    (0..cores)
        .map(|index| {
            let (core, accepted) = mpsc::unbounded_channel();
            let (house, seed) = (Arc::clone(house), RandomState::new().build_hasher().finish());
            let work = move || core::run(house, (seed, cores), accepted);
            thread::Builder::new()
                .name(format!("core-{index}"))
                .spawn(work)
                .expect("the system has room for a thread");
            Door { seat: Seat::new(index), core }
        })
        .collect()
}

/// Starts the thread that accepts.
fn start_acceptor(
    house: &Arc<House>,
    listener: std::net::TcpListener,
    doors: Vec<Door>,
    closed: watch::Receiver<bool>,
) {
    let house = Arc::clone(house);
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        // Doors stay open until the process ends: a core without one would end its connections.
        let held: Vec<_> = doors.iter().map(|door| door.core.clone()).collect();
        let accepted =
            runtime.and_then(|runtime| runtime.block_on(accept::accept(listener, doors, house, closed)));
        if let Err(error) = accepted {
            tracing::error!(%error, "the acceptor ended");
        }
        std::mem::forget(held);
    };
    thread::Builder::new().name("acceptor".into()).spawn(work).expect("the system has room for a thread");
}

/// Keeps up metrics each second: moves samples of histograms into their buckets and lets go of series that are over. It may
/// take milliseconds, so it has a thread of its own, which ends when what this gives is dropped.
fn start_upkeep(exporter: Exporter, house: Arc<House>) -> oneshot::Sender<()> {
    let (keeping_up, mut over) = oneshot::channel();
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async move {
            loop {
                tokio::select! {
                    () = house.clock.sleep_until(house.clock.now() + Duration::from_secs(1)) => {}
                    _ = &mut over => return,
                }
                exporter.upkeep(house.clock.now() - Instant::ORIGIN);
            }
        });
    };
    thread::Builder::new().name("upkeep".into()).spawn(work).expect("the system has room for a thread");
    keeping_up
}

/// Takes the gateway out of service.
async fn go(house: &Arc<House>, closing: &watch::Sender<bool>, seats: &[Arc<Seat>]) {
    let (clock, config) = (&house.clock, house.settings.load_full());
    tracing::info!(in_flight = house.shared.in_flight(), "draining");
    house.leave();
    clock.sleep_until(clock.now() + config.config.drain_delay).await;
    house.shared.drain();
    closing.send_replace(true);
    let over = clock.now() + config.config.drain_timeout;
    if !ended(house, seats, over).await {
        tracing::warn!(in_flight = house.shared.in_flight(), "the drain took too long; ending what is left");
        house.shared.cut();
        ended(house, seats, clock.now() + LAST_WORDS).await;
    }
    tracing::info!("done");
}

/// Waits until the last connection has ended: a connection that is asked to go ends once its request is answered, its
/// answer sent, and a body that is on its way has come. False if that is not so by `over`.
async fn ended(house: &House, seats: &[Arc<Seat>], over: Instant) -> bool {
    loop {
        if seats.iter().all(|seat| seat.connections.load(Relaxed) == 0) {
            return true;
        }
        if house.clock.now() >= over {
            return false;
        }
        house.clock.sleep_until(house.clock.now() + LOOK).await;
    }
}
