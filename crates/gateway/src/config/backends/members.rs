//! Backends of the configuration that stand for several: one for each address of a host, or each record of a service.

use std::collections::HashMap;
use std::net::IpAddr;

use plimsoll_fleet::source::Target;

use super::BackendConfig;

/// Addresses that hosts were found to have.
pub(crate) type Addresses = HashMap<String, Vec<IpAddr>>;
/// Records of services that are in use.
pub(crate) type Targets = HashMap<String, Vec<Target>>;

impl BackendConfig {
    /// The host in its address.
    pub(crate) fn host(&self) -> Option<String> {
        Some(self.url.parse::<http::Uri>().ok()?.host()?.to_owned())
    }

    /// The service that it stands for, of which each SRV record is a backend. No host begins so.
    pub(crate) fn service(&self) -> Option<String> {
        self.host().filter(|host| host.starts_with('_'))
    }

    /// What is wrong with it as a service, and under which key.
    pub(super) fn wrong_service(&self) -> Option<(&'static str, &'static str)> {
        self.service()?;
        let port = self.url.parse::<http::Uri>().ok()?.port().is_some();
        if !self.resolve {
            return Some((
                "resolve",
                "must be true for a service, whose backends are found by its SRV records",
            ));
        }
        port.then_some(("url", "is a service, whose records say which ports it has: leave the port out"))
    }

    /// The backend that a record of its service names, where the heaviest beside it has so much weight.
    pub(super) fn at_target(&self, target: &Target, heaviest: u16) -> Self {
        let Some(service) = self.service() else { return self.clone() };
        let place = format!("{}:{}", target.host, target.port);
        let share = f64::from(target.weight.max(1)) / f64::from(heaviest.max(1));
        Self {
            name: format!("{}/{place}", self.name),
            url: self.url.replacen(&service, &place, 1),
            metrics: self.metrics.replacen(&service, &target.host, 1),
            weight: (self.weight * share).clamp(0.01, 1.0),
            ..self.clone()
        }
    }

    /// The backends that it stands for: itself, or one for each address that its host was found to have, or for each record
    /// of its service.
    pub(crate) fn members(&self, (addresses, targets): (&Addresses, &Targets)) -> Vec<Self> {
        if !self.resolve {
            return vec![self.clone()];
        }
        if let Some(service) = self.service() {
            let found = targets.get(&service).map(Vec::as_slice).unwrap_or_default();
            let heaviest = |of: &Target| {
                let group = found.iter().filter(|target| target.priority == of.priority);
                group.map(|target| target.weight).max().unwrap_or(0)
            };
            return found.iter().map(|target| self.at_target(target, heaviest(target))).collect();
        }
        let found = self.host().and_then(|host| addresses.get(&host));
        let member = |address: &IpAddr| Self {
            name: format!("{}/{address}", self.name),
            connect_to: Some(*address),
            ..self.clone()
        };
        found.into_iter().flatten().map(member).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(priority: u16, weight: u16, host: &str) -> Target {
        Target { priority, host: host.into(), port: 8_000, weight }
    }

    #[test]
    fn each_record_of_a_service_is_a_backend_with_its_share() {
        let service = BackendConfig {
            resolve: true,
            metrics: "http://_llm._tcp.test:9/metrics".into(),
            weight: 0.5,
            ..BackendConfig::at("pool".into(), "https://_llm._tcp.test/base".into())
        };
        assert_eq!((service.wrong_service(), service.unreachable()), (None, None));
        let found = vec![target(0, 40, "a.test"), target(0, 10, "b.test"), target(1, 0, "c.test")];
        let targets = HashMap::from([("_llm._tcp.test".to_owned(), found)]);
        let members = service.members((&HashMap::new(), &targets));
        let shown =
            members.iter().map(|one| (one.name.as_str(), one.url.as_str(), one.weight)).collect::<Vec<_>>();
        assert_eq!(
            shown,
            [
                ("pool/a.test:8000", "https://a.test:8000/base", 0.5),
                ("pool/b.test:8000", "https://b.test:8000/base", 0.125),
                ("pool/c.test:8000", "https://c.test:8000/base", 0.5),
            ]
        );
        assert_eq!(members[0].metrics, "http://a.test:9/metrics");
        assert!(service.members((&HashMap::new(), &HashMap::new())).is_empty(), "nothing is known of it yet");
    }

    #[test]
    fn a_service_has_no_port_and_must_be_resolved() {
        let wrong = |url: &str, resolve| {
            BackendConfig { resolve, ..BackendConfig::at("pool".into(), url.into()) }.wrong_service()
        };
        assert_eq!(wrong("http://_llm._tcp.test:80", true).unwrap().0, "url");
        assert_eq!(wrong("http://_llm._tcp.test", false).unwrap().0, "resolve");
        assert_eq!(wrong("http://pool.test:80", false), None);
    }
}
