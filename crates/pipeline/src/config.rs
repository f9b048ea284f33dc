use std::time::Duration;

use plimsoll_batching::queue::{Limits, Order};
use plimsoll_types::{Key, Keys, Section};

/// Limits on the life of a request.
#[derive(Debug, Clone)]
pub struct Config {
    /// Requests that may be served at a time, all cores together.
    pub max_in_flight: u64,
    /// Requests of one model that may wait while every backend is at its line.
    pub max_queued: u64,
    /// Bytes of the bodies of those together.
    pub max_queued_bytes: u64,
    /// How long one may wait where requests wait without a break.
    pub max_wait: Duration,
    /// How long one may wait that came in a burst; zero means twelve times `max_wait`.
    pub max_burst_wait: Duration,
    /// In what order they leave.
    pub queue_order: &'static str,
    /// How late one is, beside the order of arrival, before no other goes before it.
    pub queue_aging: Duration,
    /// Attempts that one request may make, the first included.
    pub max_attempts: u64,
    /// Second tries allowed for each hundred requests.
    pub retry_percent: u64,
    /// Second tries allowed each second besides.
    pub retry_per_second: u64,
    /// How often an answer may go on at another backend after its first token.
    pub continuations: u64,
    /// The longest wait for the first token at one backend.
    pub ttft_limit: Duration,
    /// How many times its expected time to first token a backend may take.
    pub ttft_factor: f64,
    /// However soon a first token is expected, the backend has this long.
    pub ttft_floor: Duration,
    /// The longest silence of a backend inside a stream: no byte.
    pub idle_limit: Duration,
    /// The longest time without output of a backend that gives signs of life.
    pub quiet_limit: Duration,
    /// The longest that a plain answer may take.
    pub answer_limit: Duration,
    /// The longest that a client may leave its stream unread.
    pub stall_limit: Duration,
    /// How long a stream's headers wait for its first token.
    pub hold_headers: Duration,
    /// How long a stream is silent before the client is told that it lives.
    pub keep_alive: Duration,
    /// Whether each request leaves a line in the log.
    pub log_requests: bool,
    /// Which requests are sent as one: a section of its own in the file.
    pub batching: plimsoll_batching::micro::Config,
}

/// How many times as long as at other times one may wait that came in a burst.
const BURST: u32 = 12;

/// The names of the orders of the queue.
pub(crate) const QUEUE_ORDERS: &[&str] = &["short_first", "arrival"];

impl Default for Config {
    fn default() -> Self {
        Self {
            max_in_flight: 16_384,
            max_queued: 4_096,
            max_queued_bytes: 256 << 20,
            max_wait: Duration::from_secs(5),
            max_burst_wait: Duration::ZERO,
            queue_order: QUEUE_ORDERS[0],
            queue_aging: Duration::from_secs(2),
            max_attempts: 3,
            retry_percent: 20,
            retry_per_second: 10,
            continuations: 1,
            ttft_limit: Duration::from_secs(30),
            ttft_factor: 20.0,
            ttft_floor: Duration::from_secs(5),
            idle_limit: Duration::from_secs(15),
            quiet_limit: Duration::from_secs(600),
            answer_limit: Duration::from_secs(600),
            stall_limit: Duration::from_secs(60),
            hold_headers: Duration::from_secs(10),
            keep_alive: Duration::from_secs(15),
            log_requests: false,
            batching: plimsoll_batching::micro::Config::default(),
        }
    }
}

impl Config {
    /// What the queue of a model may hold, and how.
    pub(crate) fn queue(&self) -> Limits {
        let order = if self.queue_order == QUEUE_ORDERS[0] { Order::ShortFirst } else { Order::Arrival };
        Limits { requests: self.max_queued, bytes: self.max_queued_bytes, order, aging: self.queue_aging }
    }

    /// How long one may wait that came in a burst.
    pub(crate) fn burst_wait(&self) -> Duration {
        match self.max_burst_wait {
            Duration::ZERO => self.max_wait * BURST,
            longest => longest.max(self.max_wait),
        }
    }

    /// How long a backend has for its first token, if it is expected after `expected` seconds.
    pub(crate) fn first_token_limit(&self, expected: f32) -> Duration {
        let derived = Duration::try_from_secs_f64(f64::from(expected.max(0.0)) * self.ttft_factor);
        // A prompt that takes long to read is no silence.
        let expected = Duration::try_from_secs_f32(expected.max(0.0) * 2.0).unwrap_or(Duration::MAX);
        let most = self.ttft_limit.max(expected.min(self.quiet_limit));
        derived.unwrap_or(Duration::MAX).clamp(self.ttft_floor.min(self.ttft_limit), most)
    }
}

