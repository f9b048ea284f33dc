//! Load over real sockets: what goes over the wire, what comes into the report, and what is said when nothing can.

#![expect(clippy::unwrap_used, reason = "what surprises a test ends it")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use plimsoll_workload::load::{Asking, Pace, Plan, Run, Target, TenantKeys, Unusable};
use plimsoll_workload::prompts::{Form, Length};
use plimsoll_workload::report::{Outcome, Report, Slo};
use plimsoll_workload::trace::{Source, Trace};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

const MODELS: &str = r#"{"object":"list","data":[{"id":"m"}]}"#;
const STREAM: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n\
     data: {\"choices\":[{\"delta\":{\"content\":\"b\"}}]}\n\n\
     data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2}}\n\n\
     data: [DONE]\n\n";

/// An endpoint with one key, which knows one model and answers every stream by two tokens, or never.
struct Endpoint {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Endpoint {
    async fn start(answers: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::default());
        let told = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(serve(tcp, Arc::clone(&told), answers));
            }
        });
        Self { address, heads }
    }

    fn target(&self, key: &str) -> Target {
        let keys = TenantKeys { default: Some(key.to_owned()), ..TenantKeys::default() };
        Target { url: format!("http://{}", self.address), keys, ..Target::default() }
    }
}

async fn serve(mut tcp: TcpStream, heads: Arc<Mutex<Vec<String>>>, answers: bool) -> Option<()> {
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if tcp.read_buf(&mut read).await.ok()? == 0 {
                return None;
            }
        };
        let head = String::from_utf8(read.drain(..end).collect()).ok()?.to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().unwrap_or(0));
        while read.len() < length {
            tcp.read_buf(&mut read).await.ok()?;
        }
        read.drain(..length);
        let (status, kind, body) = if !head.contains("authorization: bearer s3cret\r\n") {
            ("401 No", "application/json", r#"{"error":{"message":"no such key: wr0ng"}}"#)
        } else if head.starts_with("get /v1/models ") {
            ("200 OK", "application/json", MODELS)
        } else if answers {
            ("200 OK", "text/event-stream", STREAM)
        } else {
            heads.lock().unwrap().push(head);
            continue;
        };
        let asks = head.contains("x-plimsoll-explain: backend\r\n");
        heads.lock().unwrap().push(head);
        let (length, number) = (body.len(), heads.lock().unwrap().len());
        let told = if asks { format!("x-plimsoll-backend: gpu-{}\r\n", number % 2) } else { String::new() };
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{told}content-length: {length}\r\n\r\n{body}"
        );
        tcp.write_all(answer.as_bytes()).await.ok()?;
    }
}

fn trace(requests: u64) -> Arc<Trace> {
    let mut source = Source { requests, model: "m".into(), max_prompt_tokens: 20, ..Source::default() };
    source.synthetic.arrivals.rate = 1_000.0;
    Arc::new(source.load(1, std::path::Path::new("")).unwrap().0)
}

fn plan(target: Target, pace: Pace, requests: u64) -> Plan {
    Plan {
        target,
        asking: Asking { form: Form::Chat, stream: true, length: Length::Exactly, model: None, seed: 1 },
        trace: trace(requests),
        pace,
        slow_down: 1.0,
        warm_up: Duration::ZERO,
        timeout: Duration::from_secs(60),
        max_in_flight: 64,
        threads: 2,
        slo: Slo::default(),
    }
}

async fn run(plan: Plan) -> Report {
    let mut run = Run::start(plan).unwrap();
    run.ended().await;
    let (recorder, about) = run.finish().unwrap();
    recorder.finish(about)
}

#[tokio::test]
async fn every_request_of_an_open_loop_is_answered_and_in_the_report() {
    let endpoint = Endpoint::start(true).await;
    let report = run(plan(endpoint.target("s3cret"), Pace::Open, 100)).await;
    let total = &report.total;
    assert_eq!((total.requests, total.ended(Outcome::Ok), total.output_tokens), (100, 100, 200));
    let heads = endpoint.heads.lock().unwrap();
    let mut ids: Vec<_> =
        heads.iter().flat_map(|head| head.lines().find(|line| line.contains("load-1-"))).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 100, "each request has an id of its own");
}

#[tokio::test]
async fn where_the_endpoint_tells_who_answered_the_report_tells_of_each() {
    let endpoint = Endpoint::start(true).await;
    let report = run(plan(endpoint.target("s3cret"), Pace::Open, 100)).await;
    let mut shares: Vec<_> =
        report.by_backend.iter().map(|group| (group.name.as_str(), group.figures.requests)).collect();
    shares.sort_unstable();
    assert!(matches!(shares[..], [("gpu-0", 50), ("gpu-1", 50)]), "{shares:?}");
}

#[tokio::test]
async fn clients_of_a_closed_loop_go_once_through_the_trace() {
    let endpoint = Endpoint::start(true).await;
    let report = run(plan(endpoint.target("s3cret"), Pace::Closed { clients: 3, until: None }, 50)).await;
    assert_eq!(report.total.ended(Outcome::Ok), 50);
    assert!(report.notes[0].starts_with("closed loop: 3 clients"), "{:?}", report.notes);
}

#[tokio::test]
async fn a_run_that_is_stopped_still_reports_what_it_saw() {
    let endpoint = Endpoint::start(false).await;
    let mut run = Run::start(plan(endpoint.target("s3cret"), Pace::Open, 10)).unwrap();
    while endpoint.heads.lock().unwrap().len() < 10 {
        tokio::task::yield_now().await;
    }
    run.stop();
    run.ended().await;
    let (recorder, about) = run.finish().unwrap();
    let report = recorder.finish(about);
    assert_eq!(report.total.ended(Outcome::Unfinished), 10);
    assert!(report.notes.iter().any(|note| note.contains("stopped")), "{:?}", report.notes);
}

#[tokio::test]
async fn a_key_is_never_in_a_report_even_where_the_endpoint_quotes_it() {
    let endpoint = Endpoint::start(true).await;
    let report = run(plan(endpoint.target("wr0ng"), Pace::Open, 5)).await;
    assert_eq!(report.total.ended(Outcome::Refused), 5);
    let json = report.json();
    assert!(json.contains("5 requests: 401: no such key: [key]") && !json.contains("wr0ng"), "{json}");
}

#[tokio::test]
async fn what_cannot_be_loaded_is_said_before_load_begins() {
    let local = LocalSet::new();
    let endpoint = Endpoint::start(true).await;
    let check = async |target: Target, model: Option<&str>| target.check(model, &["t".to_owned()]).await;
    local
        .run_until(async {
            assert_eq!(check(endpoint.target("s3cret"), None).await.unwrap().as_deref(), Some("m"));
            let unknown = check(endpoint.target("s3cret"), Some("x")).await.unwrap_err();
            assert!(unknown.to_string().ends_with("does not serve \"x\"; it serves m"), "{unknown}");
            let key = check(endpoint.target("wr0ng"), None).await.unwrap_err();
            assert!(matches!(key, Unusable::Key { status: 401, .. }) && !key.to_string().contains("wr0ng"));
            let nobody = Target { url: "http://127.0.0.1:1".into(), ..Target::default() };
            let silent = check(nobody, None).await.unwrap_err();
            assert_eq!(
                silent.to_string(),
                "nobody answers at http://127.0.0.1:1: the connection was refused"
            );
        })
        .await;
}
