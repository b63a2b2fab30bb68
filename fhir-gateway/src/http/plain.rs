//! The addresses beside `/fhir`: tokens, enrolment, peers, ciphertext, health, metrics, and the page that greets.

use std::sync::Arc;

use axum::http::HeaderMap;
use bytes::Bytes;
use futures::future::BoxFuture;

use super::{Fault, Reply, health, ids, operations, pages, router};
use crate::{fhir::capability::Method, gateway::Gateway, peers};

/// A call of one of these addresses.
pub(crate) struct PlainCall {
    pub(crate) gw: Arc<Gateway>,
    pub(crate) param: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What serves one.
pub(crate) type ServePlain = fn(PlainCall) -> BoxFuture<'static, Result<Reply, Fault>>;

/// One of these addresses. All are open to everybody, and each says by what it is guarded instead of a token.
pub(crate) struct PlainRoute {
    pub(crate) method: Method,
    /// The path; a last segment `*` stands for anything without a slash.
    pub(crate) path: &'static str,
    pub(crate) kind: &'static str,
    /// What guards it.
    pub(crate) guard: &'static str,
    pub(crate) serve: ServePlain,
}

/// What was found for a path.
pub(crate) struct Found {
    pub(crate) kind: &'static str,
    pub(crate) serve: ServePlain,
    pub(crate) param: String,
}

macro_rules! serve {
    ($f:path) => {
        |call| Box::pin($f(call))
    };
}

/// Every address beside `/fhir`.
pub(crate) const TABLE: &[PlainRoute] = &[
    PlainRoute {
        method: Method::Get,
        path: "/",
        kind: "other",
        guard: "says nothing about anybody",
        serve: serve!(pages::front),
    },
    PlainRoute {
        method: Method::Get,
        path: "/healthz",
        kind: "other",
        guard: "says nothing about anybody",
        serve: serve!(health::healthz),
    },
    PlainRoute {
        method: Method::Get,
        path: "/readyz",
        kind: "other",
        guard: "says nothing about anybody",
        serve: serve!(health::readyz),
    },
    PlainRoute {
        method: Method::Get,
        path: "/metrics",
        kind: "other",
        guard: "counts only, labels without ids",
        serve: serve!(health::metrics),
    },
    PlainRoute {
        method: Method::Get,
        path: "/.well-known/smart-configuration",
        kind: "auth",
        guard: "says nothing about anybody",
        serve: serve!(pages::smart_configuration),
    },
    PlainRoute {
        method: Method::Post,
        path: "/auth/token",
        kind: "auth",
        guard: "the client's signed assertion",
        serve: serve!(token),
    },
    PlainRoute {
        method: Method::Get,
        path: "/auth/enrol/*",
        kind: "auth",
        guard: "the one-time code",
        serve: serve!(operations::enrol::see),
    },
    PlainRoute {
        method: Method::Post,
        path: "/auth/enrol/*",
        kind: "auth",
        guard: "the one-time code and the new key's own signature",
        serve: serve!(operations::enrol::enrol),
    },
    PlainRoute {
        method: Method::Post,
        path: "/peer",
        kind: "peer",
        guard: "the signature of a verified organisation",
        serve: serve!(peer),
    },
    PlainRoute {
        method: Method::Get,
        path: "/ipfs/*",
        kind: "peer",
        guard: "ciphertext only, by its own hash",
        serve: serve!(blob),
    },
];

/// Finds the address for a path.
///
/// # Errors
/// 404, or 405 with what is allowed.
pub(crate) fn find(method: Option<Method>, path: &str) -> Result<Found, (Fault, String)> {
    let mut allowed = Vec::new();
    for route in TABLE {
        let param = match route.path.strip_suffix('*') {
            Some(prefix) => match path.strip_prefix(prefix).filter(|p| !p.is_empty() && !p.contains('/')) {
                Some(raw) => match ids::percent_decode(raw, false).filter(|p| !p.contains('\0')) {
                    Some(param) => param,
                    None => return Err((Fault::malformed("the path is not percent-encoded UTF-8"), String::new())),
                },
                None => continue,
            },
            None if route.path == path => String::new(),
            None => continue,
        };
        if Some(route.method) == method {
            return Ok(Found { kind: route.kind, serve: route.serve, param });
        }
        allowed.push(router::name(route.method));
    }
    if allowed.is_empty() {
        return Err((Fault::new(404, "not-found", "no such address").code("no-such-address"), String::new()));
    }
    let allow = allowed.join(", ");
    let fault = Fault::new(405, "not-supported", format!("this address takes {allow}")).code("method-not-allowed");
    Err((fault, allow))
}

/// `POST /auth/token` (RFC 6749 section 4.4). Its errors are OAuth's, because OAuth's clients read it.
async fn token(call: PlainCall) -> Result<Reply, Fault> {
    let media = call.headers.get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !media.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded") {
        return Err(Fault::new(415, "not-supported", "a token request is application/x-www-form-urlencoded"));
    }
    let text = std::str::from_utf8(&call.body).map_err(|_| Fault::malformed("the form is not UTF-8"))?;
    let answer = call.gw.auth.token(&ids::pairs(text)?, (call.gw.clock)());
    call.gw.metrics.token(answer.is_ok());
    let (status, body) = match answer {
        Ok(body) => (200, body),
        Err(refusal) => (refusal.status, refusal.body()),
    };
    Ok(Reply::resource(status, &body).header("content-type", "application/json").header("pragma", "no-cache"))
}

