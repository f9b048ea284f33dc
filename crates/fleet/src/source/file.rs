use std::fs::read_to_string;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use plimsoll_telemetry::catalog;
use plimsoll_types::Clock;

use super::{Change, Source};

/// How long a changed file must stay as it is: half of a file that somebody is writing may well be a good one, without
/// what stands in its other half.
const SETTLED: Duration = Duration::from_millis(100);

/// What `path` says once it has stopped changing.
///
/// # Errors
///
/// Where it cannot be read, in words for the operator.
pub async fn settled(path: &Path, clock: &dyn Clock) -> Result<String, String> {
    let read = || read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
    let mut before = read();
    loop {
        clock.sleep_until(clock.now() + SETTLED).await;
        let now = read();
        if now == before {
            return now;
        }
        before = now;
    }
}

/// A file that lists backends, each of which is understood as an `M`.
pub struct File<M> {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    /// What it said when it was last looked at, be it why it could not be read.
    said: Option<Result<String, String>>,
    read: Read<M>,
    known: Vec<M>,
    /// Whether what it said last could not stand.
    refused: bool,
}

/// Understands a text that came from a file, or says all that is wrong with it.
pub type Read<M> = Box<dyn Fn(&str, &str) -> Result<Vec<M>, Vec<String>>>;

impl<M: Clone + PartialEq> File<M> {
    /// Nothing is known of what `path` says yet; `read` understands it.
    pub fn new(path: &str, read: Read<M>, clock: &Arc<dyn Clock>) -> Self {
        let clock = Arc::clone(clock);
        Self { path: path.into(), clock, said: None, read, known: Vec::new(), refused: false }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it was refused for may be otherwise by now: then it is read again, though it says the same.
    pub fn reconsider(&mut self) {
        if self.refused {
            self.said = None;
        }
    }

    /// The backends that it listed when it was last good.
    #[must_use]
    pub fn members(&self) -> &[M] {
        &self.known
    }

    /// What it lists now, if that is new.
    async fn news(&mut self) -> Option<Result<Vec<M>, Vec<String>>> {
        let unchanged = |said: &Result<String, String>| {
            said.as_ref().is_ok_and(|said| read_to_string(&self.path).is_ok_and(|text| text == *said))
        };
        if self.said.as_ref().is_some_and(unchanged) {
            return None;
        }
        let said = Some(settled(&self.path, &*self.clock).await);
        if said == self.said {
            return None;
        }
        self.said = said;
        Some(match self.said.as_ref()? {
            Ok(text) => (self.read)(&self.path.display().to_string(), text),
            Err(error) => Err(vec![error.clone()]),
        })
    }
}

impl<M: Clone + PartialEq> Source for File<M> {
    type Member = M;

    async fn look(&mut self) -> Vec<Change<M>> {
        let had_some = !self.known.is_empty();
        let wrong = match self.news().await {
            None => return Vec::new(),
            Some(Ok(now)) if !now.is_empty() || !had_some => {
                catalog::RELOADS.counter(&["applied"]).increment(1);
                self.refused = false;
                let before = std::mem::replace(&mut self.known, now);
                let gone = before.iter().filter(|member| !self.known.contains(member));
                let new = self.known.iter().filter(|member| !before.contains(member));
                return gone.cloned().map(Change::Removed).chain(new.cloned().map(Change::Added)).collect();
            }
            Some(Ok(_)) => vec![format!("{}: no backends are left in it", self.path.display())],
            Some(Err(wrong)) => wrong,
        };
        catalog::RELOADS.counter(&["refused"]).increment(1);
        self.refused = true;
        for problem in wrong {
            tracing::error!("{problem}");
        }
        tracing::error!(file = %self.path.display(), "the backends of this file stay as they were");
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Change::{Added, Removed};
    use plimsoll_types::TokioClock;

    fn names(file: &str, text: &str) -> Result<Vec<String>, Vec<String>> {
        if text.contains('!') {
            return Err(vec![format!("{file}:1: no")]);
        }
        Ok(text.split_whitespace().map(str::to_owned).collect())
    }

    fn source(name: &str) -> (PathBuf, File<String>, Arc<dyn Clock>) {
        let path = std::env::temp_dir().join(format!("plimsoll-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::start());
        (path.clone(), File::new(&path.display().to_string(), Box::new(names), &clock), clock)
    }

    #[tokio::test(start_paused = true)]
    async fn backends_come_and_go_and_a_file_that_cannot_stand_changes_nothing() {
        let (path, mut file, _) = source("listed");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        assert_eq!(file.look().await, [], "there is no file yet");
        write("a b");
        assert_eq!(file.look().await, [Added("a".into()), Added("b".into())]);
        assert_eq!(file.look().await, []);
        for broken in ["a! c", "", " \n"] {
            write(broken);
            assert_eq!(file.look().await, [], "{broken:?}");
            assert_eq!(file.members(), ["a", "b"]);
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(file.look().await, []);
        write("c b");
        assert_eq!(file.look().await, [Removed("a".into()), Added("c".into())]);
        std::fs::remove_file(&path).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn half_of_a_file_that_is_being_written_is_not_believed() {
        let (path, mut file, clock) = source("half");
        std::fs::write(&path, "a").unwrap();
        let rest = async {
            clock.sleep_until(clock.now() + SETTLED / 2).await;
            std::fs::write(&path, "a b").unwrap();
        };
        let (changes, ()) = tokio::join!(file.look(), rest);
        assert_eq!(changes.len(), 2);
        std::fs::remove_file(&path).unwrap();
    }
}
