//! A FHIR client that authenticates by a client assertion (SMART Backend Services, RFC 7523) and speaks plain REST.

use std::sync::Arc;

use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use vouchsafe_gateway::seal::{
    device::{DeviceKeys, Es384Key},
    jose::sign_es384,
};

use crate::exit::{Context, Failure, Kind, Outcome};

/// The media type of FHIR JSON.
const FHIR_JSON: &str = "application/fhir+json";

/// An answer, its body read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    /// The body as JSON, `null` when it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or(Value::Null)
    }

    /// The code and the diagnostics of an OperationOutcome, for a person.
    pub(crate) fn outcome(&self) -> String {
        let body = self.json();
        let issue = &body["issue"][0];
        let code = issue["details"]["coding"][0]["code"].as_str().or(issue["code"].as_str()).unwrap_or("no code");
        let said = issue["diagnostics"].as_str().or(issue["details"]["text"].as_str()).unwrap_or("");
        format!("{} {code}: {said}", self.status.as_u16())
    }

    /// The machine-readable code of an OperationOutcome's first issue: the detail's when there is one.
    pub(crate) fn code(&self) -> String {
        let body = self.json();
        let issue = &body["issue"][0];
        issue["details"]["coding"][0]["code"].as_str().or(issue["code"].as_str()).unwrap_or_default().to_owned()
    }

    /// The body when the status is a success.
    pub(crate) fn ok(self, what: &str) -> Outcome<Value> {
        if self.status.is_success() {
            return Ok(self.json());
        }
        Err(Failure::new(Kind::Error, format!("{what}: {}", self.outcome())))
    }

    /// The `id` of the resource in the body, or the one that `Location` names.
    pub(crate) fn id(&self) -> Option<String> {
        let located = || {
            let location = self.headers.get("location")?.to_str().ok()?;
            let path = location.split("/_history/").next()?;
            path.rsplit('/').next().map(str::to_owned)
        };
        self.json()["id"].as_str().map(str::to_owned).or_else(located)
    }
}

/// What a caller adds to one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extra {
    /// `Vouchsafe-Tx`: the signed transaction.
    pub(crate) tx: Option<String>,
    /// `Vouchsafe-Session`: the session meant.
    pub(crate) session: Option<String>,
    /// `If-Match`.
    pub(crate) if_match: Option<String>,
}

impl Extra {
    /// A request that carries a signed transaction.
    pub(crate) fn tx(tx: String) -> Self {
        Self { tx: Some(tx), ..Self::default() }
    }

    /// A request within a session.
    pub(crate) fn session(id: &str) -> Self {
        Self { session: Some(id.to_owned()), ..Self::default() }
    }
}

/// Who a client speaks for under `hl7-b2b` (UDAP): the doctor whose mandate the hospital holds.
#[derive(Clone, Debug)]
pub(crate) struct OnBehalf {
    pub(crate) subject: String,
    pub(crate) organization: String,
    pub(crate) purpose: String,
}

/// The key of a client's assertions: a system's only one, or one of a device's three.
#[derive(Clone)]
pub(crate) enum ClientKey {
    System(Arc<Es384Key>),
    Device(Arc<DeviceKeys>),
}

impl ClientKey {
    fn es384(&self) -> &Es384Key {
        match self {
            Self::System(key) => key,
            Self::Device(keys) => keys.es384(),
        }
    }
}

/// A client of one gateway. Cloning shares the token.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    client_id: String,
    key: ClientKey,
    on_behalf: Option<OnBehalf>,
    token: Arc<Mutex<Option<(String, std::time::Instant)>>>,
}

impl Client {
    /// A client of the gateway at `base` (without `/fhir`), authenticating as `client_id` with its ES384 key.
    pub(crate) fn new(http: &reqwest::Client, base: &str, client_id: &str, key: ClientKey) -> Self {
        Self {
            http: http.clone(),
            base: base.to_owned(),
            client_id: client_id.to_owned(),
            key,
            on_behalf: None,
            token: Arc::default(),
        }
    }

    /// The same client speaking for a doctor.
    pub(crate) fn on_behalf(&self, of: OnBehalf) -> Self {
        Self { on_behalf: Some(of), token: Arc::default(), ..self.clone() }
    }

    /// The gateway's base, without `/fhir`.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// A bearer token, asked for anew when the last one is about to run out.
    pub(crate) async fn token(&self) -> Outcome<String> {
        let mut held = self.token.lock().await;
        if let Some((token, until)) = &*held
            && std::time::Instant::now() < *until
        {
            return Ok(token.clone());
        }
        let answer = self.ask_token().await?;
        let body = answer.json();
        let Some(token) = body["access_token"].as_str() else {
            let said = body["error_description"].as_str().map_or_else(|| answer.outcome(), str::to_owned);
            return Err(Failure::new(Kind::Error, format!("no token for {}: {said}", self.client_id)));
        };
        let seconds = body["expires_in"].as_u64().unwrap_or(60).saturating_sub(20);
        *held = Some((token.to_owned(), std::time::Instant::now() + std::time::Duration::from_secs(seconds)));
        Ok(token.to_owned())
    }

