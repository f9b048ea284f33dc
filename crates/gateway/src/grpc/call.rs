//! From the message of a call to a request of the pipeline.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use plimsoll_engines::grpc::{CALL_OPTIONS, Method};
use plimsoll_engines::transcode::{Malformed, field, to_json};
use plimsoll_proto::plimsoll::v1::CallOptions;
use plimsoll_types::{Envelope, Protocol, Refusal, Request, ServeError, Tenant, Text};
use prost::Message as _;

use super::metadata::Metadata;
use crate::core::Core;
use crate::house::Settings;

/// The request that `message` makes of `method`.
///
/// # Errors
///
/// What the caller must change.
pub(super) fn request(
    core: &Core,
    settings: &Settings,
    (mut metadata, tenant, id): (Metadata, Option<Arc<Tenant>>, Text),
    method: &'static Method,
    message: &[u8],
) -> Result<Request, ServeError> {
    let options = options(message)?;
    let body = body(method, message, options.priority)?;
    let tenant = payer(tenant, options.tenant)?;
    let peeked = core.peek(method.kind, &body, (settings, tenant.as_deref()))?;
    if peeked.stream != method.stream {
        return Err(ServeError::invalid("`stream` is said by the method that is called"));
    }
    let own = options.deadline_ms.map(|left| Duration::from_millis(u64::try_from(left).unwrap_or(0)));
    let own = own.map(|left| metadata.began + left);
    if !options.residency.is_empty() {
        metadata.head.allow_places(&options.residency.join(","))?;
    }
    let envelope = Envelope {
        id,
        protocol: Protocol::Grpc,
        kind: method.kind,
        model: peeked.model,
        model_at: peeked.model_at,
        stream: peeked.stream,
        tools: peeked.tools,
        query: None,
        home: None,
        ask_usage: peeked.ask_usage,
        prompt_tokens: peeked.prompt_tokens,
        blocks: peeked.blocks,
        cache_salt: peeked.cache_salt,
        max_tokens: peeked.max_tokens,
        priority: metadata.head.priority.unwrap_or(peeked.priority).granted_to(tenant.as_deref()),
        tenant,
        residency: metadata.head.residency,
        deadline: metadata.deadline.into_iter().chain(own).min(),
        patience: None,
        forward: metadata.head.forward,
        explain: false,
        received: core.clock.now(),
    };
    Ok(Request { envelope, body })
}

fn malformed(why: Malformed) -> ServeError {
    ServeError::Invalid {
        message: format!("the message cannot be read: {why}"),
        param: None,
        code: "invalid_message",
    }
}

fn options(message: &[u8]) -> Result<CallOptions, ServeError> {
    let Some(options) = field(message, CALL_OPTIONS).map_err(malformed)? else {
        return Ok(CallOptions::default());
    };
    CallOptions::decode(options)
        .map_err(|_| malformed(Malformed { message: "CallOptions", what: "is not such a message" }))
}

/// The body that an HTTP caller would have sent.
fn body(method: &Method, message: &[u8], priority: Option<i32>) -> Result<Bytes, ServeError> {
    let priority = priority.map(|priority| priority.to_string());
    let urgent = priority.as_deref().map(|priority| ("priority", priority));
    let fixed: Vec<(&str, &str)> = method.fixed().iter().copied().chain(urgent).collect();
    let mut body = Vec::with_capacity(message.len() + message.len() / 4 + 64);
    to_json(method.request, message, &fixed, &mut body).map_err(malformed)?;
    Ok(body.into())
}

/// Who pays: whom the key stands for, who must be the one that the call names. Without keys it is a name for log lines.
fn payer(known: Option<Arc<Tenant>>, named: Option<String>) -> Result<Option<Arc<Tenant>>, ServeError> {
    match (known, named) {
        (Some(known), Some(named)) if known.name != named => Err(Refusal {
            param: Some("call.tenant".into()),
            code: Some("wrong_tenant".into()),
            ..Refusal::new(403, "the API key is not of the tenant that `call.tenant` names")
        }
        .into()),
        (None, Some(name)) => {
            let name: String = name.chars().filter(|letter| !letter.is_control()).take(64).collect();
            Ok(Some(Arc::new(Tenant::named(name))))
        }
        (known, _) => Ok(known),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_the_key_s_and_a_name_where_there_are_no_keys() {
        let known = || Some(Arc::new(Tenant::named("a")));
        let name = |payer: Result<Option<Arc<Tenant>>, ServeError>| {
            payer.map(|tenant| tenant.map(|tenant| tenant.name.clone()))
        };
        assert_eq!(name(payer(known(), None)).unwrap().as_deref(), Some("a"));
        assert_eq!(name(payer(known(), Some("a".into()))).unwrap().as_deref(), Some("a"));
        assert!(payer(known(), Some("b".into())).is_err());
        assert_eq!(name(payer(None, Some("b\n".into()))).unwrap().as_deref(), Some("b"));
        assert_eq!(name(payer(None, None)).unwrap(), None);
    }
}
