use super::*;

fn welcome() -> ExecutorWelcome {
    ExecutorWelcome {
        version: VERSION,
        model: "toy".into(),
        context_tokens: 64,
        step_tokens: 16,
        chunk_tokens: 0,
        sequences: 4,
        kv_blocks: 32,
        block_tokens: 4,
        paged: true,
    }
}

#[test]
fn an_address_is_a_socket_or_a_host_and_a_port() {
    assert_eq!(Address::parse("engine+unix:///run/x.sock"), Ok(Address::Unix("/run/x.sock".into())));
    assert_eq!(Address::parse("engine+tcp://127.0.0.1:7000"), Ok(Address::Tcp("127.0.0.1:7000".into())));
    assert_eq!(Address::parse("engine+tcp://[::1]:7000"), Ok(Address::Tcp("[::1]:7000".into())));
    for wrong in [
        "engine+unix://x.sock",
        "engine+unix:///run/",
        "engine+tcp://host",
        "engine+tcp://u@h:1",
        "engine+x:",
    ] {
        assert_eq!(Address::parse(wrong).err().map(|invalid| invalid.key), Some("url"), "{wrong}");
    }
}

#[test]
fn an_executor_of_another_version_or_without_room_is_refused_in_words() {
    let said = |change: fn(&mut ExecutorWelcome)| {
        let mut welcome = welcome();
        change(&mut welcome);
        model(welcome).map_err(|failed| failed.0)
    };
    assert_eq!(said(|_| {}).unwrap().limits.chunk_tokens, u32::MAX);
    assert_eq!(said(|welcome| welcome.version = 2), Err(OTHER_VERSION.0));
    assert_eq!(said(|welcome| welcome.model.clear()), Err("the executor does not name its model"));
    for change in [
        |welcome: &mut ExecutorWelcome| welcome.kv_blocks = u32::MAX,
        |welcome: &mut ExecutorWelcome| welcome.block_tokens = 0,
        |welcome: &mut ExecutorWelcome| welcome.context_tokens = 1,
        |welcome: &mut ExecutorWelcome| welcome.sequences = 0,
    ] {
        assert!(said(change).is_err_and(|why| why.contains("limits")));
    }
}

#[test]
fn an_executor_that_is_not_there_is_told_at_once() {
    let mut remote = Remote::new(Address::Unix("/nonexistent/x.sock".into()), Duration::from_secs(1));
    assert_eq!(remote.load(), Err(Failed("the executor cannot be reached")));
    assert_eq!(remote.read(&Prompt::Text("x".into())), Err(Failed("the executor is not connected").into()));
}
