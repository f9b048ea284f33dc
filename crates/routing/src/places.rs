//! Where a request may be served: a hard rule, which neither cost nor failure bends.

use plimsoll_types::BackendSpec;

/// Labels of places as bits. Everybody has the last one.
type Bits = u128;

/// What a backend has whose labels are not asked for.
const ANYWHERE: Bits = 1 << 127;
/// Labels that the backends of one pool may have among them.
pub const MOST_LABELS: usize = 127;

/// Where a request may be served: what its tenant allows and what it allows itself must both hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    tenant: Bits,
    request: Bits,
}

impl Allowed {
    /// Everywhere.
    pub const EVERYWHERE: Self = Self { tenant: ANYWHERE, request: ANYWHERE };

    const fn admits(self, has: Bits) -> bool {
        has & self.tenant != 0 && has & self.request != 0
    }
}

/// The places of the members of a pool.
#[derive(Debug, Default)]
pub(crate) struct Places {
    labels: Vec<String>,
    members: Vec<Bits>,
}

impl Places {
    pub(crate) fn of<'a>(specs: impl Iterator<Item = &'a BackendSpec>) -> Self {
        let mut places = Self::default();
        for spec in specs {
            let has = spec.places().fold(ANYWHERE, |has, label| has | places.learn(label));
            places.members.push(has);
        }
        places
    }

    /// The bit of a label; none once there are too many, so that nothing is sent there for its sake.
    fn learn(&mut self, label: &str) -> Bits {
        if self.bit(label) == 0 && self.labels.len() < MOST_LABELS {
            self.labels.push(label.to_owned());
        }
        self.bit(label)
    }

    fn bit(&self, label: &str) -> Bits {
        self.labels.iter().position(|known| known == label).map_or(0, |at| 1 << at)
    }

    /// Whether a request may be served by this member. Hot path.
    pub(crate) fn admit(&self, member: usize, allowed: Allowed) -> bool {
        // As a rule nothing is asked, and then nothing is looked at.
        allowed == Allowed::EVERYWHERE || allowed.admits(self.members[member])
    }

    /// Where a request may be served, if that is anywhere: each list names places of which one must hold, and an empty one
    /// asks for nothing.
    pub(crate) fn allowed<'a>(
        &self,
        tenant: impl Iterator<Item = &'a str>,
        request: impl Iterator<Item = &'a str>,
    ) -> Option<Allowed> {
        let allowed = Allowed { tenant: self.any_of(tenant), request: self.any_of(request) };
        self.members.iter().any(|has| allowed.admits(*has)).then_some(allowed)
    }

    fn any_of<'a>(&self, labels: impl Iterator<Item = &'a str>) -> Bits {
        let (mut bits, mut asked) = (0, false);
        for label in labels {
            bits |= self.bit(label);
            asked = true;
        }
        if asked { bits } else { ANYWHERE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::tests::members;

    fn places() -> Places {
        let specs = [("aws", "eu-west-1", "eu"), ("aws", "us-east-1", "us"), ("oci", "eu-zurich-1", "ch eu")];
        let specs = specs.map(|(cloud, region, labels)| {
            let mut spec = members(1)[0].spec.clone();
            (spec.locality.cloud, spec.locality.region) = (cloud.into(), region.into());
            spec.residency = labels.split(' ').map(str::to_owned).collect();
            spec
        });
        Places::of(specs.iter())
    }

    fn served(tenant: &[&str], request: &[&str]) -> Vec<usize> {
        let places = places();
        let allowed = places.allowed(tenant.iter().copied(), request.iter().copied());
        allowed
            .map_or_else(Vec::new, |allowed| (0..3).filter(|member| places.admit(*member, allowed)).collect())
    }

    #[test]
    fn a_request_goes_where_both_its_tenant_and_it_allow() {
        assert_eq!(served(&[], &[]), [0, 1, 2]);
        assert_eq!(served(&["eu"], &[]), [0, 2]);
        assert_eq!(served(&[], &["ch", "us"]), [1, 2]);
        assert_eq!(served(&["eu"], &["ch", "us"]), [2]);
        assert_eq!(served(&["aws"], &["eu"]), [0]);
        assert_eq!(served(&[], &["eu-zurich-1"]), [2]);
    }

    #[test]
    fn a_place_that_nobody_is_in_admits_nobody() {
        assert!(served(&["moon"], &[]).is_empty());
        assert!(served(&["us"], &["eu"]).is_empty());
    }

    #[test]
    fn beyond_the_most_labels_nobody_is_sent_by_them() {
        let mut spec = members(1)[0].spec.clone();
        spec.residency = (0..MOST_LABELS + 3).map(|number| format!("l{number}")).collect();
        let places = Places::of([&spec].into_iter());
        assert!(places.allowed([].into_iter(), ["l126"].into_iter()).is_some());
        assert!(places.allowed([].into_iter(), ["l127"].into_iter()).is_none());
        assert!(places.allowed([].into_iter(), [].into_iter()).is_some());
    }
}
