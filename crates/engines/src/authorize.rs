use std::fmt;

use crate::outgoing::Fields;

/// Puts what a backend wants to see of us onto an outgoing call: a token, a signature.
///
/// Called once for each attempt, on the hot path: whatever must be fetched or renewed was fetched beforehand.
pub trait Authorize: Send + Sync {
    /// Adds header fields for a call of `method` and `target` with this body.
    fn authorize(&self, method: &str, target: &str, body: &[bytes::Bytes], fields: &mut Fields);
}

/// A token that is sent as it is.
#[derive(Clone)]
pub struct Bearer {
    header: &'static str,
    value: String,
}

impl Bearer {
    /// `Authorization: Bearer <token>`.
    #[must_use]
    pub fn new(token: &str) -> Self {
        Self { header: "authorization", value: format!("Bearer {token}") }
    }

    /// `api-key: <token>`, as Azure has it.
    #[must_use]
    pub fn api_key(token: &str) -> Self {
        Self { header: "api-key", value: token.to_owned() }
    }
}

impl Authorize for Bearer {
    fn authorize(&self, _: &str, _: &str, _: &[bytes::Bytes], fields: &mut Fields) {
        fields.add(self.header, &self.value);
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bearer").field("header", &self.header).finish_non_exhaustive()
    }
}
