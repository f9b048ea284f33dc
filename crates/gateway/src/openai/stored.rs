//! Responses that a backend has stored: asked for, deleted and cancelled at the backend where they live.

use std::rc::Rc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use plimsoll_types::{Refusal, ServeError, Tenant};

use crate::body::Body;
use crate::core::Core;

/// How long a backend may take to answer.
const LIMIT: Duration = Duration::from_secs(60);

/// What is asked of a stored response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored<'a> {
    pub(crate) id: &'a str,
    pub(crate) asked: Asked,
}

/// One of the routes below `/v1/responses/{id}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Get,
    Delete,
    Cancel,
    InputItems,
}

impl<'a> Stored<'a> {
    /// What this path below `/v1/responses/` asks for; `None` where it is no such path.
    ///
    /// # Errors
    ///
    /// [`ServeError::WrongMethod`].
    pub(crate) fn of(method: &Method, path: &'a str) -> Result<Option<Self>, ServeError> {
        let (id, what) = path.split_once('/').map_or((path, None), |(id, what)| (id, Some(what)));
        let in_id = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        if id.is_empty() || id.len() > 128 || !id.bytes().all(in_id) || id.starts_with('.') {
            return Ok(None);
        }
        let (asked, allowed) = match (what, method) {
            (None, &Method::DELETE) => (Asked::Delete, true),
            (None, &Method::GET) => (Asked::Get, true),
            (Some("cancel"), &Method::POST) => (Asked::Cancel, true),
            (Some("input_items"), &Method::GET) => (Asked::InputItems, true),
            (None, _) => (Asked::Get, false),
            (Some("cancel"), _) => (Asked::Cancel, false),
            (Some("input_items"), _) => (Asked::InputItems, false),
            _ => return Ok(None),
        };
        match allowed {
            true => Ok(Some(Self { id, asked })),
            false => Err(ServeError::WrongMethod { allowed: asked.methods() }),
        }
    }
}

impl Asked {
    fn methods(self) -> &'static str {
        match self {
            Self::Get | Self::Delete => "GET, DELETE",
            Self::Cancel => "POST",
            Self::InputItems => "GET",
        }
    }

    fn method(self) -> &'static str {
        match self {
            Self::Get | Self::InputItems => "GET",
            Self::Delete => "DELETE",
            Self::Cancel => "POST",
        }
    }

    fn below(self) -> &'static str {
        match self {
            Self::Get | Self::Delete => "",
            Self::Cancel => "/cancel",
            Self::InputItems => "/input_items",
        }
    }
}

/// Answers what is asked of a stored response, if it is one of `tenant`.
pub(crate) async fn answer(
    core: &Rc<Core>,
    stored: Stored<'_>,
    (tenant, query): (Option<&Tenant>, Option<&str>),
) -> Result<Response<Body>, ServeError> {
    let homes = &core.house.shared.homes;
    let unknown = || -> ServeError {
        Refusal {
            code: Some("response_not_found".into()),
            ..Refusal::new(
                404,
                "no response of this id is known here: it was not made here, or its backend is gone",
            )
        }
        .into()
    };
    let tenant = tenant.map(|tenant| tenant.name.as_str());
    let home = homes.find(stored.id, tenant, core.clock.now()).ok_or_else(unknown)?;
    let settings = core.house.settings.load_full();
    let at_home = |(name, _): &&(String, String)| *name == home.backend;
    let key = settings.engines.openai.keys().find(at_home).ok_or_else(unknown)?;
    let engine = settings.engines.openai[key].engine(&core.clock);
    let below = format!("/{}{}", stored.id, stored.asked.below());
    let late = core.clock.sleep_until(core.clock.now() + LIMIT);
    let answer = tokio::select! {
        answer = engine.ask_of_response(stored.asked.method(), &below, query) => answer,
        () = late => return Err(ServeError::Deadline("the backend that keeps the response did not answer in time")),
    };
    let document = answer.map_err(|failure| {
        tracing::debug!(%failure, "a stored response could not be asked for");
        ServeError::NoBackend
    })?;
    if document.status >= 400 {
        return Err(plimsoll_engines::refusal(document.status, &document.body).into());
    }
    if stored.asked == Asked::Delete {
        homes.forget(stored.id);
    }
    let mut response = Response::new(Body::full(document.body.freeze()));
    *response.status_mut() = StatusCode::from_u16(document.status).unwrap_or(StatusCode::OK);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_paths_with_ids_that_are_some_are_stored_responses() {
        let of = |method: Method, path: &'static str| Stored::of(&method, path);
        assert_eq!(of(Method::GET, "resp_1"), Ok(Some(Stored { id: "resp_1", asked: Asked::Get })));
        let cancel = Stored { id: "resp_1", asked: Asked::Cancel };
        assert_eq!(of(Method::POST, "resp_1/cancel"), Ok(Some(cancel)));
        assert_eq!(of(Method::POST, "resp_1"), Err(ServeError::WrongMethod { allowed: "GET, DELETE" }));
        for none in ["", "../admin", "a%2fb", "a/b", "a/cancel/b", "..", "a?b"] {
            assert_eq!(of(Method::GET, none), Ok(None), "{none}");
        }
    }
}
