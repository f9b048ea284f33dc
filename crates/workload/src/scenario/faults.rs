use std::time::Duration;

use plimsoll_types::{Key, Keys, Section};

use super::Group;

/// Something that goes wrong for a while.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// What goes wrong.
    what: &'static str,
    /// Where: a group, a cloud, `cloud/region` or a zone.
    pub at: String,
    /// Which share of the backends there it strikes.
    pub share: f64,
    /// Seconds from the beginning.
    after_s: f64,
    /// Seconds that it lasts.
    for_s: f64,
    /// How many times as slow those that are slow become.
    pub factor: f64,
}

/// What can go wrong with a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// It cannot be reached, and has lost all that it had when it comes back.
    Dead,
    /// It takes requests and says nothing; in the end it is restarted.
    Hung,
    /// It takes longer for everything.
    Slow,
}

const WHATS: &[&str] = &["dead", "hung", "slow"];

impl Default for Fault {
    fn default() -> Self {
        Self { what: WHATS[0], at: String::new(), share: 1.0, after_s: 0.0, for_s: 60.0, factor: 3.0 }
    }
}

impl Fault {
    /// What goes wrong.
    #[must_use]
    pub fn what(&self) -> What {
        match self.what {
            "hung" => What::Hung,
            "slow" => What::Slow,
            _ => What::Dead,
        }
    }

    /// When it begins and for how long it lasts.
    #[must_use]
    pub fn span(&self) -> (Duration, Duration) {
        (Duration::from_secs_f64(self.after_s), Duration::from_secs_f64(self.for_s))
    }

    /// Whether backends of `group` are among those that it may strike.
    #[must_use]
    pub fn strikes(&self, group: &Group) -> bool {
        [&group.name, &group.cloud, &group.place(), &group.zone].contains(&&self.at)
    }
}

impl Section for Fault {
    fn keys(&mut self, keys: &mut dyn Keys) {
        let key = Key::new(
            "what",
            "What goes wrong: `dead` cannot be reached and comes back empty, `hung` says nothing, `slow` takes longer.",
        );
        keys.choice(key, WHATS, &mut self.what);
        let key = Key::new("at", "Where: the name of a group, a cloud, `cloud/region` or a zone.");
        keys.text(key, &mut self.at);
        let key = Key::new("share", "Which share of the backends there it strikes, the first of them.");
        keys.decimal(key, 0.0..=1.0, &mut self.share);
        keys.decimal(Key::new("after_s", "Seconds from the beginning."), 0.0..=1e8, &mut self.after_s);
        keys.decimal(Key::new("for_s", "Seconds that it lasts."), 0.001..=1e8, &mut self.for_s);
        let key = Key::new("factor", "How many times as slow those that are slow become.");
        keys.decimal(key, 1.0..=1e6, &mut self.factor);
        if self.at.is_empty() {
            keys.wrong("at", "is missing: a group, a cloud, cloud/region or a zone".into());
        }
    }
}
