//! Asks backends without a list of models what they serve, until each has said so.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::assemble::{self, Discovered, spec_of};
use crate::house::House;

/// How often those that have not answered are asked again.
const EVERY: Duration = Duration::from_secs(1);

/// What was found so far; the reloader needs it too.
pub(crate) type Found = Rc<RefCell<Discovered>>;

/// Asks all that have not said what they serve, once; true when nobody is left.
pub(crate) async fn ask(house: &Arc<House>, found: &Found) -> bool {
    let settings = house.settings.load_full();
    let unknown: Vec<_> =
        settings.config.backends.iter().filter(|backend| backend.models.is_empty()).collect();
    let (mut left, mut news) = (false, false);
    for backend in unknown {
        let spec = spec_of(backend, &found.borrow());
        if !spec.models.is_empty() {
            continue;
        }
        let key = (spec.name, spec.identity);
        let Some(engine) = settings.engines.openai.get(&key).map(|backend| backend.engine(&house.clock))
        else {
            continue;
        };
        let late = house.clock.sleep_until(house.clock.now() + EVERY * 3);
        let models = tokio::select! {
            models = engine.models() => models.map_err(|failure| failure.to_string()),
            () = late => Err("no answer".into()),
        };
        match models {
            Ok(models) if !models.is_empty() => {
                tracing::info!(backend = %backend.name, models = models.join(", "), "models found");
                found.borrow_mut().insert(key, models);
                news = true;
            }
            Ok(_) => left = true,
            Err(why) => {
                tracing::debug!(backend = %backend.name, why, "models not known yet");
                left = true;
            }
        }
    }
    if news {
        let config = settings.config.clone();
        if let Err(why) = assemble::publish(house, config, &found.borrow()) {
            tracing::error!(why, "what backends serve could not be put in force");
        }
    }
    !left
}

/// Goes on asking for as long as the gateway runs: a reload may bring backends that must be asked.
pub(crate) async fn keep_asking(house: Arc<House>, found: Found) {
    loop {
        house.clock.sleep_until(house.clock.now() + EVERY).await;
        ask(&house, &found).await;
    }
}
