//! Errors as callers over gRPC get them: the table of OpenAI's API, with gRPC's code for each status.

use plimsoll_engines::grpc::{Code, Error, Status};
use plimsoll_types::ServeError;

use crate::openai::error::{Shape, shape};

/// The reason where a message is compressed and it is not said how, for which gRPC demands a code that does not go with
/// the status of HTTP.
pub(super) const UNEXPLAINED: &str = "unexplained_compression";

/// The status that tells of `error`.
pub(crate) fn of(error: &ServeError) -> Status {
    let Shape { status, kind, code, param } = shape(error);
    let number = match error {
        // Methods that are not there and compression that is not understood have the same code.
        ServeError::UnknownRoute { .. } | ServeError::UnsupportedMedia(_) => Code::Unimplemented,
        ServeError::Invalid { code: UNEXPLAINED, .. } => Code::Internal,
        _ => Code::of_http(status.as_u16()),
    };
    Status {
        code: number,
        message: error.to_string(),
        error: Some(Error { status: status.as_u16(), kind, code, param }),
        retry_after: error.retry_after(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn every_error_has_its_code() {
        let refused = |status| ServeError::from(plimsoll_types::Refusal::new(status, "m"));
        let second = Duration::from_secs(1);
        let table = [
            (ServeError::invalid("x"), Code::InvalidArgument),
            (ServeError::Invalid { message: "m".into(), param: None, code: UNEXPLAINED }, Code::Internal),
            (ServeError::UnknownModel { model: "m".into(), known: String::new() }, Code::NotFound),
            (ServeError::UnknownRoute { method: "POST".into(), path: "/x".into() }, Code::Unimplemented),
            (ServeError::Unauthorized("x"), Code::Unauthenticated),
            (ServeError::TooLarge { limit: 1 }, Code::ResourceExhausted),
            (ServeError::UnsupportedMedia("x"), Code::Unimplemented),
            (ServeError::SlowBody, Code::DeadlineExceeded),
            (ServeError::Overloaded { retry_after: second }, Code::Unavailable),
            (ServeError::NotInTime { retry_after: second }, Code::Unavailable),
            (ServeError::Pushback { retry_after: second }, Code::ResourceExhausted),
            (ServeError::NoBackend, Code::Unavailable),
            (ServeError::Draining, Code::Unavailable),
            (ServeError::Backend("x"), Code::Unavailable),
            (ServeError::Deadline("x"), Code::DeadlineExceeded),
            (refused(400), Code::InvalidArgument),
            (refused(403), Code::PermissionDenied),
            (refused(422), Code::InvalidArgument),
            (ServeError::Internal, Code::Internal),
        ];
        for (error, code) in table {
            assert_eq!(of(&error).code, code, "{error}");
        }
        assert_eq!(of(&ServeError::Pushback { retry_after: second }).retry_after, Some(second));
    }
}
