//! Who may enter: API keys, by their hash.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use plimsoll_types::{Priority, ServeError, Tenant};

use crate::config::ApiKey;
use crate::head::Head;
use crate::salts::Salts;

/// Keys of one request that are looked at.
const MOST_KEYS: usize = 4;

/// The keys that let somebody in. The keys themselves are not kept, only their hashes.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    tenants: HashMap<[u8; 32], Arc<Tenant>>,
}

impl Keys {
    pub(crate) fn new(keys: &[ApiKey], salts: &Salts) -> Self {
        let tenants = keys.iter().map(|key| {
            let hash = if key.key.is_empty() { from_hex(&key.sha256) } else { hash(key.key.as_bytes()) };
            let tenant = Tenant {
                name: key.tenant.clone(),
                weight: key.weight as u32,
                most_urgent: Priority::named(key.priority).unwrap_or_default(),
                residency: key.residency.clone(),
                salt: salts.of(&key.tenant),
            };
            (hash, Arc::new(tenant))
        });
        Self { tenants: tenants.collect() }
    }

    /// Who comes with this head; `None` where everybody may enter.
    ///
    /// # Errors
    ///
    /// [`ServeError::Unauthorized`], which says how a key is shown and never which one was.
    pub(crate) fn admit(&self, head: &Head) -> Result<Option<Arc<Tenant>>, ServeError> {
        if self.tenants.is_empty() {
            return Ok(None);
        }
        if head.keys.is_empty() && !head.bad_key {
            return Err(ServeError::Unauthorized("no API key: send `Authorization: Bearer <key>`"));
        }
        // A client may show a key of a provider beside that of this gateway, which tries no more than one after the other
        // would.
        let mut named = head.keys.iter().take(MOST_KEYS).filter_map(|key| self.tenant_of(key));
        let tenant = named.next().ok_or(ServeError::Unauthorized("the API key is not valid"))?;
        match named.all(|other| Arc::ptr_eq(other, tenant)) {
            true => Ok(Some(Arc::clone(tenant))),
            false => Err(ServeError::Unauthorized("the API keys are of two tenants: send one")),
        }
    }

    fn tenant_of(&self, key: &[u8]) -> Option<&Arc<Tenant>> {
        let shown = hash(key);
        // What the map compares are hashes of keys, which tell nothing of a key; the last word is in constant time.
        let (kept, tenant) = self.tenants.get_key_value(&shown)?;
        verify_slices_are_equal(&kept[..], &shown).is_ok().then_some(tenant)
    }
}

fn hash(key: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, key).as_ref());
    out
}

/// The SHA-256 of a key, in hexadecimal.
pub(crate) fn sha256_hex(key: &[u8]) -> String {
    hash(key).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> [u8; 32] {
    let mut out = [0; 32];
    for (index, byte) in out.iter_mut().enumerate() {
        *byte =
            text.get(2 * index..2 * index + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or(0);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn head(key: &str) -> Head {
        heads(&[key])
    }

    fn heads(keys: &[&str]) -> Head {
        let keys = keys.iter().map(|key| Bytes::copy_from_slice(key.as_bytes())).collect();
        Head { keys, ..Head::default() }
    }

    #[test]
    fn a_key_is_its_tenant_and_anything_else_is_nobody() {
        let sha256 = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"; // "secret"
        let keys = Keys::new(
            &[
                ApiKey { tenant: "a".into(), key: "sk-0123456789abcdef".into(), ..ApiKey::default() },
                ApiKey { tenant: "b".into(), sha256: sha256.into(), ..ApiKey::default() },
            ],
            &Salts::Shared,
        );
        let who = |key: &str| keys.admit(&head(key)).map(|tenant| tenant.unwrap().name.clone());
        assert_eq!(who("sk-0123456789abcdef").unwrap(), "a");
        assert_eq!(who("secret").unwrap(), "b");
        for wrong in ["", "sk-0123456789abcde", "sk-0123456789abcdefx", "SK-0123456789ABCDEF"] {
            assert!(who(wrong).is_err(), "{wrong}");
        }
        assert!(keys.admit(&Head::default()).is_err());
        // A key of a provider stands beside it.
        let both = |first: &str, second: &str| {
            keys.admit(&heads(&[first, second])).map(|tenant| tenant.unwrap().name.clone())
        };
        assert_eq!(both("secret", "sk-of-a-provider").unwrap(), "b");
        assert_eq!(both("token-of-a-login", "secret").unwrap(), "b");
        assert!(both("secret", "sk-0123456789abcdef").is_err(), "two tenants");
        assert!(both("neither", "nor").is_err());
    }

    #[test]
    fn a_key_that_was_let_go_of_still_lets_its_holder_in() {
        let mut key = ApiKey { tenant: "a".into(), key: "sk-0123456789abcdef".into(), ..ApiKey::default() };
        key.forget();
        assert!(key.key.is_empty());
        assert!(Keys::new(&[key], &Salts::Shared).admit(&head("sk-0123456789abcdef")).is_ok());
    }

    #[test]
    fn without_keys_everybody_may_enter() {
        assert!(Keys::default().admit(&Head::default()).unwrap().is_none());
    }
}
