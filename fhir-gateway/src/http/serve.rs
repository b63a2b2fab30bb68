//! What happens to every call: it is matched to a row, its caller recognised and admitted, its body read within
//! limits, served, and answered; whatever goes wrong becomes an OperationOutcome.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use futures::FutureExt;
use tokio::time::Instant;

use super::{
    Fault, Reply, admit, body,
    call::{self, Call},
    ids, later, plain, reply,
    room::Room,
    router, routes,
    writing::once,
};
use crate::{
    fhir::capability::{Interaction, Method, Permission, RouteRow},
    gateway::Gateway,
};

/// An assertion or an enrolment is a few KiB.
const AUTH_BYTES: usize = 64 << 10;

/// What the calls of one gateway share, besides the gateway.
pub(crate) struct Server {
    pub(crate) gw: Arc<Gateway>,
    bodies: body::Bodies,
    peer_bodies: body::Bodies,
    /// Of those who sign in: anybody may send these, so they take nothing from the bodies of those who are signed in.
    auth_bodies: body::Bodies,
    room: Room,
    patience: Duration,
}

/// The router of a gateway. Every address goes through one door, so none can miss what `Server::answer` does.
pub(crate) fn app(gw: Arc<Gateway>) -> Router {
    let limits = &gw.config.limits;
    let server = Server {
        bodies: body::Bodies::new(limits.body_bytes),
        peer_bodies: body::Bodies::new(crate::peers::MAX_BYTES),
        auth_bodies: body::Bodies::new(AUTH_BYTES),
        room: Room::new(limits.concurrent, limits.per_client),
        patience: Duration::from_secs(limits.call_seconds),
        gw,
    };
    Router::new().fallback(entry).with_state(Arc::new(server))
}

async fn entry(State(server): State<Arc<Server>>, request: Request) -> Response {
    // A client that goes away ends the future it waits for; what was begun must end as a whole all the same.
    let task = tokio::spawn(async move { server.answer(request).await });
    task.await.unwrap_or_else(|_| failure(&Fault::internal("the call was given up")))
}

impl Server {
    async fn answer(&self, request: Request) -> Response {
        let begun = Instant::now();
        let _in_flight = self.gw.metrics.enter();
        let mut seen = Seen { kind: "other", body: 0 };
        let served = AssertUnwindSafe(self.serve(request, &mut seen)).catch_unwind().await;
        let response = match served {
            Ok(Ok(reply)) => success(reply),
            Ok(Err(refusal)) => refused(&refusal),
            Err(_) => {
                self.gw.metrics.panicked();
                tracing::error!(kind = seen.kind, "a call ended in a panic");
                failure(&Fault::internal("a fault of this gateway; the operator's log has it"))
            }
        };
        self.gw.metrics.served(seen.kind, response.status().as_u16(), begun.elapsed(), seen.body);
        response
    }

    async fn serve(&self, request: Request, seen: &mut Seen) -> Result<Reply, Refusal> {
        let _place = self.room.place().await?;
        let path = request.uri().path().to_owned();
        match path.strip_prefix("/fhir").filter(|rest| rest.is_empty() || rest.starts_with('/')) {
            Some(rest) => self.fhir(rest, request, seen).await,
            None => self.plain(&path, request, seen).await,
        }
    }

    async fn fhir(&self, path: &str, request: Request, seen: &mut Seen) -> Result<Reply, Refusal> {
        let found = router::find(routes::TABLE, router::method(request.method()), path)
            .map_err(|(fault, allow)| Refusal { fault, allow: Some(allow).filter(|a| !a.is_empty()) })?;
        let row = &found.route.row;
        seen.kind = kind(row.interaction);
        let (head, incoming) = request.into_parts();
        acceptable(&head.headers)?;
        let caller = match row.permission {
            Permission::Public => None,
            _ => Some(self.gw.auth.authenticate(&head.headers, (self.gw.clock)())?),
        };
        // Who may not use the row at all does not get to send a body either.
        if let Some(caller) = &caller {
            admit::admit(&self.gw, caller, row).await?;
        }
        let _turn = caller.as_ref().map(|caller| self.room.turn(caller.name())).transpose()?;
        let query = call::without_format(ids::pairs(head.uri.query().unwrap_or_default())?)?;
        let held = match row.method {
            Method::Post | Method::Put | Method::Patch => self.bodies.read(&head.headers, incoming).await?,
            Method::Get | Method::Delete => self.bodies.none(),
        };
        seen.body = held.bytes.len();
        if row.path.ends_with("/_search") {
            body::form(&head.headers, held.bytes.is_empty())?;
        } else if needs_body(row) || !held.bytes.is_empty() {
            body::fhir_json(&head.headers)?;
        }
        let mut call = Call {
            gw: Arc::clone(&self.gw),
            row,
            caller,
            params: found.params,
            query,
            headers: head.headers,
            body: held.bytes.clone(),
            idempotency: None,
        };
        call.idempotency = once::of(&call)?;
        let served = async {
            if later::wanted(&call).await? { later::enqueue(&call).await } else { (found.route.serve)(call).await }
        };
        let served = tokio::time::timeout(self.patience, served).await;
        Ok(served.map_err(|_| Fault::unavailable("the call took too long"))??)
    }

