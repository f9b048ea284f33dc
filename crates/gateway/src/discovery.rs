//! Asks backends without a list of models what they serve, again and again: adapters come and go, and an engine may come back
//! with another model.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_engines::Failure;
use plimsoll_engines::openai::Card;
use plimsoll_types::{BackendSpec, Instant};

use crate::assemble::{self, Discovered, spec_of};
use crate::house::House;

/// How often those that have not answered are asked again.
const EVERY: Duration = Duration::from_secs(1);
/// How often those that have answered are asked again.
const AGAIN: Duration = Duration::from_secs(10);

/// What was found so far; the reloader needs it too.
pub(crate) type Found = Rc<RefCell<Discovered>>;

/// A backend, by its name and identity.
type Key = (String, String);

/// What is known of the models of one backend.
#[derive(Debug, Default)]
pub(crate) struct Models {
    /// What it last listed. An answer that is no list changes nothing.
    pub(crate) cards: Vec<Card>,
    /// When it is to be asked again.
    due: Instant,
    /// Why it last gave no list, which was said in the log.
    complaint: String,
}

impl Models {
    /// Their names.
    pub(crate) fn names(&self) -> Vec<String> {
        self.cards.iter().map(|card| card.id.clone()).collect()
    }
}

impl Discovered {
    /// All backends are to be asked at once.
    pub(crate) fn ask_again(&mut self) {
        self.models.values_mut().for_each(|models| models.due = Instant::ORIGIN);
    }

    /// Takes in what a backend said. True if it serves other models than were known.
    fn heard(&mut self, key: &Key, said: Result<Vec<Card>, String>, now: Instant) -> bool {
        let known = self.models.entry(key.clone()).or_default();
        let said = said
            .and_then(|cards| if cards.is_empty() { Err("it lists no models".into()) } else { Ok(cards) });
        let cards = match said {
            Ok(cards) => cards,
            Err(why) => {
                known.due = if known.cards.is_empty() { now } else { now + AGAIN };
                if known.complaint != why {
                    tracing::warn!(backend = %key.0, why, "which models the backend has cannot be found out");
                    known.complaint = why;
                }
                return false;
            }
        };
        known.due = now + AGAIN;
        known.complaint.clear();
        let names = |cards: &[Card]| cards.iter().map(|card| card.id.clone()).collect::<Vec<_>>();
        let news = names(&cards) != names(&known.cards);
        if news {
            tracing::info!(backend = %key.0, models = names(&cards).join(", "), "models found");
        }
        known.cards = cards;
        news
    }

    /// What is known of each model: of several backends the least that all can do.
    fn cards(&self) -> HashMap<String, Card> {
        let mut all: HashMap<String, Card> = HashMap::new();
        for card in self.models.values().flat_map(|models| &models.cards) {
            let known = all.entry(card.id.clone()).or_insert_with(|| card.clone());
            known.max_model_len = known.max_model_len.into_iter().chain(card.max_model_len).min();
            known.created = known.created.into_iter().chain(card.created).min();
        }
        all
    }
}

/// Asks all whose models are not known, or were asked for long ago, at the same time.
pub(crate) async fn ask(house: &Arc<House>, found: &Found) {
    let (settings, now) = (house.settings.load_full(), house.clock.now());
    let is_due = |spec: &BackendSpec| {
        let key = (spec.name.clone(), spec.identity.clone());
        found.borrow().models.get(&key).is_none_or(|models| models.due <= now)
    };
    let unlisted = settings.backends.iter().filter(|backend| backend.models.is_empty());
    let specs = unlisted.map(|backend| spec_of(backend, &found.borrow())).filter(is_due);
    let asked: Vec<_> =
        specs.map(|spec| tokio::task::spawn_local(ask_one(Arc::clone(house), spec))).collect();
    if asked.is_empty() {
        return;
    }
    let mut news = false;
    for answer in asked {
        if let Ok((key, said)) = answer.await {
            news |= found.borrow_mut().heard(&key, said, house.clock.now());
        }
    }
    let cards = found.borrow().cards();
    if **house.cards.load() != cards {
        house.cards.store(Arc::new(cards));
    }
    // Another configuration may have come while they were asked: what is in force now is what is published again.
    let config = house.settings.load_full().config.clone();
    if news && let Err(why) = assemble::publish(house, config, &found.borrow()) {
        tracing::error!(why, "what backends serve could not be put in force");
    }
}

async fn ask_one(house: Arc<House>, spec: BackendSpec) -> (Key, Result<Vec<Card>, String>) {
    let key = (spec.name, spec.identity);
    let late = house.clock.sleep_until(house.clock.now() + EVERY * 3);
    let said = tokio::select! {
        models = models_of(&house, &key) => models.map_err(|failure| failure.to_string()),
        () = late => Err("it did not answer in time".into()),
    };
    (key, said)
}

async fn models_of(house: &House, key: &Key) -> Result<Vec<Card>, Failure> {
    let settings = house.settings.load_full();
    let named = |names: Vec<String>| names.into_iter().map(Card::named).collect();
    if let Some(backend) = settings.engines.grpc.get(key) {
        return backend.engine(&house.clock).models().await.map(named);
    }
    if let Some(backend) = settings.engines.stepped.get(key) {
        return backend.models().await.map(named);
    }
    match settings.engines.openai.get(key) {
        Some(backend) => backend.engine(&house.clock).models().await,
        None => Err(Failure::Unreachable("the backend has left the fleet")),
    }
}

/// Goes on asking for as long as the gateway runs: a reload may bring backends that must be asked.
pub(crate) async fn keep_asking(house: Arc<House>, found: Found) {
    loop {
        house.clock.sleep_until(house.clock.now() + EVERY).await;
        ask(&house, &found).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(id: &str, length: u64) -> Card {
        Card { max_model_len: Some(length), created: Some(length), ..Card::named(id.into()) }
    }

    #[test]
    fn an_adapter_that_moves_is_news_and_an_answer_that_is_no_list_changes_nothing() {
        let (mut found, key) = (Discovered::default(), |name: &str| (name.to_owned(), String::new()));
        let now = Instant::ORIGIN;
        assert!(found.heard(&key("a"), Ok(vec![card("base", 8), card("lora", 8)]), now));
        assert!(found.heard(&key("b"), Ok(vec![card("base", 4)]), now));
        assert!(!found.heard(&key("b"), Err("the connection was refused".into()), now));
        assert!(!found.heard(&key("b"), Ok(Vec::new()), now));
        assert_eq!(found.models[&key("b")].names(), ["base"]);
        assert!(!found.heard(&key("b"), Ok(vec![card("base", 4)]), now));
        assert!(found.heard(&key("a"), Ok(vec![card("base", 8)]), now));
        assert!(found.heard(&key("b"), Ok(vec![card("base", 4), card("lora", 4)]), now));
        assert_eq!(found.cards()["base"].max_model_len, Some(4), "what all of them can do");
    }
}
