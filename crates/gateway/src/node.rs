//! What a node tells the gateways in front of it, in the words of a vLLM server: `/health`, and its load at `/metrics`.
//!
//! A gateway is a node when it computes steps itself. As at a vLLM server neither needs a key.

use std::fmt::Write;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use plimsoll_engines::stepped::Stepped;
use plimsoll_types::ServeError;

use crate::body::Body;
use crate::core::Core;
use crate::house::Settings;

/// How long an engine may take to say that it is there: a long step may be under way.
const PATIENCE: Duration = Duration::from_secs(5);

/// A number of the report: its name, what it is, and where it comes from.
type Row = (&'static str, &'static str, fn(&Stepped) -> f64);

const ROWS: [Row; 3] = [
    ("vllm:num_requests_running", "Sequences that are computed.", |engine| engine.load().running().into()),
    ("vllm:num_requests_waiting", "Sequences that wait.", |engine| engine.load().waiting().into()),
    ("vllm:kv_cache_usage_perc", "Share of memory for keys and values that is held.", |engine| {
        engine.load().kv_use()
    }),
];

/// Whether `path` is one that only nodes have, and this is one.
pub(crate) fn is_asked(path: &str, settings: &Settings) -> bool {
    matches!(path, "/health" | "/metrics") && !settings.engines.stepped.is_empty()
}

/// The answer of a node.
pub(crate) async fn answer(
    core: &Core,
    settings: &Settings,
    (method, path): (&Method, &str),
) -> Result<Response<Body>, ServeError> {
    if method != Method::GET {
        return Err(ServeError::WrongMethod { allowed: "GET" });
    }
    if path == "/health" {
        let mut response = Response::new(Body::full(""));
        if !is_well(core, settings).await {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        return Ok(response);
    }
    let mut response = Response::new(Body::full(load(core, settings)));
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    Ok(response)
}

/// Whether every engine answers. One that was lost is loaded again when it is asked, so that it is not avoided for ever.
async fn is_well(core: &Core, settings: &Settings) -> bool {
    let all = async {
        for engine in settings.engines.stepped.values() {
            if engine.models().await.is_err() {
                return false;
            }
        }
        true
    };
    let late = core.clock.sleep_until(core.clock.now() + PATIENCE);
    tokio::select! {
        well = all => well && !core.house.is_leaving(),
        () = late => false,
    }
}

fn load(core: &Core, settings: &Settings) -> String {
    let snapshot = core.house.shared.snapshot();
    let mut text = String::new();
    for (name, help, number) in ROWS {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (index, backend) in snapshot.fleet.backends.iter().enumerate() {
            let spec = &backend.spec;
            let key = (spec.name.clone(), spec.identity.clone());
            let Some(engine) = settings.engines.stepped.get(&key) else { continue };
            let model = spec.models.first().map(|model| escaped(&model.name)).unwrap_or_default();
            let _ =
                writeln!(text, "{name}{{engine=\"{index}\",model_name=\"{model}\"}} {:?}", number(engine));
        }
    }
    text
}

/// As the value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
