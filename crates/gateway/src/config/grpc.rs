use plimsoll_types::{Key, Keys, Section};

/// How callers over gRPC are served.
#[derive(Debug, Clone, Default)]
pub struct Grpc {
    /// Whether to tell what services there are.
    pub reflection: bool,
    /// Whether to compress answers.
    pub gzip: bool,
}

impl Section for Grpc {
    fn keys(&mut self, keys: &mut dyn Keys) {
        let key = Key::new(
            "reflection",
            "Whether to tell tools such as `buf curl` and grpcurl what services there are and how their messages look.",
        );
        keys.flag(key, &mut self.reflection);
        let key = Key::new(
            "gzip",
            "Whether to compress answers for callers that accept gzip. Most libraries say that they do; a token is too \
             short to gain by it. Requests may come compressed in any case.",
        );
        keys.flag(key, &mut self.gzip);
    }
}
