//! Holds what reads the metrics to the catalogue: the dashboard, the alert rules and `docs/metrics.md`.
//!
//! A panel that asks for a metric or label that nobody writes shows "No data", and an alert that does so never fires.
//! Neither is noticed on the day it breaks.

mod expression;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use plimsoll_telemetry::catalog;
use saphyr::{LoadableYamlNode, Yaml};
use serde_json::Value;

fn read(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn dashboard() -> Value {
    serde_json::from_str(&read("deploy/grafana/overview.json")).expect("the dashboard is JSON")
}

/// Panels, those inside of rows included.
fn panels(of: &Value) -> Vec<&Value> {
    let own = of["panels"].as_array().map(Vec::as_slice).unwrap_or_default();
    own.iter().flat_map(|panel| std::iter::once(panel).chain(panels(panel))).collect()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} is missing in {value}"))
}

/// The text of every `key` of the YAML, at whatever depth.
fn texts<'y>(yaml: &'y Yaml<'_>, key: &str, found: &mut Vec<&'y str>) {
    for item in yaml.as_vec().into_iter().flatten() {
        texts(item, key, found);
    }
    for (name, value) in yaml.as_mapping().into_iter().flatten() {
        match value.as_str() {
            Some(text) if name.as_str() == Some(key) => found.push(text),
            _ => texts(value, key, found),
        }
    }
}

fn rules_with(file: &str, key: &str) -> Vec<String> {
    let text = read(file);
    let yaml = Yaml::load_from_str(&text).expect("the rules are YAML");
    let mut found = Vec::new();
    yaml.iter().for_each(|document| texts(document, key, &mut found));
    found.into_iter().map(str::to_owned).collect()
}

#[test]
fn every_expression_of_the_dashboard_is_about_metrics_that_exist() {
    let dashboard = dashboard();
    let mut wrong = Vec::new();
    for panel in panels(&dashboard) {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let of = |why| format!("{}: {why}", text(panel, "title"));
            wrong.extend(expression::problems(text(target, "expr")).into_iter().map(of));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_variable_of_the_dashboard_takes_its_values_from_a_metric_that_has_that_label() {
    for variable in dashboard()["templating"]["list"].as_array().expect("there are variables") {
        if text(variable, "type") == "query" {
            let query = text(variable, "definition");
            let inside = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
            let (metric, label) = inside.and_then(|inside| inside.split_once(", ")).expect(query);
            assert_eq!(expression::problems(&format!("sum by ({label}) ({metric})")), [""; 0], "{query}");
        }
    }
}

#[test]
fn the_dashboard_can_be_loaded_anywhere() {
    let dashboard = dashboard();
    assert_eq!(
        (text(&dashboard, "uid"), dashboard["schemaVersion"].as_u64()),
        ("plimsoll-overview", Some(39))
    );
    assert!(dashboard["id"].is_null());
    let mut ids = BTreeSet::new();
    for panel in panels(&dashboard) {
        assert!(ids.insert(panel["id"].as_u64()), "two panels have the id {}", panel["id"]);
        if text(panel, "type") != "row" {
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", text(panel, "title"));
            assert!(!text(panel, "description").is_empty());
        }
    }
}

#[test]
fn every_metric_of_the_gateway_can_be_seen_on_the_dashboard() {
    let shown = dashboard().to_string();
    for metric in catalog::ALL.iter().filter(|metric| metric.name.starts_with("plimsoll_")) {
        assert!(shown.contains(metric.name), "{} is on no panel", metric.name);
    }
}

#[test]
fn every_alert_is_about_metrics_that_exist_and_has_a_test() {
    let alerts = "deploy/prometheus/alerts.yaml";
    let wrong: Vec<_> =
        rules_with(alerts, "expr").iter().flat_map(|expr| expression::problems(expr)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let tested = rules_with("deploy/prometheus/alerts_test.yaml", "alertname");
    for alert in rules_with(alerts, "alert") {
        assert!(tested.contains(&alert), "{alert} has no case in alerts_test.yaml");
    }
}

#[test]
fn the_metrics_reference_is_the_one_that_the_code_writes() {
    assert!(read("docs/metrics.md") == catalog::reference(), "docs/metrics.md is old: run `make docs`");
}
