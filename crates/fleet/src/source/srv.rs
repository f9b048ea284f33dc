//! The SRV records of a service, each of which is a backend.

mod message;
mod servers;

pub use message::Target;
pub use servers::Servers;

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::time::Duration;

use plimsoll_types::Instant;

use super::{Change, Source};

/// Records of one service beyond which a list is not believed.
const MOST: usize = 1_024;
/// How long an answer is good for at the least and at the most, whatever it says: a name that is gone for a second must not
/// be asked for without a pause, and a mistake of a day must not last for one.
const GOOD_FOR: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// When it is asked again after there was no answer.
const AGAIN: Duration = Duration::from_secs(5);

/// Finds the records of a service.
pub trait LookUp {
    /// Those of `name`, and how long they are good for.
    fn look_up(&self, name: &str) -> impl Future<Output = io::Result<(Vec<Target>, Duration)>>;
}

/// The records of one service as they come and go.
pub struct Srv<L> {
    name: String,
    servers: L,
    known: BTreeSet<Target>,
    /// How long what is known is good for.
    good_for: Duration,
}

impl<L: LookUp> Srv<L> {
    /// Nothing is known of `name` yet.
    pub fn new(name: &str, servers: L) -> Self {
        Self { name: name.to_owned(), servers, known: BTreeSet::new(), good_for: Duration::ZERO }
    }

    /// The records that it had when it was last looked at, those of the lowest priority number first.
    pub fn targets(&self) -> Vec<Target> {
        self.known.iter().cloned().collect()
    }

    /// When to look again after a look at `now`.
    pub fn due_after(&self, now: Instant) -> Instant {
        now + self.good_for
    }
}

impl<L: LookUp> Source for Srv<L> {
    type Member = Target;

    async fn look(&mut self) -> Vec<Change<Target>> {
        let found = match self.servers.look_up(&self.name).await {
            Ok((found, good_for)) if !found.is_empty() => {
                self.good_for = good_for.clamp(GOOD_FOR.0, GOOD_FOR.1);
                found
            }
            Ok(_) => {
                self.good_for = AGAIN;
                return Vec::new();
            }
            Err(error) => {
                tracing::debug!(service = %self.name, %error, "no records; those known are kept");
                self.good_for = AGAIN;
                return Vec::new();
            }
        };
        let now: BTreeSet<Target> = found.into_iter().take(MOST).collect();
        let added = now.difference(&self.known).cloned().map(Change::Added);
        let removed = self.known.difference(&now).cloned().map(Change::Removed);
        let changes = added.chain(removed).collect();
        self.known = now;
        changes
    }
}

/// Those of `targets`, in the order of their priority, that are used: the first group, and the next one as long as nobody of
/// those before it is well.
#[must_use]
pub fn in_use(targets: &[Target], is_well: impl Fn(&Target) -> bool) -> &[Target] {
    let mut end = 0;
    for group in targets.chunk_by(|one, next| one.priority == next.priority) {
        end += group.len();
        if group.iter().any(&is_well) {
            break;
        }
    }
    &targets[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::VecDeque;

    type Found = io::Result<(Vec<Target>, Duration)>;

    struct Script(RefCell<VecDeque<Found>>);

    impl LookUp for Script {
        async fn look_up(&self, _: &str) -> Found {
            self.0.borrow_mut().pop_front().expect("the script is long enough")
        }
    }

    fn target(priority: u16, host: &str) -> Target {
        Target { priority, host: host.into(), port: 8_000, weight: 1 }
    }

    #[tokio::test]
    async fn records_come_and_go_for_as_long_as_they_are_good_and_the_last_good_ones_are_kept() {
        let (a, b) = (target(0, "a"), target(0, "b"));
        let answers = [
            Ok((vec![b.clone(), a.clone()], Duration::from_secs(30))),
            Err(io::Error::other("no such name")),
            Ok((Vec::new(), Duration::from_secs(9_999))),
            Ok((vec![b.clone()], Duration::ZERO)),
            Ok((vec![b.clone()], Duration::from_secs(86_400))),
        ];
        let mut source = Srv::new("_llm._tcp.pool.test", Script(RefCell::new(answers.into())));
        let good_for = |source: &Srv<Script>| (source.due_after(Instant::ORIGIN) - Instant::ORIGIN).as_secs();
        assert_eq!(source.look().await, [Change::Added(a.clone()), Change::Added(b.clone())]);
        assert_eq!(good_for(&source), 30);
        for _ in 0..2 {
            assert_eq!(source.look().await, []);
            assert_eq!((good_for(&source), source.targets().len()), (5, 2));
        }
        assert_eq!(source.look().await, [Change::Removed(a)]);
        assert_eq!(good_for(&source), 1);
        assert_eq!(source.look().await, []);
        assert_eq!((good_for(&source), source.targets()), (300, vec![b]));
    }

    #[test]
    fn a_group_is_used_when_nobody_of_those_before_it_is_well() {
        let targets = [target(0, "a"), target(0, "b"), target(5, "c"), target(9, "d")];
        let used = |well: &[&str]| in_use(&targets, |target| well.contains(&target.host.as_str())).len();
        assert_eq!(
            [used(&["a", "c"]), used(&["b"]), used(&["c", "d"]), used(&["d"]), used(&[])],
            [2, 2, 3, 4, 4]
        );
        assert_eq!(in_use(&[], |_| true), []);
    }
}
