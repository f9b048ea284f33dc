//! The embedded fleet: backends in three clouds, read from `fleet.csv`.

use std::time::Duration;

use plimsoll_types::{BackendSpec, Locality, Prices, ServedModel};

use super::backend::{Simulated, Skill};
use super::random::mix;
use super::table::{GpuModel, SEQUENCES, gpu_model, lines};

/// The model that writes.
pub const CHAT_MODEL: &str = "sim-chat";
/// The model that turns texts into vectors.
pub const EMBEDDING_MODEL: &str = "sim-embed";

/// The fleet that serves where nothing else is configured, as a gateway in northern Virginia sees it.
///
/// `seed` decides all that looks random; `epoch` is the origin of the engines' clock as time since 1970, for what
/// answers say of their age. All steps and round trips take `time_scale` times as long as in reality.
#[must_use]
pub fn embedded(seed: u64, epoch: Duration, time_scale: u32) -> Vec<Simulated> {
    let backend = |(index, member): (u64, &Member)| {
        let gpu = GpuModel { time: member.gpu.time.scaled(time_scale.into()), ..*member.gpu };
        let round_trip = member.round_trip * time_scale;
        let mut spec = member.spec();
        (spec.step_time, spec.round_trip) = (Some(gpu.time), Some(round_trip));
        if time_scale != 1 {
            // What is known of it on another scale is not true on this one.
            spec.identity += &format!(" x{time_scale}");
        }
        let origin = (mix(seed, index), epoch.as_secs());
        Simulated::new(spec, member.skill(), &gpu, round_trip, origin)
    };
    (0..).zip(&members()).map(backend).collect()
}

/// One backend of the embedded fleet, as data: what a simulation needs to know of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub locality: Locality,
    /// The network there and back, from northern Virginia.
    pub round_trip: Duration,
    /// Its GPU.
    pub gpu: &'static GpuModel,
    /// The name of the model that it serves.
    pub model: &'static str,
}

impl Member {
    /// What routing and operators want to know of it.
    #[must_use]
    pub fn spec(&self) -> BackendSpec {
        BackendSpec {
            identity: format!("simulated:{}", self.name),
            name: self.name.clone(),
            locality: self.locality.clone(),
            accelerator: self.gpu.accelerator.to_owned(),
            models: vec![ServedModel::plain(self.model)],
            continues_chats: None,
            step_time: Some(self.gpu.time),
            kv_tokens: Some(self.gpu.kv_tokens),
            round_trip: Some(self.round_trip),
            prices: Prices::default(),
            residency: Vec::new(),
            // Half of them may wait inside, as they do in engines.
            max_in_flight: 2 * SEQUENCES,
            alone: false,
            weight: None,
            commitment: None,
        }
    }

    fn skill(&self) -> Skill {
        if self.model == EMBEDDING_MODEL { Skill::Embed } else { Skill::Write }
    }

    fn is_sibling(&self, other: &Self) -> bool {
        let place = |member: &Self| (member.locality.cloud.clone(), member.locality.region.clone());
        self.model == other.model && place(self) == place(other)
    }
}

/// The backends of the embedded fleet, in the order of the table.
#[must_use]
pub fn members() -> Vec<Member> {
    let mut members: Vec<Member> = Vec::new();
    for line in lines(include_str!("fleet.csv")) {
        let (row, replicas) = read(line).expect("the table is part of the program, and tested");
        let Locality { cloud, region, .. } = &row.locality;
        let what = if row.skill() == Skill::Embed { "embed" } else { "chat" };
        let name = format!("{cloud}-{}-{what}", region.to_lowercase());
        for _ in 0..replicas {
            let number = 1 + members.iter().filter(|other| row.is_sibling(other)).count();
            members.push(Member { name: format!("{name}-{number}"), ..row.clone() });
        }
    }
    members
}

/// A row, which has no name yet, and how many backends it stands for.
fn read(line: &'static str) -> Option<(Member, usize)> {
    let mut cells = line.split(',');
    let locality = Locality {
        cloud: cells.next()?.to_owned(),
        region: cells.next()?.to_owned(),
        zone: cells.next()?.to_owned(),
        rack: String::new(),
    };
    let round_trip = Duration::from_secs_f64(cells.next()?.parse::<f64>().ok()? / 1_000.0);
    let (accelerator, shape) = (cells.next()?, cells.next()?);
    let (tensor_parallel, dtype) = (cells.next()?.parse().ok()?, cells.next()?);
    let gpu = gpu_model(accelerator, shape, tensor_parallel, dtype)?;
    let (model, replicas) = (cells.next()?, cells.next()?.parse().ok()?);
    let member = Member { name: String::new(), locality, round_trip, gpu, model };
    cells.next().is_none().then_some((member, replicas))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_fleet_spans_three_clouds_and_three_gpus_with_two_models() {
        let fleet = members();
        let all = |what: fn(&Member) -> &str| -> Vec<&str> {
            let set: HashSet<&str> = fleet.iter().map(what).collect();
            let mut sorted: Vec<&str> = set.into_iter().collect();
            sorted.sort_unstable();
            sorted
        };
        assert_eq!(all(|member| &member.locality.cloud), ["aws", "azure", "coreweave"]);
        assert_eq!(all(|member| member.gpu.accelerator), ["GB200", "H100", "H200"]);
        assert_eq!(all(|member| member.model), [CHAT_MODEL, EMBEDDING_MODEL]);
        assert_eq!(all(|member| &member.name).len(), fleet.len());
        for cloud in ["aws", "azure", "coreweave"] {
            for model in [CHAT_MODEL, EMBEDDING_MODEL] {
                let serves = |member: &&Member| member.locality.cloud == cloud && member.model == model;
                assert!(fleet.iter().any(|member| serves(&member)), "{cloud} {model}");
            }
        }
    }

    #[test]
    fn backends_of_one_region_and_model_are_numbered() {
        let names: Vec<String> = members().into_iter().map(|member| member.name).collect();
        assert_eq!(names[..2], ["aws-us-east-1-chat-1", "aws-us-east-1-chat-2"]);
    }

    #[test]
    fn every_member_is_a_backend_of_the_same_name_with_an_identity_of_its_own() {
        let (fleet, members) = (embedded(1, Duration::ZERO, 1), members());
        let names = |backend: &Simulated| backend.spec().name.clone();
        assert!(fleet.iter().map(names).eq(members.iter().map(|member| member.name.clone())));
        let identities: HashSet<&str> = fleet.iter().map(|backend| &*backend.spec().identity).collect();
        assert_eq!(identities.len(), fleet.len());
    }
}
