//! What is paid for anyway, whether it is used or not: so many dollars or tokens, until a day. Using it costs nothing more as
//! long as something of it is left; then its backends cost what they cost without it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_types::{Key, Keys, Section};

use crate::metrics::CommitmentMetrics;
use crate::sync::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// What the configuration says of one commitment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CommitmentConfig {
    /// Its name.
    pub name: String,
    /// Dollars that are paid for; 0 where it is about tokens.
    pub dollars: f64,
    /// Tokens that are paid for; 0 where it is about dollars.
    pub tokens: u64,
    /// What had been used of it.
    pub used: f64,
    /// The first day.
    pub from: String,
    /// The last day.
    pub until: String,
}

const DAY: u64 = 86_400;

impl Section for CommitmentConfig {
    fn keys(&mut self, keys: &mut dyn Keys) {
        let key = Key::new("name", "Its name, by which backends say that it is theirs (`commitment`).");
        keys.text(key, &mut self.name);
        let key = Key::new("dollars", "How many dollars it is, at what its backends cost without it.");
        keys.decimal(key, 0.0..=1e12, &mut self.dollars);
        let key = Key::new("tokens", "Or how many tokens, of prompts and answers together.");
        keys.number(key, 0..=1 << 60, &mut self.tokens);
        let key = Key::new(
            "used",
            "What had been used of it, as far as bills or other gateways say: what is used here since this was read is added, and \
             another number here takes the place of all that.",
        );
        keys.decimal(key, 0.0..=1e18, &mut self.used);
        keys.text(
            Key::new("from", "Its first day (UTC), such as 2026-01-01; empty means that it has begun."),
            &mut self.from,
        );
        keys.text(Key::new("until", "Its last day; empty means that it has no end."), &mut self.until);
        if self.name.is_empty() {
            keys.wrong("name", "is missing".into());
        }
        if (self.dollars > 0.0) == (self.tokens > 0) {
            keys.wrong("dollars", "is how much it is: give dollars or tokens, one of them".into());
        }
        for (key, day) in [("from", &self.from), ("until", &self.until)] {
            if !day.is_empty() && seconds_at(day).is_none() {
                keys.wrong(key, format!("{day:?} is not a day, such as 2026-12-31"));
            }
        }
        if let (Some(from), Some(until)) = (seconds_at(&self.from), seconds_at(&self.until))
            && until < from
        {
            keys.wrong("until", "is before from".into());
        }
    }
}

/// Seconds since 1970 at which a day begins.
fn seconds_at(day: &str) -> Option<u64> {
    let mut parts = day.split('-');
    let mut number = |digits: usize| {
        let part = parts.next().filter(|part| part.len() == digits)?;
        part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse::<u64>().ok()).flatten()
    };
    let (year, month, day) = (number(4)?, number(2)?, number(2)?);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let lengths = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let length = *lengths.get(usize::try_from(month.checked_sub(1)?).ok()?)?;
    if parts.next().is_some() || !(1..=length).contains(&day) || year < 1970 {
        return None;
    }
    let years: u64 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum();
    let months: u64 = lengths[..month as usize - 1].iter().sum();
    Some((years + months + day - 1) * DAY)
}

/// One of them. What is counted is millionths of dollars, or tokens.
#[derive(Debug)]
pub struct Commitment {
    /// Its name.
    pub name: String,
    is_tokens: AtomicBool,
    size: AtomicU64,
    used: AtomicU64,
    /// What the configuration last said had been used.
    said: AtomicU64,
    /// Seconds since 1970 between which it is in force.
    from: AtomicU64,
    until: AtomicU64,
    in_force: AtomicBool,
    metrics: CommitmentMetrics,
}

const MILLIONTHS: f64 = 1e6;

impl Commitment {
    fn new(config: &CommitmentConfig) -> Arc<Self> {
        let new = Self {
            name: config.name.clone(),
            is_tokens: AtomicBool::new(false),
            size: AtomicU64::new(0),
            used: AtomicU64::new(0),
            said: AtomicU64::new(0),
            from: AtomicU64::new(0),
            until: AtomicU64::new(u64::MAX),
            in_force: AtomicBool::new(true),
            metrics: CommitmentMetrics::new(&config.name),
        };
        new.configure(config);
        Arc::new(new)
    }

    fn configure(&self, config: &CommitmentConfig) {
        let is_tokens = config.tokens > 0;
        let units = |amount: f64| if is_tokens { amount as u64 } else { (amount * MILLIONTHS) as u64 };
        self.is_tokens.store(is_tokens, Relaxed);
        self.size.store(if is_tokens { config.tokens } else { units(config.dollars) }, Relaxed);
        let said = units(config.used);
        if self.said.swap(said, Relaxed) != said {
            self.used.store(said, Relaxed);
        }
        self.from.store(seconds_at(&config.from).unwrap_or(0), Relaxed);
        self.until.store(seconds_at(&config.until).map_or(u64::MAX, |day| day + DAY), Relaxed);
    }

    /// So much of it was used.
    pub(crate) fn spend(&self, dollars: f64, tokens: u64) {
        let units = if self.is_tokens.load(Relaxed) { tokens } else { (dollars * MILLIONTHS).round() as u64 };
        self.used.fetch_add(units, Relaxed);
    }

    /// Looks, so many seconds after 1970, whether something of it is left.
    pub(crate) fn look(&self, wall: Duration) {
        let (wall, left) = (wall.as_secs(), self.used.load(Relaxed) < self.size.load(Relaxed));
        let in_force = left && wall >= self.from.load(Relaxed) && wall < self.until.load(Relaxed);
        self.in_force.store(in_force, Relaxed);
    }

