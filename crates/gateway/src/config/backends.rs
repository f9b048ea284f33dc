mod members;

pub(crate) use members::{Addresses, Targets};

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_engines::{Authorize, Bearer, grpc, openai, orca, simulated};
use plimsoll_fleet::Publisher;
use plimsoll_fleet::source::Target;
use plimsoll_types::{BackendSpec, Key, Keys, Locality, Prices, Section, ServedModel, StepTime};

use super::executing::Executing;

/// One backend, as it stands in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct BackendConfig {
    /// Its name.
    pub name: String,
    /// Its address.
    pub url: String,
    /// The models that it serves; none means that it is asked.
    pub models: Vec<String>,
    /// Its own names for models.
    pub aliases: Vec<(String, String)>,
    /// Where it is.
    pub locality: Locality,
    /// Labels of where data stays there.
    pub residency: Vec<String>,
    /// What it computes on.
    pub accelerator: String,
    /// The shape of the model, as the table of GPUs has it.
    pub shape: String,
    /// Over how many GPUs the model is spread.
    pub tensor_parallel: u64,
    /// The type of the weights.
    pub dtype: String,
    /// Step times in the place of the table's.
    pub step_time: StepTime,
    /// Tokens whose keys and values memory holds; 0 means what the table says, if it knows.
    pub kv_tokens: u64,
    /// The network there and back, in milliseconds; 0 means that it is not known.
    pub round_trip_ms: f64,
    /// What an hour of one GPU costs, in US dollars.
    pub gpu_hour_dollars: f64,
    /// Whether it is paid for anyway.
    pub committed: bool,
    /// The commitment that pays for it.
    pub commitment: String,
    /// What a million prompt tokens cost.
    pub million_prompt_dollars: f64,
    /// What a million tokens of answers cost.
    pub million_answer_dollars: f64,
    /// Requests at a time.
    pub max_in_flight: u64,
    /// Whether to speak HTTP/2.
    pub http2: bool,
    /// A token for it.
    bearer: Secret,
    /// A key for it, sent as `api-key`.
    api_key: Secret,
    /// Header fields for it.
    pub headers: Vec<(String, String)>,
    /// Certificates to trust.
    pub ca_file: String,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// Whether it understands `stream_options`.
    pub stream_options: bool,
    /// Whether it understands `cache_salt`.
    pub cache_salt: bool,
    /// Where it publishes KV events.
    pub kv_events: String,
    /// Where it repeats them.
    pub kv_replay: String,
    /// Whether it takes several texts in one call.
    pub batch: bool,
    /// Whether each address of its host is a backend of its own.
    pub resolve: bool,
    /// Which of them this is.
    connect_to: Option<IpAddr>,
    /// How much it is wanted beside others.
    pub weight: f64,
    /// The path that says whether it is well; empty where it has none.
    pub health: String,
    /// The path or address of its metrics; empty where it has none.
    pub metrics: String,
    /// In which form it is asked to say its load along with answers.
    pub orca: &'static str,
}

fn speaks_grpc(url: &str) -> bool {
    url.starts_with("grpc://") || url.starts_with("grpcs://")
}

/// Where engines have their metrics.
const METRICS: &str = "/metrics";

fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.parse::<http::uri::PathAndQuery>().is_ok()
}

/// Text that is not shown.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Secret(pub(super) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "[hidden]" })
    }
}

impl Default for BackendConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: String::new(),
            models: Vec::new(),
            aliases: Vec::new(),
            locality: Locality::default(),
            residency: Vec::new(),
            accelerator: String::new(),
            shape: String::new(),
            tensor_parallel: 1,
            dtype: "bf16".into(),
            step_time: StepTime::default(),
            kv_tokens: 0,
            round_trip_ms: 0.0,
            gpu_hour_dollars: 0.0,
            committed: false,
            commitment: String::new(),
            million_prompt_dollars: 0.0,
            million_answer_dollars: 0.0,
            max_in_flight: 1_024,
            http2: false,
            bearer: Secret::default(),
            api_key: Secret::default(),
            headers: Vec::new(),
            ca_file: String::new(),
            connect_timeout: Duration::from_secs(3),
            stream_options: true,
            cache_salt: false,
            kv_events: String::new(),
            kv_replay: String::new(),
            batch: true,
            resolve: false,
            connect_to: None,
            weight: 1.0,
            health: "/health".into(),
            metrics: METRICS.into(),
            orca: orca::Asked::NAMES[0],
        }
    }
}

