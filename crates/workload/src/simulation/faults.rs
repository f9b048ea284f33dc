use std::rc::Rc;

use plimsoll_types::{Clock, Instant};

use super::clock::Face;
use super::station::Station;
use super::world::Member;
use crate::scenario::{Fault, Group, What};

/// So slow that a step never ends.
const STILL: f64 = 1e9;

/// The backends that a fault strikes: of each group there, the first ones.
pub(super) fn struck(
    fault: &Fault,
    groups: &[Group],
    members: &[Member],
    stations: &[Rc<Station>],
) -> Vec<Rc<Station>> {
    let strikes = |member: &Member| {
        let group = &groups[member.group];
        fault.strikes(group) && member.number as f64 <= (fault.share * group.count as f64).ceil()
    };
    let pairs = members.iter().zip(stations).filter(|(member, _)| strikes(member));
    pairs.map(|(_, station)| Rc::clone(station)).collect()
}

/// Lets a fault happen and pass.
pub(super) async fn strike(fault: Fault, struck: Vec<Rc<Station>>, clock: Face) {
    let (after, lasts) = fault.span();
    clock.sleep_until(Instant::ORIGIN + after).await;
    for station in &struck {
        match fault.what() {
            What::Dead => {
                station.set_reachable(false);
                station.restart();
            }
            What::Hung => station.slow_down(STILL),
            What::Slow => station.slow_down(fault.factor),
        }
    }
    clock.sleep_until(Instant::ORIGIN + after + lasts).await;
    for station in &struck {
        match fault.what() {
            What::Dead => station.set_reachable(true),
            What::Hung => {
                station.slow_down(1.0);
                station.restart();
            }
            What::Slow => station.slow_down(1.0),
        }
    }
}
