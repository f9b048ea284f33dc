//! llama.cpp behind types that cannot be used wrongly. All that is unsafe is here and below.

#![expect(unsafe_code, reason = "llama.cpp is written in C++")]

mod context;
mod log;
mod model;
mod step;
mod vectors;

pub(crate) use context::{Context, Shape};
pub(crate) use model::Model;
pub(crate) use vectors::Vectors;

use std::sync::Once;

/// Makes llama.cpp ready, once.
fn begin() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| {
        log::redirect();
        // SAFETY: it has no preconditions.
        unsafe { llama_cpp_sys_2::llama_backend_init() };
    });
}

/// What llama.cpp complained of on this thread, for a message that says more than that something failed.
fn complaint() -> String {
    log::complaint().unwrap_or_else(|| "llama.cpp does not say why".into())
}