impl Section for Config {
    fn keys(&mut self, keys: &mut dyn Keys) {
        let key = Key::new(
            "max_in_flight",
            "Requests served at a time; more are refused with 503 and `Retry-After`.",
        );
        keys.number(key, 1..=10_000_000, &mut self.max_in_flight);
        let key = Key::new(
            "max_queued",
            "Requests of one model that wait while every backend is at its line; more are refused with 503 and \
             `Retry-After`. 0 lets nobody wait.",
        );
        keys.number(key, 0..=1_000_000, &mut self.max_queued);
        let key = Key::new("max_queued_bytes", "Bytes of the bodies of those together.");
        keys.number(key, 0..=1 << 40, &mut self.max_queued_bytes);
        let key = Key::new(
            "max_wait_ms",
            "How long one may wait there once requests have waited for as long without a break, because more come than \
             backends serve. A request whose wait is measured to be longer is refused at once.",
        );
        keys.millis(key, 0..=3_600_000, &mut self.max_wait);
        let key = Key::new(
            "max_burst_wait_ms",
            "How long one may wait there that came before that, in a burst: a minute where engines could serve it within a minute \
             is better than a refusal. 0 means twelve times `max_wait_ms`; a value below `max_wait_ms` counts as that.",
        );
        keys.millis(key, 0..=3_600_000, &mut self.max_burst_wait);
        let key = Key::new(
            "queue_order",
            "In what order they leave: by priority, tenants by their shares, short ones first (short_first), or as they \
             came (arrival).",
        );
        keys.choice(key, QUEUE_ORDERS, &mut self.queue_order);
        let key = Key::new(
            "queue_aging_ms",
            "How late one may be, beside the order of arrival, before no other request of its tenant goes before it.",
        );
        keys.millis(key, 0..=3_600_000, &mut self.queue_aging);
        let key = Key::new("max_attempts", "Attempts that one request may make, each at another backend.");
        keys.number(key, 1..=10, &mut self.max_attempts);
        let key = Key::new("retry_percent", "Second tries allowed for each hundred requests.");
        keys.number(key, 0..=100, &mut self.retry_percent);
        let key = Key::new(
            "retry_per_second",
            "Second tries allowed each second besides, so that little traffic has some.",
        );
        keys.number(key, 0..=10_000, &mut self.retry_per_second);
        let key = Key::new(
            "continuations",
            "How often a stream whose backend is lost after its first token may go on at another backend of its \
             model. Chats go on at backends with `continues_chats`.",
        );
        keys.number(key, 0..=10, &mut self.continuations);
        let key = Key::new(
            "ttft_limit_ms",
            "The longest wait for a sign of life at one backend, or twice the time to first token that is expected there; then \
             another is tried.",
        );
        keys.millis(key, 10..=3_600_000, &mut self.ttft_limit);
        let key = Key::new(
            "ttft_factor",
            "A backend that takes this many times its expected time to first token is given up.",
        );
        keys.decimal(key, 1.0..=1_000.0, &mut self.ttft_factor);
        let key =
            Key::new("ttft_floor_ms", "However soon a first token is expected, the backend has this long.");
        keys.millis(key, 10..=3_600_000, &mut self.ttft_floor);
        let key = Key::new(
            "idle_limit_ms",
            "The longest silence of a backend inside a stream, without a byte. For requests with tools `quiet_limit_ms` \
             stands in for it: engines read the call of a tool as a whole before they send it.",
        );
        keys.millis(key, 10..=3_600_000, &mut self.idle_limit);
        let key = Key::new(
            "quiet_limit_ms",
            "The longest time without output, before the first token or after any, of a backend that gives signs of life: \
             comments, pings, the role, events of searches. SDKs wait 600 s.",
        );
        keys.millis(key, 10..=86_400_000, &mut self.quiet_limit);
        let key = Key::new("answer_limit_ms", "The longest that a plain answer may take.");
        keys.millis(key, 10..=86_400_000, &mut self.answer_limit);
        let key = Key::new("stall_limit_ms", "The longest that a client may leave its stream unread.");
        keys.millis(key, 100..=3_600_000, &mut self.stall_limit);
        let key = Key::new(
            "hold_headers_ms",
            "How long the headers of a stream wait for its first token; until then a failed backend can still become a status.",
        );
        keys.millis(key, 0..=600_000, &mut self.hold_headers);
        let key = Key::new("keep_alive_ms", "After this much silence a stream gets a comment line.");
        keys.millis(key, 100..=600_000, &mut self.keep_alive);
        let key = Key::new(
            "log_requests",
            "Whether each request leaves a line in the log: ids, model, backend, tokens and times, never text.",
        );
        keys.flag(key, &mut self.log_requests);
    }
}
