//! Idle connections of one core to one backend.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use plimsoll_types::{Clock, Instant};
use tokio::io::AsyncReadExt;

use super::Connection;
use crate::Failure;
use crate::io::{Endpoint, Io};

/// How long an idle connection is kept: under the 75 s or more that servers keep theirs.
const KEEP: Duration = Duration::from_secs(60);
/// How many idle connections a core keeps to a backend.
const MAX_IDLE: usize = 1_024;

/// Connections that wait for their next request, the last used on top.
pub(crate) struct Pool {
    endpoint: Arc<Endpoint>,
    clock: Arc<dyn Clock>,
    idle: RefCell<Vec<(Connection, Instant)>>,
    swept: Cell<bool>,
}

impl Pool {
    pub(crate) fn new(endpoint: Arc<Endpoint>, clock: Arc<dyn Clock>) -> Rc<Self> {
        Rc::new(Self { endpoint, clock, idle: RefCell::default(), swept: Cell::new(false) })
    }

    /// An idle connection that shows no sign of being closed.
    pub(crate) fn take(&self) -> Option<Connection> {
        loop {
            let (mut connection, _) = self.idle.borrow_mut().pop()?;
            if is_quiet(&mut connection) {
                return Some(connection);
            }
        }
    }

    pub(crate) fn put(self: &Rc<Self>, connection: Connection) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < MAX_IDLE {
            idle.push((connection, self.clock.now()));
        }
        drop(idle);
        if !self.swept.replace(true) {
            tokio::task::spawn_local(sweep(Rc::downgrade(self), Arc::clone(&self.clock)));
        }
    }

    pub(crate) fn connect(&self) -> super::Connecting {
        let (endpoint, clock) = (Arc::clone(&self.endpoint), Arc::clone(&self.clock));
        Box::pin(async move {
            let io: Result<Io, Failure> = endpoint.connect(&*clock).await;
            io
        })
    }
}

/// Nothing to read, and not closed: anything else on an idle connection means that it cannot be used.
fn is_quiet(connection: &mut Connection) -> bool {
    connection.read.reserve(1);
    let mut cx = Context::from_waker(Waker::noop());
    matches!(pin!(connection.io.read_buf(&mut connection.read)).poll(&mut cx), Poll::Pending)
}

/// Closes connections that were idle for too long or that the backend has closed, until none is left.
async fn sweep(pool: Weak<Pool>, clock: Arc<dyn Clock>) {
    loop {
        clock.sleep_until(clock.now() + KEEP / 6).await;
        let Some(pool) = pool.upgrade() else { return };
        let now = clock.now();
        let mut idle = pool.idle.borrow_mut();
        idle.retain_mut(|(connection, since)| now - *since < KEEP && is_quiet(connection));
        if idle.is_empty() {
            idle.shrink_to_fit();
            pool.swept.set(false);
            return;
        }
    }
}
