//! What no key can check by itself, since it is said in two places.

use std::collections::BTreeSet;

use plimsoll_routing::domain_names;
use plimsoll_types::Keys;

use super::{BackendConfig, Config, SHARING};

impl Config {
    /// Says all that is wrong with it as a whole.
    pub(super) fn check(&self, keys: &mut dyn Keys) {
        self.check_listeners(keys);
        for tenant in &self.explain_to {
            if !self.keys.iter().any(|key| key.tenant == *tenant) {
                keys.wrong("explain_to", format!("no key is of the tenant {tenant:?}"));
            }
        }
        if self.prefix_sharing != SHARING[0] && self.keys.is_empty() {
            let why = "is by tenant, and without `keys` nobody knows whose a request is";
            keys.wrong("prefix_sharing", why.into());
        }
        check_names(&self.backends, keys);
        self.check_commitments(keys);
        self.check_domains(keys);
    }

    fn check_commitments(&self, keys: &mut dyn Keys) {
        for backend in self.backends.iter().filter(|backend| !backend.commitment.is_empty()) {
            if !self.routing.commitments.iter().any(|known| known.name == backend.commitment) {
                let (name, commitment) = (&backend.name, &backend.commitment);
                keys.wrong(
                    "backends",
                    format!("{name:?} is paid by {commitment:?}, which routing.commitments lacks"),
                );
            }
        }
    }

    /// A domain that no backend is in is a slip of the pen, and what is said of it would be said of nobody.
    fn check_domains(&self, keys: &mut dyn Keys) {
        // Who is in the other file is not known yet.
        if self.backends.is_empty() || !self.backends_file.is_empty() {
            return;
        }
        let names = |backend: &BackendConfig| domain_names(&backend.locality).collect::<Vec<_>>();
        let known: BTreeSet<String> = self.backends.iter().flat_map(names).collect();
        for (index, domain) in self.routing.domains.iter().enumerate() {
            if !domain.at.is_empty() && !known.contains(&domain.at) {
                let known = known.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                let known =
                    if known.is_empty() { "backends say neither cloud nor region".into() } else { known };
                keys.wrong(
                    "routing",
                    format!("domains: no backend is in {:?}; there are {known}", domain.at),
                );
            }
            if self.routing.domains[..index].iter().any(|other| other.at == domain.at) {
                keys.wrong("routing", format!("domains: {:?} is there twice", domain.at));
            }
        }
    }
}

/// No two backends have one name.
pub(super) fn check_names(backends: &[BackendConfig], keys: &mut dyn Keys) {
    for (index, backend) in backends.iter().enumerate() {
        if backends[..index].iter().any(|other| other.name == backend.name) {
            keys.wrong("backends", format!("two backends are named {:?}", backend.name));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::problems;
    use crate::config::{Overrides, read};

    #[test]
    fn tenants_cannot_be_kept_apart_where_nobody_is_known() {
        assert_eq!(
            problems("threads: 1\nprefix_sharing: tenant\n"),
            [
                "local.yaml:2: prefix_sharing: is by tenant, and without `keys` nobody knows whose a request is"
            ]
        );
        assert!(!format!("{:?}", read("f", "prefix_secret: hush\n", &Overrides::default())).contains("hush"));
    }

    #[test]
    fn a_commitment_has_a_size_and_backends_that_have_prices() {
        let of = |commitments: &str, backend: &str| {
            let routing = format!("routing: {{commitments: [{commitments}]}}\n");
            problems(&format!("{routing}backends: [{{name: a, url: \"http://h\", {backend}}}]\n")).join("\n")
        };
        let priced = "commitment: ptu, million_answer_dollars: 4";
        assert_eq!(of("{name: ptu, tokens: 5, until: 2026-12-31}", priced), "");
        for (commitments, backend, why) in [
            ("{name: ptu}", priced, "dollars: is how much it is: give dollars or tokens, one of them"),
            ("{name: ptu, dollars: 1, until: 31.12.2026}", priced, "is not a day, such as 2026-12-31"),
            ("{name: ptu, dollars: 1, from: 2026-12-31, until: 2026-01-01}", priced, "until: is before from"),
            ("{name: ptu, dollars: 1}, {name: ptu, dollars: 1}", priced, "two are named \"ptu\""),
            (
                "{name: other, dollars: 1}",
                priced,
                "\"a\" is paid by \"ptu\", which routing.commitments lacks",
            ),
            ("{name: ptu, dollars: 1}", "commitment: ptu", "commitment: needs prices"),
        ] {
            assert!(of(commitments, backend).contains(why), "{}", of(commitments, backend));
        }
    }

    #[test]
    fn a_domain_that_no_backend_is_in_is_refused_with_those_that_there_are() {
        let backends =
            "backends: [{name: a, url: \"http://h\", models: [m], cloud: aws, region: eu-west-1}]\n";
        let with = |domains: &str| problems(&format!("{backends}routing: {{domains: [{domains}]}}\n"));
        assert!(with("{at: aws/eu-west-1, weight: 0.5}").is_empty());
        assert_eq!(
            with("{at: aws/eu-west-2}"),
            [
                "local.yaml:2: routing: domains: no backend is in \"aws/eu-west-2\"; there are aws, aws/eu-west-1"
            ]
        );
        assert!(with("{at: aws}, {at: aws}")[0].contains("twice"));
        assert!(with("{weight: 0.5}")[0].contains("at: is missing"));
    }
}
