//! Whether the gateway lives, whether it can serve, and what it counts.

use serde_json::{Value, json};

use super::{Fault, Reply, plain::PlainCall};
use crate::{gateway::Gateway, ledger};

const JSON: &str = "application/json";

/// `GET /healthz`: the process answers.
pub(crate) async fn healthz(_: PlainCall) -> Result<Reply, Fault> {
    Ok(Reply::resource(200, &json!({ "status": "ok" })).header("content-type", JSON))
}

/// `GET /readyz`: each dependency with a reason; 503 when one is away.
pub(crate) async fn readyz(call: PlainCall) -> Result<Reply, Fault> {
    let gw = &call.gw;
    let dependencies =
        [("ledger", ledger(gw)), ("store", store(gw)), ("blobs", blobs(gw).await), ("keystore", keystore(gw))];
    let ready = dependencies.iter().all(|(_, d)| d.is_ok());
    let listed: serde_json::Map<String, Value> = dependencies
        .into_iter()
        .map(|(name, state)| {
            let (ready, reason) = match state {
                Ok(reason) => (true, reason),
                Err(reason) => (false, reason),
            };
            (name.to_owned(), json!({ "ready": ready, "reason": reason }))
        })
        .collect();
    let status = if ready { "ready" } else { "not ready" };
    let body = json!({ "status": status, "dependencies": listed });
    Ok(Reply::resource(if ready { 200 } else { 503 }, &body).header("content-type", JSON))
}

fn ledger(gw: &Gateway) -> Result<String, String> {
    let head = gw.ledger.head();
    ledger::fresh(&*gw.ledger, &gw.clock)
        .map(|_| format!("block {} of {}", head.height, gw.chain))
        .map_err(|stale| format!("foreign records are closed, own ones open: {stale}"))
}

fn store(gw: &Gateway) -> Result<String, String> {
    gw.db.get("readiness", b"probe").map(|_| "open".into()).map_err(|e| e.to_string())
}

async fn blobs(gw: &Gateway) -> Result<String, String> {
    let absent = crate::blobs::cid_of_digest(&[0; 32]);
    gw.blobs.has(&absent).await.map(|_| "open".into()).map_err(|e| e.to_string())
}

fn keystore(gw: &Gateway) -> Result<String, String> {
    gw.keystore.ed25519("org").map(|_| "open".into()).map_err(|e| e.to_string())
}

/// `GET /metrics`, for Prometheus.
pub(crate) async fn metrics(call: PlainCall) -> Result<Reply, Fault> {
    let gw = &call.gw;
    let head = gw.ledger.head();
    let age = u64::try_from(head.received.elapsed().as_millis()).unwrap_or(u64::MAX);
    let waiting = u64::try_from(gw.later.waiting()).unwrap_or(u64::MAX);
    let text = gw.metrics.render(&[
        ("vouchsafe_ledger_height", "The newest block's height.", head.height),
        ("vouchsafe_ledger_age_milliseconds", "Time since the newest block was received.", age),
        ("vouchsafe_requests_waiting", "Requests that are answered later and are not yet.", waiting),
    ]);
    Ok(Reply::bytes(200, text.into_bytes()).header("content-type", "text/plain; version=0.0.4; charset=utf-8"))
}
