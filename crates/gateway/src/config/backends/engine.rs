//! How a backend is talked to.

use std::sync::Arc;

use plimsoll_engines::{Authorize, Bearer, grpc, openai, orca};
use plimsoll_fleet::source::Target;

use super::BackendConfig;
use crate::config::executing::Executing;

impl BackendConfig {
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
    pub(crate) fn unreachable(&self) -> Option<openai::Invalid> {
        if self.service().is_some() {
            let any = Target { host: "any".into(), port: 1, priority: 0, weight: 1 };
            return self.at_target(&any, 1).unreachable();
        }
        match self.executor() {
            Some(executor) => executor.check().err(),
            None => wrong_with(&self.engine()),
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
}

/// Why nobody can be asked as `engine` says, if so.
pub(super) fn wrong_with(engine: &openai::Config) -> Option<openai::Invalid> {
    if speaks_grpc(&engine.url) {
        grpc::Backend::new(engine).err()
    } else {
        openai::Backend::new(engine).err()
    }
}

fn speaks_grpc(url: &str) -> bool {
    url.starts_with("grpc://") || url.starts_with("grpcs://")
}