    /// A bearer token that is valid for as long as tokens are.
    pub(crate) async fn fresh_token(&self) -> Outcome<String> {
        self.forget_token().await;
        self.token().await
    }

    /// Forgets the token, which the gateway does not know any more.
    pub(crate) async fn forget_token(&self) {
        *self.token.lock().await = None;
    }

    /// The token endpoint's answer, whatever it is.
    pub(crate) async fn ask_token(&self) -> Outcome<Answer> {
        let audience = format!("{}/auth/token", self.base);
        let assertion = self.assertion(&audience)?;
        let form = [
            ("grant_type", "client_credentials"),
            ("scope", "system/*.cruds"),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", &assertion),
        ];
        let body = form.iter().map(|(k, v)| format!("{k}={}", percent(v))).collect::<Vec<_>>().join("&");
        let request = self.http.post(&audience).header("content-type", "application/x-www-form-urlencoded").body(body);
        read(request).await
    }

    fn assertion(&self, audience: &str) -> Outcome<String> {
        let now = time::OffsetDateTime::now_utc().unix_timestamp();
        let mut jti = [0; 16];
        aws_lc_rs::rand::fill(&mut jti).doing(Kind::Error, || "random bytes".into())?;
        let mut claims = json!({
            "iss": self.client_id, "sub": self.client_id, "aud": audience,
            "jti": vouchsafe_types::b64::encode(jti), "iat": now, "exp": now + 240,
        });
        if let Some(of) = &self.on_behalf {
            claims["extensions"] = json!({ "hl7-b2b": {
                "version": "1", "subject_id": of.subject, "organization_id": of.organization,
                "purpose_of_use": of.purpose,
            }});
        }
        let claims = serde_json::to_vec(&claims).doing(Kind::Error, || "claims".into())?;
        sign_es384(self.key.es384(), &claims).doing(Kind::Error, || "signing an assertion".into())
    }

    /// One request, with the token, below `/fhir/`. A token that the gateway no longer knows, as after a restart, is
    /// replaced once.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<&[u8]>, extra: &Extra) -> Outcome<Answer> {
        let answer = self.call_once(method.clone(), path, body, extra).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        *self.token.lock().await = None;
        self.call_once(method, path, body, extra).await
    }

    async fn call_once(&self, method: Method, path: &str, body: Option<&[u8]>, extra: &Extra) -> Outcome<Answer> {
        let token = self.token().await?;
        // The address of transactions is the base itself.
        let slash = if path.is_empty() { "" } else { "/" };
        let url = format!("{}/fhir{slash}{path}", self.base);
        let mut request = self.http.request(method, url).bearer_auth(token).header("accept", FHIR_JSON);
        if let Some(body) = body {
            request = request.header("content-type", FHIR_JSON).body(body.to_vec());
        }
        for (name, value) in
            [("vouchsafe-tx", &extra.tx), ("vouchsafe-session", &extra.session), ("if-match", &extra.if_match)]
        {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        read(request).await
    }

    /// GET.
    pub(crate) async fn get(&self, path: &str) -> Outcome<Answer> {
        self.call(Method::GET, path, None, &Extra::default()).await
    }

    /// POST of a JSON value.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Outcome<Answer> {
        self.post_with(path, body, &Extra::default()).await
    }

    /// POST of a JSON value with headers.
    pub(crate) async fn post_with(&self, path: &str, body: &Value, extra: &Extra) -> Outcome<Answer> {
        let bytes = serde_json::to_vec(body).doing(Kind::Error, || "a body".into())?;
        self.call(Method::POST, path, Some(&bytes), extra).await
    }
}

/// Sends a request and reads its answer whole.
pub(crate) async fn read(request: reqwest::RequestBuilder) -> Outcome<Answer> {
    let response = request.send().await.doing(Kind::Unavailable, || "sending".into())?;
    let (status, headers) = (response.status(), response.headers().clone());
    let bytes = response.bytes().await.doing(Kind::Unavailable, || "reading the answer".into())?.to_vec();
    Ok(Answer { status, headers, bytes })
}

/// Percent-encodes for a form or a query (RFC 3986 section 2.3's unreserved characters stay).
pub(crate) fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A `Parameters` resource.
#[allow(clippy::needless_pass_by_value, reason = "the list is made for this call and used for nothing else")]
pub(crate) fn parameters(parameter: Vec<Value>) -> Value {
    if parameter.is_empty() {
        // FHIR has no empty arrays.
        return json!({ "resourceType": "Parameters" });
    }
    json!({ "resourceType": "Parameters", "parameter": parameter })
}

/// The value of the first parameter of that name, whatever its type; `null` when there is none.
pub(crate) fn parameter<'a>(parameters: &'a Value, name: &str) -> &'a Value {
    all(parameters, name).next().unwrap_or(&Value::Null)
}

/// The values of all parameters of that name.
pub(crate) fn all<'a>(parameters: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    let named = move |p: &&Value| p["name"] == *name;
    parameters["parameter"].as_array().map_or(&[][..], Vec::as_slice).iter().filter(named).filter_map(|p| {
        let members = p.as_object()?;
        members.iter().find(|(k, _)| k.starts_with("value") || *k == "resource" || *k == "part").map(|(_, v)| v)
    })
}
