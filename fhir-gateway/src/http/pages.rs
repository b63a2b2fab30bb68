//! What a browser or a SMART client meets first.

use serde_json::json;

use super::{
    Fault, Reply,
    plain::{self, PlainCall},
    router,
};

/// `GET /`: what this is, and where to go.
pub(crate) async fn front(call: PlainCall) -> Result<Reply, Fault> {
    let gw = &call.gw;
    let base = escape(&gw.fhir_base());
    let role =
        escape(&serde_json::to_value(gw.role).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default());
    let guarded = guarded();
    let page = format!(
        r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Vouchsafe gateway</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem}}code{{background:#8881;padding:0 .2em}}
th,td{{text-align:left;padding-right:1em}}</style>
</head><body>
<h1>Vouchsafe gateway</h1>
<p>This is the FHIR R4 gateway of one organisation ({role}, account <code>{org}</code>) of the consortium
<code>{chain}</code>. It seals every record, anchors it on the ledger, and releases it to other organisations only
within a session that the patient approved.</p>
<p><strong>This is one embedded node without fault tolerance.</strong> The ledger and the block store run inside this
process and are durable on this machine alone. It suits a first look and tests, not the care of patients.</p>
<ul>
<li>FHIR base: <a href="{base}/metadata"><code>{base}</code></a> (see <code>metadata</code>)</li>
<li>Signing in: <a href="/.well-known/smart-configuration"><code>/.well-known/smart-configuration</code></a></li>
<li>Health: <a href="/healthz"><code>/healthz</code></a>, <a href="/readyz"><code>/readyz</code></a>,
<a href="/metrics"><code>/metrics</code></a></li>
</ul>
<table><caption>Beside FHIR, without a bearer token</caption>
<tr><th>address</th><th>guarded by</th></tr>
{guarded}</table>
<p>With the demo running, <code>vouchsafe keys token --home DIR --as NAME</code> prints a bearer token for trying calls
with <code>curl</code>; the names are in <code>DIR/credentials.json</code>.</p>
</body></html>
"#,
        org = gw.org,
        chain = escape(&gw.chain),
    );
    Ok(Reply::bytes(200, page.into_bytes())
        .header("content-type", "text/html; charset=utf-8")
        .header("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"))
}

/// What answers without a token, and what guards it instead.
fn guarded() -> String {
    plain::TABLE
        .iter()
        .map(|r| format!("<tr><td><code>{} {}</code></td><td>{}</td></tr>\n", router::name(r.method), r.path, r.guard))
        .collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// `GET /.well-known/smart-configuration`
/// (<https://hl7.org/fhir/smart-app-launch/conformance.html#using-well-known>).
pub(crate) async fn smart_configuration(call: PlainCall) -> Result<Reply, Fault> {
    let base = &call.gw.base;
    let body = json!({
        "issuer": base,
        "token_endpoint": format!("{base}/auth/token"),
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["ES384", "RS384"],
        "scopes_supported": ["system/*.cruds", "user/*.cruds", "patient/*.rs"],
        "capabilities": ["client-confidential-asymmetric", "permission-v2", "permission-patient", "permission-user"],
    });
    Ok(Reply::resource(200, &body)
        .header("content-type", "application/json")
        .header("access-control-allow-origin", "*"))
}