impl Section for BackendConfig {
    fn keys(&mut self, keys: &mut dyn Keys) {
        keys.text(Key::new("name", "Its name in metrics and logs; unique."), &mut self.name);
        let key = Key::new(
            "url",
            "`http://` or `https://`, host, port, and the path before `/v1`; or `grpc://` or `grpcs://`, host and port of \
             another gateway, asked by `plimsoll.v1`; or `engine+unix://` and a socket, or `engine+tcp://`, host and port, of an \
             executor, driven by `engine.proto`; or `llama:` and a GGUF file that llama.cpp runs in this process, maybe with \
             options as in a query (docs/nodes.md).",
        );
        keys.text(key, &mut self.url);
        let key = Key::new("models", "The models that it serves; left out, it is asked at `/v1/models`.");
        keys.texts(key, &mut self.models);
        let key = Key::new("aliases", "Its own names for models, by the name that callers use.");
        keys.map(key, &mut self.aliases);
        keys.text(Key::new("cloud", "The cloud that it is in."), &mut self.locality.cloud);
        keys.text(Key::new("region", "The region that it is in."), &mut self.locality.region);
        keys.text(Key::new("zone", "The zone that it is in."), &mut self.locality.zone);
        let key =
            Key::new("rack", "The rack that it is in, or whatever else fails as one, such as an NVL72.");
        keys.text(key, &mut self.locality.rack);
        let key = Key::new(
            "residency",
            "Labels of where data that goes there stays, such as eu; requests and tenants may ask for them, and for its cloud \
             and region.",
        );
        keys.texts(key, &mut self.residency);
        keys.text(Key::new("accelerator", "What it computes on, such as H200."), &mut self.accelerator);
        let key = Key::new(
            "shape",
            "The shape of the model there, such as 8B: with `accelerator`, a row of the table of GPUs.",
        );
        keys.text(key, &mut self.shape);
        let key = Key::new("tensor_parallel", "Over how many GPUs the model is spread.");
        keys.number(key, 1..=64, &mut self.tensor_parallel);
        keys.text(Key::new("dtype", "The type of the weights: bf16 or fp8."), &mut self.dtype);
        let key = Key::new(
            "step_time",
            "Step times as `plimsoll load --calibrate` prints them, in the place of the table's.",
        );
        keys.section(key, &mut self.step_time);
        let key = Key::new(
            "kv_tokens",
            "Tokens whose keys and values its memory holds; 0 means what the table says, if it knows.",
        );
        keys.number(key, 0..=1_000_000_000, &mut self.kv_tokens);
        let key = Key::new("round_trip_ms", "The network there and back; 0 means that it is not known.");
        keys.decimal(key, 0.0..=10_000.0, &mut self.round_trip_ms);
        let key = Key::new(
            "gpu_hour_dollars",
            "What an hour of one of its GPUs costs; 0 means that money does not count.",
        );
        keys.decimal(key, 0.0..=1_000.0, &mut self.gpu_hour_dollars);
        let key =
            Key::new("committed", "Whether it is paid for anyway, so that using it costs nothing more.");
        keys.flag(key, &mut self.committed);
        let key = Key::new(
            "commitment",
            "The name of the commitment (`routing.commitments`) that pays for it: as long as something of that is left, using it \
             costs nothing more, and then what its prices say.",
        );
        keys.text(key, &mut self.commitment);
        let key = Key::new(
            "million_prompt_dollars",
            "What a million tokens of prompts cost, at an endpoint that is paid by tokens.",
        );
        keys.decimal(key, 0.0..=10_000.0, &mut self.million_prompt_dollars);
        let key = Key::new("million_answer_dollars", "What a million tokens of answers cost there.");
        keys.decimal(key, 0.0..=10_000.0, &mut self.million_answer_dollars);
        let key = Key::new("max_in_flight", "Requests that it gets at a time.");
        keys.number(key, 1..=1_000_000, &mut self.max_in_flight);
        keys.flag(Key::new("http2", "Whether to speak HTTP/2 to it."), &mut self.http2);
        keys.secret(Key::new("bearer", "A token sent as `Authorization: Bearer`."), &mut self.bearer.0);
        keys.secret(Key::new("api_key", "A key sent as `api-key`, for Azure."), &mut self.api_key.0);
        keys.map(Key::new("headers", "Header fields of every call to it."), &mut self.headers);
        let key = Key::new("ca_file", "A PEM file of certificates to trust in the place of the system's.");
        keys.text(key, &mut self.ca_file);
        let key = Key::new("connect_timeout_ms", "How long a connection to it may take, TLS included.");
        keys.millis(key, 10..=60_000, &mut self.connect_timeout);
        let key = Key::new("stream_options", "Whether it understands `stream_options.include_usage`.");
        keys.flag(key, &mut self.stream_options);
        let key = Key::new(
            "cache_salt",
            "Whether it understands `cache_salt` in a body, as vLLM and SGLang do: with `prefix_sharing: tenant` its cache is kept \
             apart too. To one that does not, nothing is said.",
        );
        keys.flag(key, &mut self.cache_salt);
        let key = Key::new(
            "batch",
            "Whether requests may be joined on their way to it, where `batching` is enabled.",
        );
        keys.flag(key, &mut self.batch);
        let key = Key::new(
            "resolve",
            "Whether each address of its host is a backend of its own, such as the pods behind a headless service: named \
             NAME/ADDRESS, looked up every few seconds, drained when it is gone. A host that begins with `_`, such as \
             `_llm._tcp.pool.internal`, is a service: each of its SRV records is a backend, named NAME/HOST:PORT.",
        );
        keys.flag(key, &mut self.resolve);
        let key = Key::new(
            "weight",
            "How much it is wanted beside others of its models: with 0.5 what a request costs there counts twice, and it is full \
             at half its line.",
        );
        keys.decimal(key, 0.01..=1.0, &mut self.weight);
        let key = Key::new(
            "health",
            "The path by which it is probed; empty means that it is not. Whoever has no such path is alive as long as it \
             takes connections. Over gRPC, `grpc.health.v1` is asked, whatever stands here.",
        );
        keys.text(key, &mut self.health);
        let key = Key::new(
            "metrics",
            "The path of its metrics, or their address where that is another, such as `http://host:8002/metrics`; empty \
             means that it is not asked for its load. At `grpc://host:port` the method `GetLoads` of vLLM or SGLang is asked; \
             a backend over gRPC has its metrics at such an address or at none.",
        );
        keys.text(key, &mut self.metrics);
        let key = Key::new(
            "orca",
            "In which form it is asked to say its load along with answers (`endpoint-load-metrics-format`): none, text, json or \
             bin. vLLM and Triton do so in answers that are not streams; whoever says enough is not polled. What comes unasked \
             is taken too, and none of it is shown to callers.",
        );
        keys.choice(key, &orca::Asked::NAMES, &mut self.orca);
        let key = Key::new(
            "kv_events",
            "Where it publishes the events of its KV cache, as vLLM and SGLang do (`--kv-events-config`): `tcp://host:5557`. \
             Empty means that its cache is thought to be as large as `kv_tokens` and filled by what is sent from here.",
        );
        keys.text(key, &mut self.kv_events);
        let key = Key::new(
            "kv_replay",
            "Where it says events again that were missed (`replay_endpoint`): `tcp://host:5558`. Empty means nowhere, and its \
             cache counts as empty after a gap.",
        );
        keys.text(key, &mut self.kv_replay);
        self.check(keys);
    }
}

