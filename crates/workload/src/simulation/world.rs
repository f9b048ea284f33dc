//! Puts a world together out of a scenario, and runs it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_engines::Engine;
use plimsoll_engines::simulated::members;
use plimsoll_pipeline::{Pipeline, Shared, Snapshot, keep_up};
use plimsoll_routing::{Backend, Fleet};
use plimsoll_types::{BackendSpec, Clock, Instant, Locality, Prices, ServedModel};

use super::callers::{Callers, Front};
use super::clock::{Face, SimulatedClock};
use super::engine::StationEngine;
use super::gaps::Gaps;
use super::requests::Requests;
use super::station::{Build, Station};
use super::{executor, faults, reports};
use crate::random::{Draw, mix};
use crate::report::{About, BackendFigures, Kind, Recorder};
use crate::scenario::{Gateway, Group, Scenario, Variant};
use crate::trace::Trace;

/// What random numbers are drawn for: each purpose has a stream of its own.
const SPEED: u64 = 0x5bee_d000;
const ESTIMATE: u64 = 0xe571_0000;

/// A world of its own: one policy, one seed.
pub(super) struct World<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) trace: Arc<Trace>,
    pub(super) policy: &'static str,
    pub(super) variant: Variant,
    pub(super) seed: u64,
    /// How often tokens between the first and the last are told, if not each by itself.
    pub(super) coalesce: Option<Duration>,
}

/// One backend: which group it is of and which of the group's.
pub(super) struct Member {
    pub(super) group: usize,
    pub(super) number: u64,
}

