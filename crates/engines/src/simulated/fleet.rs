//! The embedded fleet: backends in three clouds, read from `fleet.csv`.

use std::time::Duration;

use plimsoll_types::{BackendSpec, Locality, ServedModel};

use super::backend::{SEQUENCES, Simulated, Skill};
use super::random::mix;
use super::table::{find, lines};

/// The model that writes.
pub const CHAT_MODEL: &str = "sim-chat";
/// The model that turns texts into vectors.
pub const EMBEDDING_MODEL: &str = "sim-embed";

/// The fleet that serves where nothing else is configured, as a gateway in northern Virginia sees it.
///
/// `seed` decides all that looks random; `epoch` is the origin of the engines' clock as time since 1970, for what
/// answers say of their age.
#[must_use]
pub fn embedded(seed: u64, epoch: Duration) -> Vec<Simulated> {
    let mut fleet: Vec<Simulated> = Vec::new();
    for line in lines(include_str!("fleet.csv")) {
        let row = row(line).expect("the table is part of the program, and tested");
        for _ in 0..row.replicas {
            let number = 1 + fleet.iter().filter(|other| row.is_sibling(other.spec())).count();
            let seed = mix(seed, fleet.len() as u64);
            fleet.push(row.backend(number, (seed, epoch.as_secs())));
        }
    }
    fleet
}

struct Row {
    locality: Locality,
    round_trip: Duration,
    accelerator: &'static str,
    time: plimsoll_types::StepTime,
    model: &'static str,
    replicas: usize,
}

impl Row {
    fn is_sibling(&self, other: &BackendSpec) -> bool {
        let (here, there) = (&self.locality, &other.locality);
        (&here.cloud, &here.region, self.model) == (&there.cloud, &there.region, &*other.models[0].name)
    }

    fn backend(&self, number: usize, origin: (u64, u64)) -> Simulated {
        let Locality { cloud, region, .. } = &self.locality;
        let (skill, what) =
            if self.model == EMBEDDING_MODEL { (Skill::Embed, "embed") } else { (Skill::Write, "chat") };
        let name = format!("{cloud}-{}-{what}-{number}", region.to_lowercase());
        let spec = BackendSpec {
            identity: format!("simulated:{name}"),
            name,
            locality: self.locality.clone(),
            accelerator: self.accelerator.to_owned(),
            models: vec![ServedModel::plain(self.model)],
            // Half of them may wait inside, as they do in engines.
            max_in_flight: 2 * SEQUENCES,
        };
        Simulated::new(spec, skill, self.time, self.round_trip, origin)
    }
}

fn row(line: &'static str) -> Option<Row> {
    let mut cells = line.split(',');
    let locality = Locality {
        cloud: cells.next()?.to_owned(),
        region: cells.next()?.to_owned(),
        zone: cells.next()?.to_owned(),
    };
    let round_trip = Duration::from_secs_f64(cells.next()?.parse::<f64>().ok()? / 1_000.0);
    let (accelerator, shape) = (cells.next()?, cells.next()?);
    let (tensor_parallel, dtype) = (cells.next()?.parse().ok()?, cells.next()?);
    let time = find(accelerator, shape, tensor_parallel, dtype)?.time;
    let (model, replicas) = (cells.next()?, cells.next()?.parse().ok()?);
    cells.next().is_none().then_some(Row { locality, round_trip, accelerator, time, model, replicas })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_fleet_spans_three_clouds_and_three_gpus_with_two_models() {
        let fleet = embedded(1, Duration::ZERO);
        let all = |what: fn(&BackendSpec) -> &str| -> Vec<&str> {
            let set: HashSet<&str> = fleet.iter().map(|backend| what(backend.spec())).collect();
            let mut sorted: Vec<&str> = set.into_iter().collect();
            sorted.sort_unstable();
            sorted
        };
        assert_eq!(all(|spec| &spec.locality.cloud), ["aws", "azure", "coreweave"]);
        assert_eq!(all(|spec| &spec.accelerator), ["GB200", "H100", "H200"]);
        assert_eq!(all(|spec| &spec.models[0].name), [CHAT_MODEL, EMBEDDING_MODEL]);
        assert_eq!(all(|spec| &spec.name).len(), fleet.len());
        assert_eq!(all(|spec| &spec.identity).len(), fleet.len());
        for cloud in ["aws", "azure", "coreweave"] {
            for model in [CHAT_MODEL, EMBEDDING_MODEL] {
                let serves = |backend: &&Simulated| {
                    backend.spec().locality.cloud == cloud && backend.spec().models[0].name == model
                };
                assert!(fleet.iter().any(|backend| serves(&backend)), "{cloud} {model}");
            }
        }
    }

    #[test]
    fn backends_of_one_region_and_model_are_numbered() {
        let names: Vec<String> =
            embedded(1, Duration::ZERO).iter().map(|backend| backend.spec().name.clone()).collect();
        assert_eq!(names[..2], ["aws-us-east-1-chat-1", "aws-us-east-1-chat-2"]);
    }
}
