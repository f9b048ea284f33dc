//! What serves now: the values of labels that may be removed.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::catalog;

/// The names that serve.
#[derive(Default)]
pub(crate) struct Names {
    /// How often each value of a label is said to serve.
    counts: HashMap<&'static str, HashMap<String, usize>>,
    /// How often they have changed.
    changes: u64,
}

impl Names {
    /// Whether `value` of `label` serves.
    pub(crate) fn have(&self, label: &str, value: &str) -> bool {
        self.counts.get(label).is_some_and(|values| values.contains_key(value))
    }

    /// How often they have changed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }
}

/// All that serves.
#[derive(Default)]
pub(crate) struct Roll(Mutex<Names>);

impl Roll {
    pub(crate) fn names(&self) -> MutexGuard<'_, Names> {
        // Every change is complete before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names that serve until this is dropped.
#[must_use = "the names stop serving when this is dropped"]
pub struct Serving {
    roll: Arc<Roll>,
    names: HashSet<(&'static str, String)>,
}

impl Serving {
    pub(crate) fn new(roll: Arc<Roll>, names: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let names: HashSet<_> = names.into_iter().collect();
        let mut all = roll.names();
        for (label, value) in &names {
            debug_assert!(catalog::REMOVABLE.contains(label), "{label} has a fixed set of values");
            *all.counts.entry(label).or_default().entry(value.clone()).or_default() += 1;
        }
        all.changes += 1;
        drop(all);
        Self { roll, names }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let mut all = self.roll.names();
        for (label, value) in &self.names {
            let Some(values) = all.counts.get_mut(label) else { continue };
            if let Some(count) = values.get_mut(value) {
                *count -= 1;
                if *count == 0 {
                    values.remove(value);
                }
            }
        }
        all.changes += 1;
    }
}
