//! Holds the manifests to the table of arrows: who may use whom. A new arrow is a decision, and changes this table.

#![expect(clippy::unwrap_used, reason = "what surprises a test ends it")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What each crate may use of the others, from the top floor to the bottom.
const ARROWS: &[(&str, &[&str])] = &[
    ("plimsoll", &["gateway", "workload", "telemetry"]),
    ("gateway", &["fleet", "llama", "pipeline", "routing", "engines", "yaml", "proto", "telemetry", "types"]),
    ("workload", &["pipeline", "routing", "engines", "batching", "yaml", "telemetry", "types"]),
    ("llama", &["batching", "engines"]),
    ("pipeline", &["routing", "batching", "engines", "telemetry", "types"]),
    ("fleet", &["routing", "engines", "telemetry", "types"]),
    ("routing", &["telemetry", "types"]),
    ("engines", &["batching", "proto", "telemetry", "types"]),
    ("batching", &["telemetry", "types"]),
    ("yaml", &["types"]),
    ("proto", &[]),
    ("telemetry", &[]),
    ("types", &[]),
];

/// The plimsoll crates that each crate in `crates/` uses, by folder. What only its tests use does not count.
fn drawn() -> BTreeMap<String, BTreeSet<String>> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("crates stand in a folder");
    let mut drawn = BTreeMap::new();
    for entry in std::fs::read_dir(crates).unwrap() {
        let folder = entry.unwrap().path();
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        drawn.insert(name, used(&manifest));
    }
    drawn
}

fn used(manifest: &toml::Table) -> BTreeSet<String> {
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let tables = std::iter::once(manifest)
        .chain(targets.iter().flat_map(|t| t.values()).filter_map(toml::Value::as_table));
    tables
        .flat_map(|table| ["dependencies", "build-dependencies"].map(|kind| table.get(kind)))
        .filter_map(|dependencies| dependencies?.as_table())
        .flat_map(|dependencies| dependencies.keys())
        .filter_map(|name| name.strip_prefix("plimsoll-").map(str::to_owned))
        .collect()
}

#[test]
fn dependencies_point_down_and_only_where_the_table_says() {
    for (name, uses) in drawn() {
        let (_, allowed) = ARROWS
            .iter()
            .find(|(known, _)| *known == name)
            .unwrap_or_else(|| panic!("crates/{name} is not in the table of arrows"));
        for used in uses {
            assert!(allowed.contains(&used.as_str()), "{name} may not use {used}");
        }
    }
}

#[test]
fn the_table_has_no_circle_and_no_crate_that_is_gone() {
    let drawn = drawn();
    for (floor, (name, uses)) in ARROWS.iter().enumerate() {
        assert!(drawn.contains_key(*name), "there is no crates/{name}");
        for used in *uses {
            let below = ARROWS.iter().skip(floor + 1).any(|(lower, _)| lower == used);
            assert!(below, "{name} uses {used}, which does not stand below it");
        }
    }
}
