//! The scenarios that come with the program.

/// A scenario that comes with the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shipped {
    /// Its name.
    pub name: &'static str,
    /// Its file, as it stands in `crates/workload/scenarios`.
    pub text: &'static str,
}

macro_rules! shipped {
    ($($name:literal)*) => {
        &[$(Shipped { name: $name, text: include_str!(concat!("../../scenarios/", $name, ".yaml")) }),*]
    };
}

/// All of them, those first that need nothing but the program.
pub const SHIPPED: &[Shipped] = shipped! {
    "embedded" "outage-at-peak" "region-outage" "three-regions" "slow-gpu" "crawling-gpu" "hung-gpu" "mixed-gpus" "many-gateways"
    "bursts" "full-memory" "two-tenants" "priorities" "shared-prefix" "llm-d-precise" "agents" "power-of-two"
    "swing-plain" "swing-slow" "swing-cold" "swing-mixed" "swing-ranks"
    "azure-conversation" "queue-memory" "queue-overload" "azure-code" "mooncake-fig5"
};

impl Shipped {
    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        SHIPPED.iter().find(|shipped| shipped.name == name)
    }

    /// What it shows.
    #[must_use]
    pub fn about(&self) -> &'static str {
        self.text.lines().find_map(|line| line.strip_prefix("about: ")).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    #[test]
    fn every_scenario_that_ships_can_be_read_and_says_in_one_line_what_it_shows() {
        for Shipped { name, text } in SHIPPED {
            let scenario = Scenario::read(&format!("{name}.yaml"), text)
                .unwrap_or_else(|problems| panic!("{}", problems[0]));
            assert_eq!(scenario.name, *name);
            assert_eq!(Shipped::named(name).map(Shipped::about), Some(&*scenario.about));
            assert!((30..200).contains(&scenario.about.len()), "{name}: {}", scenario.about.len());
        }
    }

    #[test]
    fn every_file_in_the_folder_ships() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        let files = std::fs::read_dir(folder).expect("the folder is part of the crate").count();
        assert_eq!(files, SHIPPED.len());
    }
}
