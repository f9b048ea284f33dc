//! Keeps the prompts of tenants apart in caches: a prompt that is answered sooner because somebody has asked it before tells
//! of that somebody.

use std::ops::Range;

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use plimsoll_types::{Splice, Text};

/// What keeps tenants apart; nothing where all share what is cached.
pub(crate) enum Salts {
    Shared,
    /// The key under which the names of tenants become salts.
    ByTenant(Box<Key>),
}

impl Salts {
    pub(crate) fn by_tenant(secret: &str) -> Self {
        Self::ByTenant(Box::new(Key::new(HMAC_SHA256, secret.as_bytes())))
    }

    /// The salt of the tenant of this name: the same for all its keys, on every gateway with the same secret.
    pub(crate) fn of(&self, tenant: &str) -> Text {
        match self {
            Self::Shared => Text::default(),
            Self::ByTenant(key) => hex(sign(key, tenant.as_bytes()).as_ref()),
        }
    }
}

/// Puts the salt of a tenant into a body whose own one stands `at`, or that has none and could have one there. The own one
/// keeps its holder's prompts apart further, and nobody gets into another tenant's cache by it.
pub(crate) fn splice(tenant: &Text, body: &[u8], at: Range<usize>) -> Splice {
    if at.is_empty() {
        return Splice { at, text: format!("\"cache_salt\":\"{}\",", tenant.as_str()).into() };
    }
    let key = Key::new(HMAC_SHA256, tenant.as_bytes());
    let both = hex(sign(&key, &body[at.clone()]).as_ref());
    Splice { at, text: format!("\"{}\"", both.as_str()).into() }
}

fn hex(bytes: &[u8]) -> Text {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_salt_is_the_tenant_s_and_the_secret_s() {
        let of = |secret: &str, tenant: &str| Salts::by_tenant(secret).of(tenant);
        assert_eq!(of("s", "a"), of("s", "a"));
        assert!(of("s", "a") != of("s", "b") && of("s", "a") != of("t", "a"));
        assert_eq!(of("", "a").len(), 64);
        assert!(Salts::Shared.of("a").is_empty());
    }

    #[test]
    fn a_caller_s_own_salt_counts_beside_that_of_its_tenant() {
        let (a, b) = (Text::from("a"), Text::from("b"));
        let body = br#"{"cache_salt":"x","model":"m"}"#;
        let own = |tenant: &Text| splice(tenant, body, 14..17).text;
        assert_ne!(own(&a), own(&b));
        assert!(own(&a).starts_with('"') && own(&a).ends_with('"') && own(&a).len() == 66);
        assert_eq!(splice(&a, body, 1..1).text.as_str(), r#""cache_salt":"a","#);
    }
}
