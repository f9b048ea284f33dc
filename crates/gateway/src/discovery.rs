//! Asks backends without a list of models what they serve, until each has said so.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_engines::Failure;
use plimsoll_types::BackendSpec;

use crate::assemble::{self, Discovered, spec_of};
use crate::house::House;

/// How often those that have not answered are asked again.
const EVERY: Duration = Duration::from_secs(1);

/// What was found so far; the reloader needs it too.
pub(crate) type Found = Rc<RefCell<Discovered>>;

/// Asks all that have not said what they serve, at the same time.
pub(crate) async fn ask(house: &Arc<House>, found: &Found) {
    let settings = house.settings.load_full();
    let unknown = settings.backends.iter().filter(|backend| backend.models.is_empty());
    let unknown =
        unknown.map(|backend| spec_of(backend, &found.borrow())).filter(|spec| spec.models.is_empty());
    let asked: Vec<_> =
        unknown.map(|spec| tokio::task::spawn_local(ask_one(Arc::clone(house), spec))).collect();
    let mut news = false;
    for answer in asked {
        if let Ok(Some((key, models))) = answer.await {
            found.borrow_mut().models.insert(key, models);
            news = true;
        }
    }
    // Another configuration may have come while they were asked: what is in force now is what is published again.
    let config = house.settings.load_full().config.clone();
    if news && let Err(why) = assemble::publish(house, config, &found.borrow()) {
        tracing::error!(why, "what backends serve could not be put in force");
    }
}

async fn ask_one(house: Arc<House>, spec: BackendSpec) -> Option<((String, String), Vec<String>)> {
    let key = (spec.name, spec.identity);
    let late = house.clock.sleep_until(house.clock.now() + EVERY * 3);
    let models = tokio::select! {
        models = models_of(&house, &key) => models.map_err(|failure| failure.to_string()),
        () = late => Err("no answer".into()),
    };
    match models {
        Ok(models) if !models.is_empty() => {
            tracing::info!(backend = %key.0, models = models.join(", "), "models found");
            return Some((key, models));
        }
        Ok(_) => tracing::debug!(backend = %key.0, "the backend lists no models yet"),
        Err(why) => tracing::debug!(backend = %key.0, why, "models not known yet"),
    }
    None
}

async fn models_of(house: &House, key: &(String, String)) -> Result<Vec<String>, Failure> {
    let settings = house.settings.load_full();
    if let Some(backend) = settings.engines.grpc.get(key) {
        return backend.engine(&house.clock).models().await;
    }
    if let Some(backend) = settings.engines.stepped.get(key) {
        return backend.models().await;
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