    /// Whether using it costs nothing more, as it was last looked at.
    #[must_use]
    pub fn is_in_force(&self) -> bool {
        self.in_force.load(Relaxed)
    }

    /// What is counted.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        if self.is_tokens.load(Relaxed) { "tokens" } else { "dollars" }
    }

    /// How much it is, and how much of that has been used: more than it is where somebody went on.
    #[must_use]
    pub fn size_and_used(&self) -> (f64, f64) {
        let by = if self.is_tokens.load(Relaxed) { 1.0 } else { MILLIONTHS };
        (self.size.load(Relaxed) as f64 / by, self.used.load(Relaxed) as f64 / by)
    }

    /// Seconds since 1970 at which it ends.
    #[must_use]
    pub fn ends_at(&self) -> Option<u64> {
        Some(self.until.load(Relaxed)).filter(|until| *until != u64::MAX)
    }
}

/// The commitments of a fleet, by name.
#[derive(Debug, Default)]
pub(crate) struct Commitments(BTreeMap<String, Arc<Commitment>>);

impl Commitments {
    /// Those of `configs`, each with what was used of it if it was there before.
    pub(crate) fn after(before: Option<&Self>, configs: &[CommitmentConfig]) -> Self {
        let known = |name: &str| before.and_then(|before| before.0.get(name)).cloned();
        let all = configs.iter().map(|config| {
            let same = known(&config.name).inspect(|same| same.configure(config));
            (config.name.clone(), same.unwrap_or_else(|| Commitment::new(config)))
        });
        Self(all.collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Commitment>> {
        self.0.get(name)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Commitment>> {
        self.0.values()
    }

    /// Sets the gauges of all.
    pub(crate) fn observe(&self) {
        for commitment in self.0.values() {
            let (size, used) = commitment.size_and_used();
            commitment.metrics.observe(commitment.unit(), size, used, commitment.ends_at());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::tests::{shape, spec};
    use crate::{Conditions, Config, Cost, Fleet};
    use plimsoll_types::{BackendSpec, Prices};

    const DECEMBER: u64 = 1_796_083_200;

    fn config(used: f64) -> CommitmentConfig {
        CommitmentConfig {
            name: "ptu".into(),
            tokens: 1_000,
            used,
            from: "2026-12-01".into(),
            until: "2026-12-31".into(),
            ..CommitmentConfig::default()
        }
    }

    fn fleet(used: f64, before: Option<&Fleet>) -> Fleet {
        let prices = Prices { million_prompt: 1.0, million_answer: 4.0, ..Prices::default() };
        let spec = BackendSpec { prices, commitment: Some("ptu".into()), ..spec("endpoint") };
        Fleet::new(vec![spec], Config { commitments: vec![config(used)], ..Config::default() }, before)
    }

    fn money(fleet: &Fleet, wall: u64) -> f32 {
        fleet.look_at_commitments(Duration::from_secs(wall));
        let conditions = Conditions { seconds_per_dollar: 20.0, ..Conditions::UNKNOWN };
        Cost::of(&fleet.backends[0], &shape(1_000), 0, &conditions).money
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(seconds_at("1970-01-01"), Some(0));
        assert_eq!(seconds_at("2026-12-01"), Some(DECEMBER));
        assert_eq!(seconds_at("2028-03-01").unwrap() - seconds_at("2028-02-28").unwrap(), 2 * DAY);
        for bad in [
            "",
            "2026-13-01",
            "2026-02-29",
            "2026-1-1",
            "2026-12-01-",
            "1969-12-31",
            "20261201",
            "+026-12-01",
        ] {
            assert_eq!(seconds_at(bad), None, "{bad}");
        }
    }

    #[test]
    fn it_costs_nothing_more_until_it_is_used_up_and_only_in_its_time() {
        let fleet = fleet(0.0, None);
        assert_eq!(money(&fleet, DECEMBER), 0.0);
        assert!(money(&fleet, DECEMBER - 1) > 0.0 && money(&fleet, DECEMBER + 31 * DAY) > 0.0);
        let commitment = fleet.backends[0].commitment.as_ref().unwrap();
        commitment.spend(99.0, 999);
        assert_eq!(money(&fleet, DECEMBER), 0.0);
        commitment.spend(0.0, 1);
        assert!(money(&fleet, DECEMBER) > 0.0);
        assert_eq!((commitment.size_and_used(), commitment.unit()), ((1_000.0, 1_000.0), "tokens"));
    }

    #[test]
    fn what_was_used_stays_when_the_configuration_is_read_again_unless_it_says_otherwise() {
        let used = |fleet: &Fleet| fleet.commitments().next().unwrap().size_and_used().1;
        let first = fleet(100.0, None);
        first.backends[0].commitment.as_ref().unwrap().spend(0.0, 50);
        let second = fleet(100.0, Some(&first));
        assert_eq!(used(&second), 150.0);
        assert!(Arc::ptr_eq(&first.backends[0], &second.backends[0]), "it is the backend that it was");
        let third = fleet(700.0, Some(&second));
        assert_eq!(used(&third), 700.0);
        third.backends[0].commitment.as_ref().unwrap().spend(0.0, 1);
        assert_eq!(used(&third), 701.0, "backends count in what the fleet shows");
    }

    #[test]
    fn dollars_are_counted_at_what_it_costs_without() {
        let commitment = Commitment::new(&CommitmentConfig {
            name: "c".into(),
            dollars: 2.5,
            ..CommitmentConfig::default()
        });
        commitment.spend(0.25, 1_000_000);
        assert_eq!((commitment.size_and_used(), commitment.ends_at()), ((2.5, 0.25), None));
    }
}