    async fn plain(&self, path: &str, request: Request, seen: &mut Seen) -> Result<Reply, Refusal> {
        let method = router::method(request.method());
        let (head, incoming) = request.into_parts();
        let found = plain::find(method, path)
            .map_err(|(fault, allow)| Refusal { fault, allow: Some(allow).filter(|a| !a.is_empty()) })?;
        seen.kind = found.kind;
        let bodies = match found.kind {
            "peer" => &self.peer_bodies,
            "auth" => &self.auth_bodies,
            _ => &self.bodies,
        };
        let held =
            if method == Some(Method::Post) { bodies.read(&head.headers, incoming).await? } else { bodies.none() };
        seen.body = held.bytes.len();
        let query = ids::pairs(head.uri.query().unwrap_or_default())?;
        let call = plain::PlainCall {
            gw: Arc::clone(&self.gw),
            param: found.param,
            query,
            headers: head.headers,
            body: held.bytes.clone(),
        };
        let served = tokio::time::timeout(self.patience, (found.serve)(call)).await;
        Ok(served.map_err(|_| Fault::unavailable("the call took too long"))??)
    }
}

/// What of a call is counted.
struct Seen {
    kind: &'static str,
    body: usize,
}

/// A fault, and for 405 what is allowed.
struct Refusal {
    fault: Fault,
    allow: Option<String>,
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self { fault, allow: None }
    }
}

const fn kind(interaction: Interaction) -> &'static str {
    match interaction {
        Interaction::Read | Interaction::Vread => "read",
        Interaction::SearchType | Interaction::SearchSystem => "search",
        Interaction::Create => "create",
        Interaction::Update => "update",
        Interaction::Delete => "delete",
        Interaction::HistoryInstance | Interaction::HistoryType | Interaction::HistorySystem => "history",
        Interaction::Bundle => "bundle",
        Interaction::Operation => "operation",
        _ => "other",
    }
}

/// A create or an update without a body is a mistake; an operation without parameters is not.
const fn needs_body(row: &RouteRow) -> bool {
    matches!(row.interaction, Interaction::Create | Interaction::Update | Interaction::Bundle)
}

/// Checks that the client takes JSON.
fn acceptable(headers: &axum::http::HeaderMap) -> Result<(), Fault> {
    let Some(accept) = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()) else { return Ok(()) };
    let takes = |media: &str| {
        let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        matches!(media.as_str(), "*/*" | "application/*" | "application/fhir+json" | "application/json" | "")
    };
    if accept.split(',').any(takes) {
        return Ok(());
    }
    Err(Fault::new(406, "not-supported", "answers are application/fhir+json").at("Accept"))
}

fn success(reply: Reply) -> Response {
    let media = reply.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if !media {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(reply::FHIR_JSON));
    }
    for (name, value) in reply.headers {
        if let (Ok(name), Ok(value)) = (header::HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.append(name, value);
        }
    }
    common(response)
}

fn refused(refusal: &Refusal) -> Response {
    let mut response = failure(&refusal.fault);
    if let Some(allow) = refusal.allow.as_deref().and_then(|a| HeaderValue::try_from(a).ok()) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

fn failure(fault: &Fault) -> Response {
    if fault.status >= 500 {
        tracing::warn!(status = fault.status, code = fault.code_of(), "a call could not be served");
    }
    let mut response = Response::new(Body::from(fault.outcome.to_string()));
    *response.status_mut() = StatusCode::from_u16(fault.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(reply::FHIR_JSON));
    if let Some(seconds) = fault.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if fault.status == 401 {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    common(response)
}

/// Nothing here is for caches, and a browser takes nothing for anything else than it is said to be.
fn common(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The kinds that calls are counted under; all are known to the metrics.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::metrics;

    #[test]
    fn every_kind_has_a_counter() {
        for route in routes::TABLE {
            assert!(metrics::KINDS.contains(&kind(route.row.interaction)));
        }
    }
}
