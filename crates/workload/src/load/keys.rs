use std::collections::BTreeMap;
use std::fmt;

/// The API keys of a run. They are shown nowhere.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TenantKeys {
    /// The key of whoever has none of its own.
    pub default: Option<String>,
    /// The keys of tenants, by name.
    pub own: BTreeMap<String, String>,
}

impl TenantKeys {
    /// Reads keys of tenants from lines of a name and a key, with white space between; `#` begins a comment.
    ///
    /// # Errors
    ///
    /// The number of a line that is neither, counted from 1. What it says is not repeated.
    pub fn read(&mut self, text: &str) -> Result<(), usize> {
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut words = line.split_whitespace();
            let (Some(name), Some(key), None) = (words.next(), words.next(), words.next()) else {
                return Err(number);
            };
            self.own.insert(name.to_owned(), key.to_owned());
        }
        Ok(())
    }

    /// The key that `tenant` calls with.
    pub(super) fn of(&self, tenant: &str) -> Option<&String> {
        self.own.get(tenant).or(self.default.as_ref())
    }

    /// A key to ask with on behalf of nobody in particular.
    pub(super) fn any(&self) -> Option<&String> {
        self.default.as_ref().or_else(|| self.own.values().next())
    }

    /// `text` without any of the keys: endpoints quote the one that they refuse.
    pub(super) fn hide(&self, text: &str) -> String {
        let mut hidden = text.to_owned();
        for key in self.own.values().chain(&self.default).filter(|key| !key.is_empty()) {
            if hidden.contains(key.as_str()) {
                hidden = hidden.replace(key.as_str(), "[key]");
            }
        }
        hidden
    }
}

impl fmt::Debug for TenantKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantKeys").field("own", &self.own.keys()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_without_a_key_of_their_own_use_that_of_all() {
        let mut keys = TenantKeys { default: Some("all".into()), ..TenantKeys::default() };
        keys.read("# name key\n\nchat  sk-1\nbatch\tsk-2\n").unwrap();
        assert_eq!(
            ["chat", "batch", "x"].map(|name| keys.of(name).unwrap().as_str()),
            ["sk-1", "sk-2", "all"]
        );
        assert_eq!(keys.read("chat sk-1\nonly-a-name\n"), Err(2));
    }

    #[test]
    fn a_key_is_not_shown() {
        let mut keys = TenantKeys { default: Some("s3cret".into()), ..TenantKeys::default() };
        keys.read("chat t0p").unwrap();
        assert_eq!(keys.hide("bad s3cret, bad t0p"), "bad [key], bad [key]");
        let shown = format!("{keys:?}");
        assert!(shown.contains("chat") && !shown.contains("s3cret") && !shown.contains("t0p"), "{shown}");
    }
}
