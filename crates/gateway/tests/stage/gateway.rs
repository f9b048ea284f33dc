use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::thread;

use plimsoll_gateway::config::{self, Overrides};
use plimsoll_gateway::{Source, run};
use plimsoll_telemetry::Exporter;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{Answer, Backends, Client, eventually, unique, within};

/// A gateway in threads of this process, with one core unless more are asked for. Dropping it drains it.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// The model that its backends serve.
    pub(crate) model: String,
    ended: oneshot::Receiver<Result<(), String>>,
}

impl Gateway {
    /// A gateway before `backends`.
    pub(crate) async fn before(backends: &Backends) -> Self {
        Self::configured(backends, "").await
    }

    /// A gateway before `backends`, with more in its configuration.
    pub(crate) async fn configured(backends: &Backends, more: &str) -> Self {
        let model = format!("model-{}", unique());
        Self::start(&model, &format!("{}{more}", backends.yaml(&model)), None).await
    }

    /// The same with two cores.
    pub(crate) async fn on_two_cores(backends: &Backends, more: &str) -> Self {
        let model = format!("model-{}", unique());
        Self::on_cores(2, &model, (&format!("{}{more}", backends.yaml(&model)), None)).await
    }

    /// A gateway that runs the configuration in `yaml`, which came from `file`.
    pub(crate) async fn start(model: &str, yaml: &str, file: Option<PathBuf>) -> Self {
        Self::on_cores(1, model, (yaml, file)).await
    }

    async fn on_cores(cores: u64, model: &str, (yaml, file): (&str, Option<PathBuf>)) -> Self {
        let any = || Some("127.0.0.1:0".to_owned());
        let said = Overrides { listen: any(), admin: any(), threads: Some(cores), ..Overrides::default() };
        let config =
            config::read("test.yaml", yaml, &said).unwrap_or_else(|wrong| panic!("{wrong:?} in\n{yaml}"));
        let (tell_ready, ready) = oneshot::channel();
        let (tell_ended, ended) = oneshot::channel();
        let work = move || {
            let ready = |config: &config::Config, _: &plimsoll_gateway::House| {
                let addresses = config.listen_address().and_then(|a| Ok((a, config.admin_address()?)));
                let _ = tell_ready.send(addresses);
            };
            let _ = tell_ended.send(run(Source { config, file }, Some(exporter()), ready));
        };
        thread::Builder::new().name("gateway".into()).spawn(work).unwrap();
        let addresses = within("the gateway to serve", ready).await;
        let (address, admin) = addresses.expect("the gateway starts").unwrap();
        Self { address, admin, model: model.to_owned(), ended }
    }

    /// A gateway that asks this one over gRPC.
    pub(crate) async fn relay(&self) -> Self {
        let (name, address, model) = (unique(), self.address, &self.model);
        let yaml =
            format!("backends:\n  - {{name: g-{name}, url: \"grpc://{address}\", models: [{model}]}}\n");
        Self::start(model, &yaml, None).await
    }

    /// A connection of a client.
    pub(crate) async fn connect(&self) -> Client {
        Client::connect(self.address).await
    }

    /// The answer to a request on a connection of its own.
    pub(crate) async fn ask(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> Answer {
        let mut client = self.connect().await;
        client.send(method, path, fields, body).await;
        client.answer().await
    }

    /// The plain answer to a short question.
    pub(crate) async fn chat(&self) -> Answer {
        self.ask("POST", "/v1/chat/completions", &[], &self.question(json!({}))).await
    }

    /// A client that has sent a short question and wants a stream.
    pub(crate) async fn stream(&self) -> Client {
        self.send_chat(json!({"stream": true})).await
    }

    /// A client that has sent a short question with these members.
    pub(crate) async fn send_chat(&self, more: Value) -> Client {
        let mut client = self.connect().await;
        client.send("POST", "/v1/chat/completions", &[], &self.question(more)).await;
        client
    }

    /// The body of a short question, with these members.
    pub(crate) fn question(&self, more: Value) -> String {
        let mut body = json!({"model": self.model, "messages": [{"role": "user", "content": "Hello?"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body.to_string()
    }

    /// The answer on the operators' port.
    pub(crate) async fn admin(&self, method: &str, path: &str) -> Answer {
        let mut client = Client::connect(self.admin).await;
        client.send(method, path, &[], "").await;
        client.answer().await
    }

    /// The text of all metrics.
    pub(crate) async fn metrics(&self) -> String {
        self.admin("GET", "/metrics").await.text()
    }

    /// The value of a metric with these labels; 0 where there is none yet.
    pub(crate) async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let text = self.metrics().await;
        let fits = |line: &&str| {
            let named = line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
            named && labels.iter().all(|label| line.contains(label.as_str()))
        };
        let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
        text.lines().filter(fits).map(value).sum()
    }

    /// The value of a metric of this gateway's model.
    pub(crate) async fn of_model(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.metric(name, &[labels, &[("model", self.model.as_str())]].concat()).await
    }

    /// What operators see of the fleet.
    pub(crate) async fn fleet(&self) -> Value {
        self.admin("GET", "/fleet").await.json()
    }

    /// What operators see of one backend.
    pub(crate) async fn backend(&self, index: usize) -> Value {
        self.fleet().await["backends"][index].clone()
    }

    /// Waits until nothing is counted as being served, here or at any backend.
    pub(crate) async fn is_at_rest(&self) {
        eventually("everything to be given back", async || {
            let fleet = self.fleet().await;
            let backends = fleet["backends"].as_array().unwrap();
            fleet["in_flight"] == 0
                && backends.iter().all(|one| one["in_flight"] == 0 && one["queued_prompt_tokens"] == 0)
        })
        .await;
        assert_eq!(self.of_model("plimsoll_requests_in_flight", &[]).await, 0.0);
    }

    /// How the gateway ended.
    pub(crate) async fn end(&mut self) -> Result<(), String> {
        within("the gateway to end", &mut self.ended).await.expect("it does not panic")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Best effort: a gateway that has ended already refuses.
        if let Ok(mut admin) = std::net::TcpStream::connect(self.admin) {
            let _ = admin.write_all(b"POST /drain HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
            let _ = admin.read(&mut [0; 1]);
        }
    }
}

fn exporter() -> Exporter {
    static EXPORTER: OnceLock<Exporter> = OnceLock::new();
    EXPORTER.get_or_init(|| Exporter::install().expect("nobody else installs one")).clone()
}
