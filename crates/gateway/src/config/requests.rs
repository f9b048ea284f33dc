use std::time::Duration;

use crate::cors::is_origin;
use plimsoll_types::{Key, Keys, Section};

/// What requests may be.
#[derive(Debug, Clone)]
pub struct Requests {
    /// Bytes that a body may have.
    pub max_body_bytes: u64,
    /// Bytes that the header fields may have together.
    pub max_head_bytes: u64,
    /// How long the header fields may take to arrive.
    pub head_timeout: Duration,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How long a connection may be idle.
    pub idle_timeout: Duration,
    /// Client connections at a time.
    pub max_connections: u64,
    /// Choices that one request may ask for.
    pub max_choices: u64,
    /// Closed fields that the operator opened.
    pub allow_fields: Vec<String>,
    /// Hosts that links to media may lead to.
    pub media_hosts: Vec<String>,
    /// Hosts of MCP servers that tools may name.
    pub mcp_hosts: Vec<String>,
    /// Origins whose pages may call from a browser.
    pub cors_origins: Vec<String>,
    /// Fields that are closed: those of the reference without those that were opened.
    pub closed_fields: Vec<&'static str>,
}

/// Fields with which a caller reaches deeper into an engine than the API means him to.
const CLOSED: &[&str] = &[
    "chat_template",
    "chat_template_kwargs",
    "mm_processor_kwargs",
    "media_io_kwargs",
    "prompt_embeds",
    "logits_processors",
    "vllm_xargs",
    "kv_transfer_params",
    "lora_path",
    "bootstrap_host",
    "bootstrap_port",
    "bootstrap_room",
];

impl Default for Requests {
    fn default() -> Self {
        Self {
            max_body_bytes: 32 << 20,
            max_head_bytes: 32 << 10,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            max_connections: 16_384,
            max_choices: 128,
            allow_fields: Vec::new(),
            media_hosts: Vec::new(),
            mcp_hosts: Vec::new(),
            cors_origins: Vec::new(),
            closed_fields: CLOSED.to_vec(),
        }
    }
}

impl Requests {
    /// Whether a prompt may hold this link. The gateway follows none itself; an engine behind it would.
    pub(crate) fn may_link(&self, link: &str) -> bool {
        leads_to(link, &self.media_hosts)
    }

    /// Whether a tool may name this MCP server, which the engine would call.
    pub(crate) fn may_call(&self, link: &str) -> bool {
        leads_to(link, &self.mcp_hosts)
    }
}

/// Whether a link leads to one of these hosts, over https and without user information.
fn leads_to(link: &str, hosts: &[String]) -> bool {
    let Ok(uri) = link.parse::<http::Uri>() else { return false };
    let host = uri.host().unwrap_or("");
    let secure =
        uri.scheme_str() == Some("https") && uri.authority().is_some_and(|a| !a.as_str().contains('@'));
    secure && hosts.iter().any(|allowed| matches(allowed, host))
}

/// Whether `host` is `allowed`: the same, below `*.example.com`, or for `*` any name of the public domain name system.
fn matches(allowed: &str, host: &str) -> bool {
    let (allowed, host) = (allowed.to_ascii_lowercase(), host.to_ascii_lowercase());
    let is_name = host.contains('.') && !host.ends_with(|last: char| last.is_ascii_digit() || last == ']');
    match allowed.strip_prefix('*') {
        None => allowed == host,
        Some("") => is_name,
        Some(domain) => host.len() > domain.len() && host.ends_with(domain),
    }
}

/// Whether a host of the configuration can match any.
fn is_host(host: &str) -> bool {
    let name = host.strip_prefix("*.").unwrap_or(host);
    host == "*" || (!name.is_empty() && !name.contains(['*', '/', ':', '@', ' ']))
}

impl Section for Requests {
    fn keys(&mut self, keys: &mut dyn Keys) {
        keys.number(
            Key::new("max_body_bytes", "Bytes that a body may have."),
            1_024..=1 << 30,
            &mut self.max_body_bytes,
        );
        let key = Key::new("max_head_bytes", "Bytes that the header fields may have together.");
        keys.number(key, 1_024..=256 << 10, &mut self.max_head_bytes);
        let key = Key::new("head_timeout_ms", "How long the header fields may take to arrive.");
        keys.millis(key, 100..=600_000, &mut self.head_timeout);
        let key = Key::new("body_timeout_ms", "How long a body may take to arrive.");
        keys.millis(key, 100..=3_600_000, &mut self.body_timeout);
        let key = Key::new("idle_timeout_ms", "How long a connection may be idle.");
        keys.millis(key, 1_000..=3_600_000, &mut self.idle_timeout);
        keys.number(
            Key::new("max_connections", "Client connections at a time."),
            1..=10_000_000,
            &mut self.max_connections,
        );
        let key = Key::new("max_choices", "Choices (`n`, `best_of`) that one request may ask for.");
        keys.number(key, 1..=1_024, &mut self.max_choices);
        let key = Key::new(
            "allow_fields",
            "Fields to let through that are closed by default because they run templates, load files or bypass checks \
             in an engine: chat_template, chat_template_kwargs, mm_processor_kwargs, media_io_kwargs, prompt_embeds, \
             logits_processors, vllm_xargs, kv_transfer_params, lora_path, bootstrap_host, bootstrap_port, \
             bootstrap_room.",
        );
        keys.texts(key, &mut self.allow_fields);
        let key = Key::new(
            "media_hosts",
            "Hosts that https links to images, audio and video may lead to: names, `*.example.com`, or `*` for any name; \
             `data:` URLs always pass. An engine follows such links from inside your network.",
        );
        keys.texts(key, &mut self.media_hosts);
        let key = Key::new(
            "mcp_hosts",
            "Hosts of MCP servers that tools may name by `server_url`, in the same form. An engine calls them from inside your \
             network.",
        );
        keys.texts(key, &mut self.mcp_hosts);
        let key = Key::new(
            "cors_origins",
            "Origins whose pages may call from a browser (CORS), such as `https://app.example`, or `*` for all. Without keys, every \
             page of a listed origin may use the gateway on behalf of whoever opens it.",
        );
        keys.texts(key, &mut self.cors_origins);
        for origin in self.cors_origins.iter().filter(|origin| !is_origin(origin)) {
            keys.wrong(
                "cors_origins",
                format!("{origin:?} is no origin: give a scheme and a host, without a path, or `*`"),
            );
        }
        for (key, hosts) in [("media_hosts", &self.media_hosts), ("mcp_hosts", &self.mcp_hosts)] {
            for host in hosts.iter().filter(|host| !is_host(host)) {
                keys.wrong(key, format!("{host:?} matches no host: give a name, `*.example.com` or `*`"));
            }
        }
        self.closed_fields.retain(|field| !self.allow_fields.iter().any(|allowed| allowed == field));
        for field in &self.allow_fields {
            if !CLOSED.contains(&field.as_str()) {
                keys.wrong(
                    "allow_fields",
                    format!("{field:?} is not closed; closed are {}", CLOSED.join(", ")),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_hosts_over_https_may_be_linked() {
        let requests = Requests { media_hosts: vec!["cdn.example".into()], ..Requests::default() };
        assert!(requests.may_link("https://CDN.example/a.png"));
        for link in [
            "http://cdn.example/",
            "https://cdn.example@evil/",
            "https://evil/cdn.example",
            "cdn.example",
            "//cdn.example/",
        ] {
            assert!(!requests.may_link(link), "{link}");
        }
    }
}
