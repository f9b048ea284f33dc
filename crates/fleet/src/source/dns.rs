use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_types::Clock;

use super::{Change, Source};
use crate::watch::within;

/// How long the resolver may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Addresses of one name beyond which a list is not believed.
const MOST: usize = 1_024;

/// Turns a name into addresses.
pub trait Resolve {
    /// All addresses of `host`.
    fn resolve(&self, host: &str) -> impl Future<Output = io::Result<Vec<IpAddr>>>;
}

/// The system's resolver, which knows files, search domains and DNS. It does not say how long an answer is good for, so
/// whoever asks it asks often.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Resolve for System {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// The addresses of a name, each of which is a backend.
pub struct Dns<R> {
    host: String,
    resolver: R,
    clock: Arc<dyn Clock>,
    known: BTreeSet<IpAddr>,
}

impl<R: Resolve> Dns<R> {
    /// Nothing is known of `host` yet.
    pub fn new(host: &str, resolver: R, clock: &Arc<dyn Clock>) -> Self {
        Self { host: host.to_owned(), resolver, clock: Arc::clone(clock), known: BTreeSet::new() }
    }

    /// The addresses that it had when it was last looked at, in order.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.known.iter().copied().collect()
    }
}

impl<R: Resolve> Source for Dns<R> {
    async fn look(&mut self) -> Vec<Change> {
        let found = match within(&*self.clock, PATIENCE, self.resolver.resolve(&self.host)).await {
            Some(Ok(found)) if !found.is_empty() => found,
            Some(Err(error)) => {
                tracing::debug!(host = %self.host, %error, "no addresses; those known are kept");
                return Vec::new();
            }
            Some(Ok(_)) | None => return Vec::new(),
        };
        let now: BTreeSet<IpAddr> = found.into_iter().take(MOST).collect();
        let added = now.difference(&self.known).copied().map(Change::Added);
        let removed = self.known.difference(&now).copied().map(Change::Removed);
        let changes = added.chain(removed).collect();
        self.known = now;
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::VecDeque;

    use plimsoll_types::TokioClock;

    /// Gives one answer after the other, and none at all after the last.
    struct Script(RefCell<VecDeque<io::Result<Vec<IpAddr>>>>);

    impl Resolve for Script {
        async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            let next = self.0.borrow_mut().pop_front();
            match next {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        }
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_come_and_go_and_the_last_good_ones_are_kept() {
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::start());
        let answers = [
            Ok(vec![ip(2), ip(1), ip(2)]),
            Err(io::Error::other("no such name")),
            Ok(Vec::new()),
            Ok(vec![ip(3), ip(2)]),
        ];
        let mut source = Dns::new("pool.internal", Script(RefCell::new(answers.into())), &clock);
        assert_eq!(source.look().await, [Change::Added(ip(1)), Change::Added(ip(2))]);
        assert_eq!(source.look().await, [], "a name that is gone is a broken resolver first of all");
        assert_eq!(source.look().await, []);
        assert_eq!(source.look().await, [Change::Added(ip(3)), Change::Removed(ip(1))]);
        let asked = clock.now();
        assert_eq!(source.look().await, [], "a resolver that says nothing holds nobody up");
        assert!(clock.now() - asked < PATIENCE * 2);
        assert_eq!(source.addresses(), [ip(2), ip(3)]);
    }
}