impl World<'_> {
    /// Runs it to its end. Gives what was recorded, and what it is about.
    pub(super) fn run(&self) -> (Recorder, About) {
        let groups = groups(self.scenario);
        let members: Vec<Member> = (0..groups.len())
            .flat_map(|group| (1..=groups[group].count).map(move |number| Member { group, number }))
            .collect();
        let clock = SimulatedClock::new();
        let face = Face(Arc::clone(&clock));
        let gateways = self.gateways();
        let gaps = Rc::new(Gaps::new(Recorder::new(self.trace.duration())));
        let stations: Vec<Rc<Station>> = members
            .iter()
            .enumerate()
            .map(|(index, member)| {
                let build = self.build(&groups[member.group], index, &gateways);
                Station::new(build, face.clone(), Rc::clone(&gaps))
            })
            .collect();
        let requests =
            Rc::new(Requests::new(Arc::clone(&self.trace), self.estimates(), &self.scenario.tenants));
        let specs: Vec<BackendSpec> =
            members.iter().map(|member| self.spec(&groups[member.group], member.number)).collect();
        let elapsed = executor::run(&clock, async {
            for station in &stations {
                station.start();
            }
            for fault in self.scenario.faults.iter().filter(|_| self.variant.faults) {
                let struck = faults::struck(fault, &groups, &members, &stations);
                tokio::task::spawn_local(faults::strike(fault.clone(), struck, face.clone()));
            }
            let front = |(index, gateway): (usize, &String)| {
                let backends: Vec<usize> = (0..members.len())
                    .filter(|backend| self.reaches(gateway, &groups[members[*backend].group]))
                    .collect();
                let reached = |backend: &usize| (specs[*backend].clone(), Rc::clone(&stations[*backend]));
                let world = backends.iter().map(reached).unzip();
                let way = |region: &String| self.way(region, gateway).unwrap_or_default();
                Front {
                    pipeline: self.pipeline(index, world, &requests, &face),
                    ways: self.trace.regions.iter().map(way).collect(),
                    backends,
                }
            };
            let callers = Rc::new(Callers {
                requests: Rc::clone(&requests),
                gaps: Rc::clone(&gaps),
                clock: face.clone(),
                fronts: gateways.iter().enumerate().map(front).collect(),
                nearest: self.trace.regions.iter().map(|region| self.nearest(region, &gateways)).collect(),
                sees_gaps: self.coalesce.is_none(),
            });
            callers.send_all().await;
            face.now() - Instant::ORIGIN
        })
        .expect("the pipeline ends every request within its limits");
        let figures = members.iter().zip(&stations).zip(&specs).map(|((member, station), spec)| {
            self.figures(&groups[member.group], member.number, station, (spec, elapsed))
        });
        let about = self.about(specs.iter().map(|spec| spec.name.clone()).collect(), figures.collect());
        (gaps.take(), about)
    }

    fn pipeline(
        &self,
        index: usize,
        (specs, stations): (Vec<BackendSpec>, Vec<Rc<Station>>),
        requests: &Rc<Requests>,
        clock: &Face,
    ) -> Rc<Pipeline> {
        let mut routing = plimsoll_routing::Config { policy: self.policy, ..self.scenario.routing.clone() };
        let mut config = self.scenario.pipeline.clone();
        self.variant.configure(&mut routing, &mut config);
        // What this gateway is told: how far each backend is from here.
        let told = specs
            .into_iter()
            .zip(&stations)
            .map(|(spec, station)| BackendSpec { round_trip: Some(2 * station.way(index)), ..spec });
        let fleet = Fleet::new(told.collect(), routing, None);
        let shared = Shared::new(Snapshot::new(fleet, config));
        tokio::task::spawn_local(keep_up(Arc::clone(&shared), Arc::new(clock.clone()), Duration::ZERO));
        if !self.scenario.reports.is_zero() {
            let caches = self.scenario.tell_caches.then(|| Rc::clone(requests));
            let every = (self.scenario.reports, clock.clone());
            let told = reports::Told { shared: Arc::clone(&shared), gateway: index, caches };
            tokio::task::spawn_local(told.tell(stations.clone(), every));
        }
        let (requests, own) = (Rc::clone(requests), clock.clone());
        let make = Box::new(move |backend: &Backend| -> Rc<dyn Engine> {
            // A fleet that is never replaced gives its slots in the order of its specs.
            let station = Rc::clone(&stations[backend.slot]);
            let (requests, clock) = (Rc::clone(&requests), own.clone());
            Rc::new(StationEngine { station, gateway: index, requests, clock })
        });
        let seed = mix(self.seed, 1 + index as u64);
        Pipeline::new(shared, Arc::new(clock.clone()), make, (seed, 1))
    }

    fn spec(&self, group: &Group, number: u64) -> BackendSpec {
        let models = if group.models.is_empty() { &self.trace.models } else { &group.models };
        let name = if group.count == 1 { group.name.clone() } else { format!("{}-{number}", group.name) };
        BackendSpec {
            identity: name.clone(),
            name,
            locality: Locality {
                cloud: group.cloud.clone(),
                region: group.region.clone(),
                zone: group.zone.clone(),
                rack: String::new(),
            },
            accelerator: group.accelerator.clone(),
            models: models.iter().map(ServedModel::plain).collect(),
            step_time: Some(group.time()),
            kv_tokens: Some(group.kv_blocks().saturating_mul(group.limits().block_tokens)),
            round_trip: None,
            prices: self.prices(group, number),
            residency: Vec::new(),
            max_in_flight: if self.variant.line {
                u32::try_from(group.max_in_flight).unwrap_or(u32::MAX)
            } else {
                u32::MAX
            },
            continues_chats: None,
            alone: false,
            weight: None,
            commitment: None,
        }
    }

    fn build(&self, group: &Group, index: usize, gateways: &[String]) -> Build {
        let sigma = self.scenario.reality.speed_sigma;
        // The factor depends on seed and backend alone, so that policies meet the same world.
        let factor = lognormal(&mut Draw::new(mix(self.seed, index as u64), SPEED), sigma);
        let ways = gateways.iter().map(|gateway| {
            self.way(&group.place(), gateway).unwrap_or(Duration::from_secs_f64(group.rtt_ms / 2_000.0))
        });
        Build {
            time: group.time().scaled(factor),
            limits: group.limits(),
            ranks: group.ranks as usize,
            prefix_cache: group.prefix_cache,
            ways: ways.collect(),
            coalesce: self.coalesce,
            tells: self.scenario.tell_caches,
        }
    }

    /// Prompt tokens as gateways estimate them.
    fn estimates(&self) -> Vec<u32> {
        let (arrivals, reality) = (&self.trace.arrivals, &self.scenario.reality);
        let tokens = arrivals.iter().map(|arrival| arrival.prompt_tokens);
        if !reality.prompt_tokens_known {
            let mean = tokens.map(u64::from).sum::<u64>() / (arrivals.len() as u64).max(1);
            return vec![mean as u32; arrivals.len()];
        }
        let mut draw = Draw::new(self.seed, ESTIMATE);
        let mut factor = || lognormal(&mut draw, reality.tokens_sigma);
        tokens.map(|tokens| (f64::from(tokens) * factor()).round().max(1.0) as u32).collect()
    }

    /// What tells it from the other worlds of its scenario.
    pub(super) fn label(&self) -> String {
        match (self.scenario.variants().len(), self.scenario.policies().len()) {
            (1, _) => self.policy.to_owned(),
            (_, 1) => self.variant.name.clone(),
            _ => format!("{} {}", self.variant.name, self.policy),
        }
    }

    /// The region of each gateway.
    fn gateways(&self) -> Vec<String> {
        let one = [Gateway::default()];
        let gateways = if self.scenario.gateways.is_empty() { &one[..] } else { &self.scenario.gateways };
        gateways.iter().flat_map(|gateway| (0..gateway.count).map(|_| gateway.region.clone())).collect()
    }

    /// Whether a gateway in a region sends to the backends of `group`.
    fn reaches(&self, gateway: &str, group: &Group) -> bool {
        !self.variant.closes_borders() || group.place() == gateway
    }

    /// The way between two regions, one way; `None` where it is not known.
    fn way(&self, a: &str, b: &str) -> Option<Duration> {
        let found = self.scenario.round_trips.iter().find(|trip| trip.joins(a, b));
        found.map(|trip| Duration::from_secs_f64(trip.ms / 2_000.0))
    }

    /// The gateways that callers of a region take: those in it, or else those that are nearest.
    fn nearest(&self, region: &str, gateways: &[String]) -> Vec<usize> {
        let far = |gateway: &String| {
            if gateway == region { Some(Duration::ZERO) } else { self.way(region, gateway) }
        };
        let best = gateways.iter().filter_map(far).min();
        let near = |gateway: &String| best.is_none() || far(gateway) == best;
        (0..gateways.len()).filter(|index| near(&gateways[*index])).collect()
    }

    /// Whether a backend is committed: paid for whether it is used or not.
    fn is_committed(&self, group: &Group, number: u64) -> bool {
        self.variant.commitments && number <= group.committed
    }

    fn prices(&self, group: &Group, number: u64) -> Prices {
        let hour = group.on_demand_dollars * group.gpus();
        Prices { hour, committed: self.is_committed(group, number), ..Prices::default() }
    }

    fn figures(
        &self,
        group: &Group,
        number: u64,
        station: &Station,
        (spec, elapsed): (&BackendSpec, Duration),
    ) -> BackendFigures {
        let (tally, occupied, requests) = station.tally();
        let hours = |time: Duration| time.as_secs_f64() / 3_600.0 * group.gpus();
        let committed = self.is_committed(group, number);
        let on_demand = hours(occupied) * group.on_demand_dollars;
        BackendFigures {
            name: spec.name.clone(),
            cloud: group.cloud.clone(),
            region: group.region.clone(),
            zone: group.zone.clone(),
            accelerator: group.accelerator.clone(),
            requests,
            busy: tally.busy.as_secs_f64()
                / group.ranks as f64
                / elapsed.as_secs_f64().max(f64::MIN_POSITIVE),
            prefilled_tokens: tally.prefilled,
            cached_tokens: tally.cached,
            output_tokens: tally.written,
            preemptions: tally.preempted,
            peak_kv: f64::from(tally.peak_blocks) / f64::from(group.kv_blocks()),
            committed_dollars: if committed { hours(elapsed) * group.committed_dollars } else { 0.0 },
            on_demand_dollars: if committed { 0.0 } else { on_demand },
        }
    }

    /// What a reader must know of the trace.
    fn notes(&self) -> Vec<String> {
        let nothing = self.trace.arrivals.is_empty().then(|| "the trace has no requests".to_owned());
        nothing.into_iter().collect()
    }

    fn about(&self, backends: Vec<String>, fleet: Vec<BackendFigures>) -> About {
        About {
            kind: Kind::Simulation,
            name: self.scenario.name.clone(),
            target: self.policy.to_owned(),
            policy: self.label(),
            seed: self.seed,
            slo: self.scenario.slo,
            models: self.trace.models.clone(),
            tenants: self.trace.tenants.clone(),
            regions: self.trace.regions.clone(),
            backends,
            fleet,
            notes: self.notes(),
        }
    }
}

