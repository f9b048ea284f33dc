//! The one message of a call.

use bytes::Bytes;
use hyper::body::Incoming;
use plimsoll_engines::grpc::{Frames, PREFIX, TooLong};
use plimsoll_types::ServeError;

use super::gzip;
use super::metadata::Metadata;
use super::status::UNEXPLAINED;
use crate::core::Core;
use crate::house::Settings;
use crate::serve::read_body;

/// Reads the message of a call that has exactly one.
///
/// # Errors
///
/// Where it is none, or too long.
pub(super) async fn message(
    core: &Core,
    settings: &Settings,
    metadata: &Metadata,
    body: Incoming,
) -> Result<Bytes, ServeError> {
    let limit = settings.config.requests.max_body_bytes;
    let body = read_body(core, settings, body).await?;
    one(&body, metadata.sends_gzip, limit)
}

fn one(body: &[u8], gzip: bool, limit: u64) -> Result<Bytes, ServeError> {
    let too_large = || ServeError::TooLarge { limit };
    if body.first().is_some_and(|flag| *flag > 1) {
        return Err(ServeError::invalid("the call does not begin with a message of gRPC"));
    }
    let mut frames = Frames::new(usize::try_from(limit).unwrap_or(usize::MAX));
    frames.push(body);
    let message = frames.take().map_err(|TooLong| too_large())?;
    let Some(message) = message.filter(|_| !frames.is_partial()) else {
        let why = if body.len() < PREFIX { "has no message" } else { "must have exactly one message, whole" };
        return Err(ServeError::invalid(format!("the call {why}")));
    };
    match (message.compressed, gzip) {
        (false, _) => Ok(message.bytes),
        (true, true) => gzip::unpacked(&message.bytes, limit),
        (true, false) => {
            let message = "a message is compressed and grpc-encoding does not say how".to_owned();
            Err(ServeError::Invalid { message, param: None, code: UNEXPLAINED })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_one_message_and_nothing_else() {
        let said = |body: &[u8]| one(body, false, 4).map_err(|error| error.to_string());
        assert_eq!(said(&[0, 0, 0, 0, 2, 7, 8]).unwrap(), &[7, 8][..]);
        assert_eq!(said(&[0, 0, 0, 0, 0]).unwrap(), &[][..]);
        assert_eq!(said(&[]).unwrap_err(), "the call has no message");
        for wrong in [&[0, 0, 0, 0, 2, 7][..], &[0, 0, 0, 0, 0, 0], &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(said(wrong).unwrap_err(), "the call must have exactly one message, whole");
        }
        assert!(said(&[2, 0, 0, 0, 0]).unwrap_err().contains("does not begin with a message"));
        assert!(said(&[1, 0, 0, 0, 0]).unwrap_err().contains("grpc-encoding"));
        assert_eq!(said(&[0, 0, 0, 0, 5]).unwrap_err(), "the body is larger than the limit of 4 bytes");
    }
}
