//! One call: who calls, what for, with what; and how handlers read it.

use std::sync::Arc;

use axum::http::HeaderMap;
use bytes::Bytes;
use futures::future::BoxFuture;
use vouchsafe_types::{RecordId, RequestId, SessionId};

use super::{Fault, Reply, ids};
use crate::{
    auth::Caller,
    fhir::{capability::RouteRow, json},
    gateway::Gateway,
    records::Idempotency,
};

/// What serves a route.
pub(crate) type Serve = fn(Call) -> BoxFuture<'static, Result<Reply, Fault>>;

/// A route: the row that declares and guards it, and the function that serves it.
pub(crate) struct Route {
    /// What is declared.
    pub(crate) row: RouteRow,
    /// What serves it.
    pub(crate) serve: Serve,
}

/// One call, after its caller was recognised, admitted to the route, and its body read.
pub(crate) struct Call {
    pub(crate) gw: Arc<Gateway>,
    pub(crate) row: &'static RouteRow,
    pub(crate) caller: Option<Caller>,
    /// The values of the path's `{…}` segments, by name.
    pub(crate) params: Vec<(&'static str, String)>,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Under what name it is done once, when the client gave it one.
    pub(crate) idempotency: Option<Idempotency>,
}

impl Call {
    /// The caller.
    ///
    /// # Errors
    /// 401 on a route that is open to everybody.
    pub(crate) fn caller(&self) -> Result<&Caller, Fault> {
        self.caller.as_ref().ok_or_else(|| Fault::unauthenticated("this call needs a bearer token"))
    }

    /// The value of a path segment, empty when the route has none of that name.
    pub(crate) fn param(&self, name: &str) -> &str {
        self.params.iter().find(|(n, _)| *n == name).map_or("", |(_, v)| v.as_str())
    }

    /// Path and query below the base, in one form whatever the client's was.
    pub(crate) fn url(&self) -> String {
        let path = self.params.iter().fold(self.row.path.to_owned(), |path, (name, value)| {
            path.replace(&format!("{{{name}}}"), &ids::percent_encode(value))
        });
        let encode = ids::percent_encode;
        let query: Vec<String> = self.query.iter().map(|(n, v)| format!("{}={}", encode(n), encode(v))).collect();
        let separator = if query.is_empty() { "" } else { "?" };
        format!("{path}{separator}{}", query.join("&"))
    }

    /// The resource type: the path's, or the one that the row is for.
    pub(crate) fn resource_type(&self) -> &str {
        match self.param("type") {
            "" => self.row.path.split('/').nth(1).unwrap_or_default(),
            name => name,
        }
    }

    /// The id in the path, as R4 allows ids.
    ///
    /// # Errors
    /// 400 when it is not of the form.
    pub(crate) fn id(&self) -> Result<&str, Fault> {
        ids::check(self.param("id"), "id")
    }

    /// The id in the path as one of this gateway's own; `None` when it cannot be one.
    ///
    /// # Errors
    /// 400 when it is not even of the form of an R4 id.
    pub(crate) fn record(&self) -> Result<Option<RecordId>, Fault> {
        Ok(self.id()?.parse().ok())
    }

    /// The id in the path as a request's.
    ///
    /// # Errors
    /// 400 when it is not of the form of an id, 404 when it cannot be a request's.
    pub(crate) fn request(&self) -> Result<RequestId, Fault> {
        self.id()?.parse().map_err(|_| Fault::not_found())
    }

    /// The session that the call names.
    ///
    /// # Errors
    /// 400 when it is not an id, or not text.
    pub(crate) fn session(&self) -> Result<Option<SessionId>, Fault> {
        let Some(text) = self.header("vouchsafe-session")? else { return Ok(None) };
        text.parse().map(Some).map_err(|e| Fault::malformed(format!("Vouchsafe-Session: {e}")))
    }

    /// The signed transaction that the call carries.
    ///
    /// # Errors
    /// 400 when it is not text.
    pub(crate) fn tx(&self) -> Result<Option<String>, Fault> {
        Ok(self.header("vouchsafe-tx")?.map(str::to_owned))
    }

    /// A header's text.
    ///
    /// # Errors
    /// 400 when it is given twice or is not visible ASCII.
    pub(crate) fn header(&self, name: &str) -> Result<Option<&str>, Fault> {
        let mut values = self.headers.get_all(name).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(Fault::malformed(format!("header {name} is given twice")));
        }
        value.to_str().map(Some).map_err(|_| Fault::malformed(format!("header {name} is not visible ASCII")))
    }

    /// The body as a JSON document, by the strict parser.
    ///
    /// # Errors
    /// 400 with the place of what is wrong.
    pub(crate) fn document(&self) -> Result<json::Document, Fault> {
        json::parse(&self.body).map_err(|fault| Fault::from(&fault))
    }

    /// The body as a JSON document; an empty one is an empty Parameters.
    ///
    /// # Errors
    /// 400 with the place of what is wrong.
    pub(crate) fn parameters(&self) -> Result<json::Document, Fault> {
        if self.body.iter().all(u8::is_ascii_whitespace) {
            return json::parse(br#"{"resourceType":"Parameters"}"#).map_err(|fault| Fault::from(&fault));
        }
        self.document()
    }
}

/// Parameters without those that say in which form the answer is wanted, which is always JSON.
///
/// # Errors
/// 406 when another form is asked for.
pub(crate) fn without_format(pairs: Vec<(String, String)>) -> Result<Vec<(String, String)>, Fault> {
    let json = |value: &str| {
        let media = value.split(';').next().unwrap_or_default().trim();
        // A `+` that was not encoded is read as a space.
        matches!(media, "json" | "application/json" | "application/fhir+json" | "application/fhir json" | "text/json")
    };
    let mut out = Vec::with_capacity(pairs.len());
    for (name, value) in pairs {
        match name.as_str() {
            "_format" if !json(&value) => {
                return Err(Fault::new(406, "not-supported", "answers are application/fhir+json").at_parameter(&name));
            }
            "_format" | "_pretty" => {}
            _ => out.push((name, value)),
        }
    }
    Ok(out)
}