/// A factor around 1 whose logarithm has this deviation; its mean is 1.
fn lognormal(draw: &mut Draw, sigma: f64) -> f64 {
    (sigma * draw.normal() - sigma * sigma / 2.0).exp()
}

/// The groups of a scenario, or the embedded fleet's backends that write.
fn groups(scenario: &Scenario) -> Vec<Group> {
    if !scenario.backends.is_empty() {
        return scenario.backends.clone();
    }
    let writing =
        members().into_iter().filter(|member| member.model == plimsoll_engines::simulated::CHAT_MODEL);
    writing
        .map(|member| Group {
            max_in_flight: member.spec().max_in_flight.into(),
            name: member.name,
            cloud: member.locality.cloud,
            region: member.locality.region,
            zone: member.locality.zone,
            accelerator: member.gpu.accelerator.into(),
            shape: member.gpu.shape.into(),
            tensor_parallel: u64::from(member.gpu.tensor_parallel),
            dtype: member.gpu.dtype.into(),
            rtt_ms: member.round_trip.as_secs_f64() * 1_000.0,
            ..Group::default()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_backends_a_scenario_has_the_embedded_fleet_with_all_of_its_limits() {
        let groups = groups(&Scenario::default());
        assert!(!groups.is_empty());
        for group in groups {
            let member = members().into_iter().find(|member| member.name == group.name).unwrap();
            assert_eq!((group.time(), group.limits()), (member.gpu.time, member.gpu.limits()));
            assert_eq!(group.max_in_flight, u64::from(member.spec().max_in_flight));
            assert_eq!(Duration::from_secs_f64(group.rtt_ms / 1_000.0), member.round_trip);
        }
    }
}
