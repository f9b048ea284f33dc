use std::time::Duration;

use plimsoll_engines::executor::Executor;
use plimsoll_engines::openai::Invalid;
use plimsoll_engines::remote::{Address, Remote};

/// A backend that computes steps which are planned here.
pub(crate) enum Executing<'a> {
    /// Another process.
    Remote(&'a str, Duration),
    /// llama.cpp in this one: a file and options.
    Llama(&'a str),
}

impl<'a> Executing<'a> {
    /// What `url` means, if it means one.
    pub(super) fn of(url: &'a str, connect_timeout: Duration) -> Option<Self> {
        match url.strip_prefix("llama:") {
            Some(file) => Some(Self::Llama(file)),
            None => Address::is_meant(url).then_some(Self::Remote(url, connect_timeout)),
        }
    }

    /// Whether it computes in this process.
    pub(super) fn is_in_process(&self) -> bool {
        matches!(self, Self::Llama(_))
    }

    /// Whether it could be asked.
    pub(super) fn check(&self) -> Result<(), Invalid> {
        match self {
            Self::Remote(url, _) => Address::parse(url).map(|_| ()),
            Self::Llama(file) => llama::check(file).map_err(|why| Invalid { key: "url", why }),
        }
    }

    /// The executor, not yet loaded.
    pub(crate) fn begin(&self) -> Result<Box<dyn Executor>, String> {
        match self {
            Self::Remote(url, connect_timeout) => {
                let address = Address::parse(url).map_err(|invalid| invalid.to_string())?;
                Ok(Box::new(Remote::new(address, *connect_timeout)))
            }
            Self::Llama(file) => llama::begin(file),
        }
    }
}

#[cfg(feature = "llama")]
mod llama {
    use plimsoll_engines::executor::Executor;
    use plimsoll_llama::{Llama, Options};

    pub(super) fn check(file: &str) -> Result<(), String> {
        Options::parse(file).map(|_| ())
    }

    pub(super) fn begin(file: &str) -> Result<Box<dyn Executor>, String> {
        Ok(Box::new(Llama::new(Options::parse(file)?)?))
    }
}

#[cfg(not(feature = "llama"))]
mod llama {
    use plimsoll_engines::executor::Executor;

    const ABSENT: &str =
        "this binary was built without llama.cpp; build one with `cargo build --release --features llama`";

    pub(super) fn check(_: &str) -> Result<(), String> {
        Err(ABSENT.into())
    }

    pub(super) fn begin(_: &str) -> Result<Box<dyn Executor>, String> {
        Err(ABSENT.into())
    }
}
