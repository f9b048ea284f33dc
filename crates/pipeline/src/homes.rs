//! Where responses live: engines keep them in memory, so what refers to one must go to the backend that made it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use plimsoll_engines::{response_id, sse_data};
use plimsoll_types::{Chunk, Instant};

/// Responses that are known at a time: some 20 MB. Beyond it the oldest are forgotten.
const MOST: usize = 100_000;
/// How long one is known.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Where a response lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// The name of the backend.
    pub backend: String,
    /// The tenant that it belongs to; others are not told that there is one.
    tenant: Option<String>,
    since: Instant,
}

/// The homes of responses and conversations, by their ids.
#[derive(Debug, Default)]
pub struct Homes {
    known: DashMap<String, Home>,
    /// Their ids, the oldest first.
    order: Mutex<VecDeque<String>>,
}

impl Homes {
    /// Where the response, or conversation, of this id lives, if it is one of `tenant`.
    #[must_use]
    pub fn find(&self, id: &str, tenant: Option<&str>, now: Instant) -> Option<Home> {
        let home = self.known.get(id).filter(|home| now - home.since < KEPT)?;
        (home.tenant.as_deref() == tenant).then(|| home.clone())
    }

    /// The response, or conversation, of this id lives at `backend`.
    pub(crate) fn keep(&self, id: &str, backend: &str, tenant: Option<&str>, now: Instant) {
        let home = Home { backend: backend.to_owned(), tenant: tenant.map(str::to_owned), since: now };
        if self.known.insert(id.to_owned(), home).is_some() {
            return;
        }
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        order.push_back(id.to_owned());
        if order.len() > MOST
            && let Some(oldest) = order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// The response of this id is no more.
    pub fn forget(&self, id: &str) {
        // Its id leaves the order when it is the oldest there.
        self.known.remove(id);
    }
}

/// The id of the response that begins with these chunks, of a stream or of a plain answer.
pub(crate) fn id_of(chunks: &[Chunk], stream: bool) -> Option<String> {
    if !stream {
        return chunks.first().and_then(|chunk| response_id(&chunk.bytes));
    }
    chunks.iter().flat_map(|chunk| sse_data(&chunk.bytes)).find_map(|data| response_id(&data))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::ORIGIN + Duration::from_secs(seconds)
    }

    #[test]
    fn a_response_is_found_by_its_tenant_until_it_is_old() {
        let homes = Homes::default();
        homes.keep("r", "b1", Some("t"), at(0));
        let backend = |tenant, now| homes.find("r", tenant, now).map(|home| home.backend);
        assert_eq!(backend(Some("t"), at(9)).as_deref(), Some("b1"));
        assert_eq!((backend(None, at(9)), backend(Some("u"), at(9))), (None, None));
        assert_eq!(backend(Some("t"), at(31 * 24 * 3_600)), None);
        homes.forget("r");
        assert_eq!(backend(Some("t"), at(9)), None);
    }

    #[test]
    fn the_oldest_are_forgotten_and_nothing_is_left_of_them() {
        let homes = Homes::default();
        (0..MOST + 10).for_each(|number| homes.keep(&number.to_string(), "b", None, at(0)));
        assert_eq!((homes.known.len(), homes.order.lock().unwrap().len()), (MOST, MOST));
        assert!(homes.find("9", None, at(1)).is_none() && homes.find("10", None, at(1)).is_some());
    }
}
