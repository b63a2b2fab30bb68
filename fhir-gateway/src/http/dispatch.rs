//! A request within a request: what an entry of a Bundle or a stored request asks for, served by the same rows, after the
//! same admission, as if it had come by itself.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue};
use bytes::Bytes;

use super::{
    Fault, Reply, admit,
    call::{self, Call},
    ids, router, routes,
};
use crate::{
    auth::Caller,
    fhir::capability::{Interaction, Method, Permission},
    gateway::Gateway,
    records::Idempotency,
};

/// A request within a request.
pub(crate) struct Inner {
    pub(crate) method: Method,
    /// The address: relative to the base, or below it.
    pub(crate) url: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Under what name it is done once.
    pub(crate) idempotency: Option<Idempotency>,
}

/// Splits an address into its path below the base and its query.
///
/// # Errors
/// 400 for an address elsewhere.
pub(crate) fn address<'a>(gw: &Gateway, url: &'a str) -> Result<(String, &'a str), Fault> {
    let rest = url.strip_prefix(&gw.fhir_base()).unwrap_or(url);
    if rest.contains("://") {
        return Err(Fault::malformed("the address is of another server").at("request.url"));
    }
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    Ok((format!("/{}", path.trim_matches('/')), query))
}

/// Serves a request within a request, for the caller of the outer one.
///
/// # Errors
/// As if it had come by itself; 400 for what has no place in a Bundle.
pub(crate) async fn dispatch(gw: &Arc<Gateway>, caller: &Caller, inner: Inner) -> Result<Reply, Fault> {
    let (path, query) = address(gw, &inner.url)?;
    let found = router::find(routes::TABLE, Some(inner.method), &path).map_err(|(fault, _)| fault)?;
    let row = &found.route.row;
    if row.permission != Permission::Public {
        admit::admit(gw, caller, row).await?;
    }
    let query = call::without_format(ids::pairs(query)?)?;
    let call = Call {
        gw: Arc::clone(gw),
        row,
        caller: Some(caller.clone()),
        params: found.params,
        query,
        headers: inner.headers,
        body: inner.body,
        idempotency: inner.idempotency,
    };
    (found.route.serve)(call).await
}

/// True for what may not stand in a Bundle: another Bundle, and what asks after one.
pub(crate) const fn nests(interaction: Interaction) -> bool {
    matches!(interaction, Interaction::Bundle | Interaction::AsyncStatus)
}

/// Adds a header when there is one to add.
///
/// # Errors
/// 400 when it is not visible ASCII.
pub(crate) fn add(headers: &mut HeaderMap, name: &'static str, value: Option<&str>) -> Result<(), Fault> {
    let Some(value) = value else { return Ok(()) };
    let value = HeaderValue::try_from(value).map_err(|_| Fault::malformed(format!("{name} is not visible ASCII")))?;
    headers.insert(name, value);
    Ok(())
}
