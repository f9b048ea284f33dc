//! What the tests are played on.
//!
//! ```text
//!   Client, Http2, Grpc ──▶ Gateway, in threads of this process ──▶ Backends ── Call ──▶ the test, which answers step by step
//! ```

mod backends;
mod call;
mod certificates;
mod client;
mod dns;
mod gateway;
mod grpc;
mod http2;

pub(crate) use backends::Backends;
pub(crate) use call::{Call, Health, event, token};
pub(crate) use certificates::Certificates;
pub(crate) use client::{Answer, Client};
pub(crate) use dns::Dns;
pub(crate) use gateway::Gateway;
pub(crate) use grpc::{Grpc, Messages, grpc_server, grpc_server_with};
pub(crate) use http2::{Http2, Http2Backend};

use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// How long something may take that takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for `done`, which is `what` the test expects.
pub(crate) async fn within<T>(what: &str, done: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, done).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Looks until `holds` does.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let mut pace = tokio::time::interval(Duration::from_millis(5));
    within(what, async {
        while !holds().await {
            pace.tick().await;
        }
    })
    .await;
}

/// A number that nobody else in this process has: metrics are the whole process's, names keep tests apart.
pub(crate) fn unique() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Relaxed)
}

/// Where a test may put a file, which holds `text`.
pub(crate) fn file(name: &str, text: &str) -> PathBuf {
    let name = format!("{}-{}-{name}", std::process::id(), unique());
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    path
}