impl BackendConfig {
    /// A backend at `url` of which nothing else is known.
    #[must_use]
    pub fn at(name: String, url: String) -> Self {
        Self { name, url, ..Self::default() }
    }

    fn check(&self, keys: &mut dyn Keys) {
        if self.name.is_empty() {
            keys.wrong("name", "is missing".into());
        }
        if self.url.is_empty() {
            return keys.wrong("url", "is missing".into());
        }
        if self.gpu_hour_dollars > 0.0 && self.million_prompt_dollars + self.million_answer_dollars > 0.0 {
            keys.wrong(
                "gpu_hour_dollars",
                "is given beside prices of tokens: it is paid one way or the other".into(),
            );
        }
        let has_prices =
            self.gpu_hour_dollars + self.million_prompt_dollars + self.million_answer_dollars > 0.0;
        if !self.commitment.is_empty() && (self.committed || !has_prices) {
            let why = "needs prices, for when nothing of it is left, and no `committed`, which has no end";
            keys.wrong("commitment", why.into());
        }
        if let Some(wrong) = self.wrong_service() {
            keys.wrong(wrong.0, wrong.1.into());
        } else if let Some(invalid) = self.unreachable() {
            keys.wrong(invalid.key, invalid.why);
        }
        if self.executor().is_some() && self.resolve {
            keys.wrong(
                "resolve",
                "is of no use to an executor, which computes for one gateway; list each".into(),
            );
        }
        if !self.shape.is_empty() && self.gpu().is_none() {
            let known = simulated::known_gpu_models();
            let why = format!(
                "is not in the table with this accelerator, tensor_parallel and dtype; leave it out and give step_time, or \
                 take one of {known}"
            );
            keys.wrong("shape", why);
        }
        if !self.health.is_empty() && !is_path(&self.health) {
            keys.wrong("health", "is not a path, such as /health".into());
        }
        if let Err(why) = self.metrics_elsewhere() {
            keys.wrong("metrics", why);
        }
        for (key, address) in [("kv_events", &self.kv_events), ("kv_replay", &self.kv_replay)] {
            if !address.is_empty() && tcp(address).is_none() {
                keys.wrong(key, format!("{address:?} is not tcp://HOST:PORT"));
            }
        }
        if self.kv_events.is_empty() && !self.kv_replay.is_empty() {
            keys.wrong("kv_replay", "says again what nobody listens to: give kv_events too".into());
        }
        for (model, _) in &self.aliases {
            if !self.models.contains(model) {
                keys.wrong("aliases", format!("{model:?} is not among models"));
            }
        }
    }

