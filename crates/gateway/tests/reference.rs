//! Holds `docs/config.md` to the code that it is written from.

#[test]
fn the_configuration_reference_is_the_one_that_the_code_writes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/config.md");
    let page = std::fs::read_to_string(path).expect("docs/config.md is in the repository");
    assert!(page == plimsoll_gateway::config::reference(), "docs/config.md is old: run `make docs`");
}
