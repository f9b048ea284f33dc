//! The keys of a backend, in the order of the reference.

use plimsoll_engines::orca;
use plimsoll_types::{Key, Keys, Section};

use super::{BackendConfig, CONTINUES_CHATS};

impl Section for BackendConfig {
    fn keys(&mut self, keys: &mut dyn Keys) {
        self.name_keys(keys);
        self.place_keys(keys);
        self.gpu_keys(keys);
        self.cost_keys(keys);
        self.call_keys(keys);
        self.dialect_keys(keys);
        self.member_keys(keys);
        self.watch_keys(keys);
        self.check(keys);
    }
}

impl BackendConfig {
    /// Who it is, and which models it serves.
    fn name_keys(&mut self, keys: &mut dyn Keys) {
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
    }

    /// Where it is, and where data stays there.
    fn place_keys(&mut self, keys: &mut dyn Keys) {
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
    }

    /// What it computes on, and how fast.
    fn gpu_keys(&mut self, keys: &mut dyn Keys) {
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
    }

    /// What the way there and its use cost.
    fn cost_keys(&mut self, keys: &mut dyn Keys) {
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
    }

    /// How it is called.
    fn call_keys(&mut self, keys: &mut dyn Keys) {
        let key = Key::new("max_in_flight", "Requests that it gets at a time.");
        keys.number(key, 1..=1_000_000, &mut self.max_in_flight);
        keys.flag(Key::new("http2", "Whether to speak HTTP/2 to it."), &mut self.http2);
        keys.secret(Key::new("bearer", "A token sent as `Authorization: Bearer`."), &mut self.bearer.0);
        keys.secret(Key::new("api_key", "A key sent as `api-key`, for Azure."), &mut self.api_key.0);
        for (name, secret) in [("bearer", &self.bearer.0), ("api_key", &self.api_key.0)] {
            // The field would be left out, and the backend would refuse every call for a reason that the log does not show.
            if secret.bytes().any(|byte| byte.is_ascii_control()) {
                keys.wrong(name, "has a line end or another character that no header field may have".into());
            }
        }
        keys.map(Key::new("headers", "Header fields of every call to it."), &mut self.headers);
        let key = Key::new("ca_file", "A PEM file of certificates to trust in the place of the system's.");
        keys.text(key, &mut self.ca_file);
        let key = Key::new("connect_timeout_ms", "How long a connection to it may take, TLS included.");
        keys.millis(key, 10..=60_000, &mut self.connect_timeout);
    }

    /// What it understands.
    fn dialect_keys(&mut self, keys: &mut dyn Keys) {
        let key = Key::new("stream_options", "Whether it understands `stream_options.include_usage`.");
        keys.flag(key, &mut self.stream_options);
        let key = Key::new(
            "cache_salt",
            "Whether it understands `cache_salt` in a body, as vLLM and SGLang do: with `prefix_sharing: tenant` its cache is kept \
             apart too. To one that does not, nothing is said.",
        );
        keys.flag(key, &mut self.cache_salt);
        let key = Key::new(
            "continues_chats",
            "Whether it takes a chat whose last message is the beginning of an answer and goes on there \
             (`continue_final_message`), so that streams which broke elsewhere go on at it: known of vLLM, SGLang and llama.cpp \
             by what they say of their load (auto).",
        );
        keys.choice(key, CONTINUES_CHATS, &mut self.continues_chats);
        let key = Key::new(
            "batch",
            "Whether requests may be joined on their way to it, where `batching` is enabled.",
        );
        keys.flag(key, &mut self.batch);
    }

    /// Whether it is several, and how much it is wanted beside others.
    fn member_keys(&mut self, keys: &mut dyn Keys) {
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
    }

    /// How it is watched.
    fn watch_keys(&mut self, keys: &mut dyn Keys) {
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
    }
}