    /// Who tells of its cache.
    #[must_use]
    pub fn publisher(&self) -> Option<Publisher> {
        Some(Publisher { events: tcp(&self.kv_events)?, replay: tcp(&self.kv_replay) })
    }

    /// Whether it is asked over gRPC.
    #[must_use]
    pub fn speaks_grpc(&self) -> bool {
        speaks_grpc(&self.url)
    }

    /// The executor whose steps are planned here, if it is one.
    #[must_use]
    pub(crate) fn executor(&self) -> Option<Executing<'_>> {
        Executing::of(&self.url, self.connect_timeout)
    }

    /// Whether it computes in this process.
    pub(crate) fn is_in_process(&self) -> bool {
        self.executor().is_some_and(|executor| executor.is_in_process())
    }

    /// Why nobody can talk to it, if so.
    pub(super) fn unreachable(&self) -> Option<openai::Invalid> {
        if self.service().is_some() {
            let any = Target { host: "any".into(), port: 1, priority: 0, weight: 1 };
            return self.at_target(&any, 1).unreachable();
        }
        if let Some(executor) = self.executor() {
            executor.check().err()
        } else if self.speaks_grpc() {
            grpc::Backend::new(&self.engine()).err()
        } else {
            openai::Backend::new(&self.engine()).err()
        }
    }

    /// How to talk to it.
    #[must_use]
    pub fn engine(&self) -> openai::Config {
        let authorize: Option<Arc<dyn Authorize>> = match (&*self.bearer.0, &*self.api_key.0) {
            ("", "") => None,
            ("", key) => Some(Arc::new(Bearer::api_key(key))),
            (token, _) => Some(Arc::new(Bearer::new(token))),
        };
        openai::Config {
            name: self.name.clone(),
            url: self.url.clone(),
            connect_to: self.connect_to,
            headers: self.headers.clone(),
            authorize,
            http2: self.http2,
            ca_file: Some(self.ca_file.clone()).filter(|file| !file.is_empty()),
            connect_timeout: self.connect_timeout,
            ask_usage: self.stream_options,
            cache_salt: self.cache_salt,
            ask_load: orca::Asked::named(self.orca).unwrap_or_default(),
        }
    }

    /// Paths where its metrics may be, the likely one first; none where it is not to be asked.
    pub(crate) fn metrics_paths(&self) -> Vec<String> {
        match self.metrics.as_str() {
            "" => Vec::new(),
            // A port for gRPC has none.
            _ if self.speaks_grpc() => Vec::new(),
            // TensorRT-LLM has them elsewhere.
            METRICS => vec![METRICS.into(), "/prometheus/metrics".into()],
            path => vec![path.into()],
        }
    }

    /// How to ask for its metrics, and by which path, where they have an address of their own. Who is there may be somebody
    /// else, and gets no secrets.
    pub(crate) fn metrics_elsewhere(&self) -> Result<Option<(openai::Config, String)>, String> {
        let metrics = &self.metrics;
        if metrics.is_empty() || is_path(metrics) {
            return Ok(None);
        }
        let wrong = || {
            format!(
                "{metrics:?} is not a path, such as /metrics, or an address, such as http://host:8002/metrics"
            )
        };
        let uri: http::Uri = metrics.parse().map_err(|_| wrong())?;
        let (scheme, authority) = uri.scheme().zip(uri.authority()).ok_or_else(wrong)?;
        let url = format!("{scheme}://{authority}");
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let connect_to = self.connect_to.filter(|_| Some(authority.host()) == self.host().as_deref());
        let engine = openai::Config {
            url,
            connect_to,
            headers: Vec::new(),
            authorize: None,
            http2: false,
            ..self.engine()
        };
        let invalid = if speaks_grpc(&engine.url) {
            grpc::Backend::new(&engine).err()
        } else {
            openai::Backend::new(&engine).err()
        };
        invalid.map_or(Ok(Some((engine, path.to_owned()))), |invalid| Err(invalid.why))
    }

    /// What routing is told of it, if it serves `models`.
    #[must_use]
    pub fn spec(&self, models: &[String]) -> BackendSpec {
        let alias =
            |name: &str| self.aliases.iter().find(|(model, _)| model == name).map(|(_, alias)| alias.clone());
        BackendSpec {
            name: self.name.clone(),
            locality: self.locality.clone(),
            residency: self.residency.clone(),
            accelerator: self.accelerator.clone(),
            models: models
                .iter()
                .map(|name| ServedModel { name: name.clone(), alias: alias(name) })
                .collect(),
            max_in_flight: u32::try_from(self.max_in_flight).unwrap_or(u32::MAX),
            commitment: Some(self.commitment.clone()).filter(|name| !name.is_empty()),
            weight: (self.weight < 1.0).then_some(self.weight as f32),
            alone: !self.batch,
            identity: self.identity(),
            step_time: Some(self.step_time).filter(StepTime::is_given).or(self.gpu().map(|gpu| gpu.time)),
            kv_tokens: self.kv_tokens(),
            round_trip: (self.round_trip_ms > 0.0)
                .then(|| Duration::from_secs_f64(self.round_trip_ms / 1_000.0)),
            prices: self.prices(),
        }
    }

    /// Its row in the table of GPUs, if it is there.
    fn gpu(&self) -> Option<&'static simulated::GpuModel> {
        let spread = u32::try_from(self.tensor_parallel).ok()?;
        simulated::gpu_model(&self.accelerator, &self.shape, spread, &self.dtype)
    }

    fn kv_tokens(&self) -> Option<u32> {
        let given = u32::try_from(self.kv_tokens).ok().filter(|tokens| *tokens > 0);
        given.or(self.gpu().map(|gpu| gpu.kv_tokens))
    }

    fn prices(&self) -> Prices {
        Prices {
            hour: self.gpu_hour_dollars * self.tensor_parallel as f64,
            committed: self.committed,
            million_prompt: self.million_prompt_dollars,
            million_answer: self.million_answer_dollars,
        }
    }

    /// Differs where another engine must be made: a hash, since secrets are part of it.
    fn identity(&self) -> String {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        let secrets = (&self.bearer.0, &self.api_key.0, &self.ca_file, &self.headers);
        let manners = (self.http2, self.connect_timeout, self.stream_options, self.cache_salt, self.orca);
        (self.connect_to, secrets, manners).hash(&mut hasher);
        format!("{}#{:x}", self.url, hasher.finish())
    }
}

/// Host and port of an address as ZeroMQ writes it.
fn tcp(address: &str) -> Option<String> {
    let authority: http::uri::Authority = address.strip_prefix("tcp://")?.parse().ok()?;
    (authority.port_u16().is_some() && !authority.as_str().contains('@')).then(|| authority.to_string())
}
