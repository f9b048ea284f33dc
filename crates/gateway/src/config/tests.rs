use super::*;

pub(crate) fn problems(text: &str) -> Vec<String> {
    read("local.yaml", text, &Overrides::default())
        .err()
        .unwrap_or_default()
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn an_empty_file_serves() {
    assert!(read("local.yaml", "", &Overrides::default()).unwrap().backends.is_empty());
    assert!(read("local.yaml", "# nothing\n", &Overrides::default()).is_ok());
}

#[test]
fn the_minimal_file_of_the_readme_is_understood() {
    let text = "listen: 127.0.0.1:8080\nadmin: 127.0.0.1:9464\nbackends:\n  - {name: a, url: \"http://127.0.0.1:9001\", models: [mock]}\n";
    let config = read("local.yaml", text, &Overrides::default()).unwrap();
    assert_eq!(
        (config.backends[0].name.as_str(), config.backends[0].models.as_slice()),
        ("a", &["mock".to_owned()][..])
    );
}

#[test]
fn a_value_out_of_range_names_file_line_and_key() {
    assert_eq!(
        problems("pipeline:\n  # two days\n  ttft_limit_ms: 172800000\n"),
        ["local.yaml:3: pipeline.ttft_limit_ms: 172800000 is not between 10 and 3600000"]
    );
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    assert_eq!(
        problems("pipeline:\n  ttft_limits_ms: 100\n"),
        ["local.yaml:2: pipeline.ttft_limits_ms: is not a key; did you mean ttft_limit_ms?"]
    );
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let found = problems(
        "threads: many\nbackends:\n  - {name: a, url: \"ftp://x\"}\n  - {name: a, url: \"http://x\", max_in_flight: 0}\n",
    );
    assert_eq!(
        found,
        [
            "local.yaml:1: threads: \"many\" is not a whole number",
            "local.yaml:3: backends[0].url: must begin with http:// or https://",
            "local.yaml:3: backends: two backends are named \"a\"",
            "local.yaml:4: backends[1].max_in_flight: 0 is not between 1 and 1000000",
        ]
    );
}

#[test]
fn who_may_ask_why_has_a_key_or_is_on_this_machine() {
    let may = |text: &str, tenant: Option<&str>| {
        let tenant = tenant.map(|name| Tenant { name: name.into(), ..Tenant::default() });
        read("local.yaml", text, &Overrides::default()).unwrap().may_ask_why(tenant.as_ref())
    };
    assert!(may("", None) && !may("listen: 0.0.0.0:8080\nallow_anyone: true\n", None));
    let keys = "keys: [{tenant: a, key: sk-0123456789abcdef}, {tenant: b, key: sk-1123456789abcdef}]\n";
    let text = format!("{keys}explain_to: [a]\n");
    assert!(may(&text, Some("a")) && !may(&text, Some("b")) && !may(keys, Some("a")));
    assert_eq!(problems("explain_to: [a]\n"), ["local.yaml:1: explain_to: no key is of the tenant \"a\""]);
}

#[test]
fn yaml_that_is_broken_is_one_line_too() {
    assert!(problems("a: [1\nb: 2\n")[0].starts_with("local.yaml:"));
    assert_eq!(problems("- 1\n"), ["local.yaml:1: the file must hold keys and values"]);
}