/// `POST /peer`: what another organisation's gateway pushes or asks for.
async fn peer(call: PlainCall) -> Result<Reply, Fault> {
    peers::receive(&call.gw, &call.body).await
}

/// `GET /ipfs/{cid}?format=raw` (<https://specs.ipfs.tech/http-gateways/trustless-gateway/>): ciphertext.
async fn blob(call: PlainCall) -> Result<Reply, Fault> {
    let raw_asked = call.query.iter().any(|(n, v)| n == "format" && v == "raw")
        || call
            .headers
            .get("accept")
            .and_then(|v| v.to_str().ok())
            .is_some_and(|a| a.contains("application/vnd.ipld.raw"));
    if !raw_asked {
        return Err(Fault::new(406, "not-supported", "only raw blocks are served: ask with format=raw"));
    }
    peers::serve_raw(&call.gw, &call.param).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The list is the whole of what answers without a token; whoever adds to it changes this test, and is asked why.
    #[test]
    fn what_is_open_is_listed_with_its_guard() {
        let open: Vec<String> =
            TABLE.iter().map(|r| format!("{} {}: {}", router::name(r.method), r.path, r.guard)).collect();
        assert_eq!(
            open,
            [
                "GET /: says nothing about anybody",
                "GET /healthz: says nothing about anybody",
                "GET /readyz: says nothing about anybody",
                "GET /metrics: counts only, labels without ids",
                "GET /.well-known/smart-configuration: says nothing about anybody",
                "POST /auth/token: the client's signed assertion",
                "GET /auth/enrol/*: the one-time code",
                "POST /auth/enrol/*: the one-time code and the new key's own signature",
                "POST /peer: the signature of a verified organisation",
                "GET /ipfs/*: ciphertext only, by its own hash",
            ]
        );
    }

    #[test]
    fn a_wrong_method_says_what_is_taken() {
        let (fault, allow) = find(Some(Method::Delete), "/auth/enrol/x").err().unwrap();
        assert_eq!((fault.status, allow.as_str()), (405, "GET, POST"));
        assert_eq!(find(Some(Method::Get), "/ipfs/a/b").err().unwrap().0.status, 404);
        assert_eq!(find(Some(Method::Get), "/ipfs/").err().unwrap().0.status, 404);
    }
}
