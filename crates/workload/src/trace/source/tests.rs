use super::*;

fn of(text: &str) -> Source {
    let mut source = Source::default();
    plimsoll_yaml::read("s.yaml", text, &mut source).unwrap();
    source
}

fn load(text: &str) -> Trace {
    of(text).load(1, Path::new(".")).unwrap().0
}

fn wrong(text: &str) -> Vec<String> {
    let problems = plimsoll_yaml::read("s.yaml", text, &mut Source::default()).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_synthetic_workload_is_its_defaults_and_what_is_said() {
    let source = of("synthetic: conversations\narrivals: {process: gamma, rate: 20, cv: 3}\n\
                     prompt: {law: lognormal, mean: 1000, cv: 1.2, max: 8000}\n");
    let expected = Synthetic::of("conversations");
    assert_eq!(source.synthetic.turns, expected.turns);
    assert_eq!((source.synthetic.arrivals.process, source.synthetic.arrivals.cv), ("gamma", 3.0));
    assert_eq!((source.synthetic.prompt.mean, source.synthetic.prompt.max), (1_000.0, 8_000.0));
}

#[test]
fn a_day_with_regions_is_said_as_it_is_thought_of() {
    let trace = load(
        "{synthetic: plain, for_s: 3600, from_s: 7200, arrivals: {process: diurnal, peak: 4, trough: 0.5, period_s: 86400, \
          regions: [{name: eu, phase_h: 3, share: 2}, {name: us, phase_h: 15}]}}",
    );
    assert_eq!(trace.regions, ["eu", "us"]);
    let eu = trace.arrivals.iter().filter(|arrival| arrival.region == 0).count();
    assert!(eu * 10 > trace.arrivals.len() * 9, "{eu} of {}", trace.arrivals.len());
    assert!(trace.duration() < Duration::from_secs(3_600));
}

#[test]
fn as_many_requests_are_made_up_as_are_asked_for() {
    for workload in super::super::WORKLOADS {
        let trace = load(&format!("{{synthetic: {workload}, requests: 3000, rate: 2}}"));
        assert_eq!(trace.arrivals.len(), 3_000, "{workload}");
        let rate = 3_000.0 / trace.duration().as_secs_f64();
        assert!((rate - 20.0).abs() < 4.0, "{workload}: {rate}");
    }
    assert_eq!(load("").arrivals.len(), load("for_s: 600").arrivals.len());
}

#[test]
fn a_file_is_found_from_the_folder_of_the_scenario_and_shaped_in_order() {
    let folder = std::env::temp_dir().join(format!("plimsoll-source-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let text = "at_s,prompt_tokens,output_tokens,tenant\n0,1,1,a\n600,900,20,a\n610,20,900,b\n1800,4,4,a\n";
    std::fs::write(folder.join("day.csv"), text).unwrap();
    let source = of(
        "{file: day.csv, rate: 2.0, from_s: 600, for_s: 1200, max_prompt_tokens: 500, max_output_tokens: 99, \
                     only_tenants: [b], model: m, regions: [{name: eu}]}",
    );
    let (trace, problems) = source.load(1, &folder).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(problems.is_empty());
    let [only] = trace.arrivals[..] else { panic!("one request, not {:?}", trace.arrivals) };
    assert_eq!((only.at.as_secs(), only.prompt_tokens, only.output_tokens), (5, 20, 99));
    assert_eq!((trace.name.as_str(), trace.regions.as_slice()), ("day", ["eu".to_owned()].as_slice()));
}

#[test]
fn what_is_wrong_is_told_with_file_line_and_key() {
    assert_eq!(
        wrong("synthetic: poems\narrivals:\n  rate: 0\nprompt: {mean: 9, max: 5}\nrequest: 3\n"),
        [
            "s.yaml:1: synthetic: \"poems\" is not one of plain, conversations, shared_prefix, agents",
            "s.yaml:3: arrivals.rate: 0 is not between 0.000001 and 1000000",
            "s.yaml:4: prompt.mean: 9 is not between min, 1, and max, 5",
            "s.yaml:5: request: is not a key; did you mean requests?",
        ],
    );
    assert_eq!(
        wrong("file: a.csv\nsynthetic: agents\n"),
        ["s.yaml:1: file: goes with no synthetic workload: leave one of them out"],
    );
}

#[test]
fn a_spec_of_one_line_is_a_path_a_workload_or_keys() {
    assert_eq!(Source::of_spec("traces/conv.csv").unwrap().file, "traces/conv.csv");
    assert_eq!(Source::of_spec("agents").unwrap().synthetic, Synthetic::of("agents"));
    let keys = Source::of_spec("{synthetic: agents, requests: 5}").unwrap();
    assert_eq!((keys.synthetic.workload, keys.requests), ("agents", 5));
    assert_eq!(
        Source::of_spec("{no_such_key: 1}").unwrap_err()[0].to_string(),
        "trace:1: no_such_key: is not a key"
    );
}
