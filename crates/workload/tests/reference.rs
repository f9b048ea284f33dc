//! Holds `docs/scenarios.md` to the code that it is written from.

#[test]
fn the_reference_of_scenarios_is_the_one_that_the_code_writes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/scenarios.md");
    let page = std::fs::read_to_string(path).expect("docs/scenarios.md is in the repository");
    assert!(page == plimsoll_workload::scenario::reference(), "docs/scenarios.md is old: run `make docs`");
}
