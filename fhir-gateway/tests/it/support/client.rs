//! A SMART client of one gateway, and what it is answered.

use std::sync::{Arc, Mutex};

use reqwest::{Method, header::HeaderMap};
use serde_json::{Value, json};
use vouchsafe_gateway::seal::{DeviceKeys, device::Es384Key, jose};
use vouchsafe_types::b64;

use super::{FHIR, TestClock, random};

/// What signs client assertions.
pub(crate) trait Assert: Send + Sync {
    fn es384(&self) -> &Es384Key;
}

impl Assert for Es384Key {
    fn es384(&self) -> &Es384Key {
        self
    }
}

impl Assert for DeviceKeys {
    fn es384(&self) -> &Es384Key {
        Self::es384(self)
    }
}

/// A SMART client of one gateway.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) base: String,
    pub(crate) client_id: String,
    pub(super) key: Arc<dyn Assert>,
    pub(super) extensions: Option<Value>,
    pub(super) clock: TestClock,
    pub(super) http: reqwest::Client,
    pub(super) token: Arc<Mutex<Option<String>>>,
}

impl Client {
    /// The claims of a fresh assertion.
    pub(crate) fn claims(&self) -> Value {
        let mut claims = json!({
            "iss": self.client_id, "sub": self.client_id, "aud": format!("{}/auth/token", self.base),
            "exp": self.clock.now().0 / 1000 + 60, "jti": b64::encode(random::<16>()),
        });
        if let Some(extensions) = &self.extensions {
            claims["extensions"] = extensions.clone();
        }
        claims
    }

    pub(crate) fn assertion(&self, claims: &Value) -> String {
        jose::sign_es384(self.key.es384(), claims.to_string().as_bytes()).unwrap()
    }

    /// Asks for a token with an assertion.
    pub(crate) async fn ask_token(&self, assertion: &str) -> Answer {
        let form = format!(
            "grant_type=client_credentials&client_assertion_type={}&client_assertion={assertion}",
            "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"
        );
        let request = self.http.post(format!("{}/auth/token", self.base)).body(form);
        Answer::of(request.header("content-type", "application/x-www-form-urlencoded")).await
    }

    /// A token: the one that is there, or a new one.
    pub(crate) async fn token(&self) -> String {
        if let Some(token) = self.token.lock().unwrap().clone() {
            return token;
        }
        let answer = self.ask_token(&self.assertion(&self.claims())).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let token = answer.json()["access_token"].as_str().unwrap().to_owned();
        *self.token.lock().unwrap() = Some(token.clone());
        token
    }

    /// Forgets the token, as after time was moved.
    pub(crate) fn forget(&self) {
        *self.token.lock().unwrap() = None;
    }

    /// A call below `/fhir`, with any body and headers.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let token = self.token().await;
        let mut request = self.http.request(method, format!("{}/fhir/{path}", self.base));
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.body(body);
            if !headers.iter().any(|(n, _)| *n == "content-type") {
                request = request.header("content-type", FHIR);
            }
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::of(request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None, &[]).await
    }

    pub(crate) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.call(Method::GET, path, None, headers).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_with(path, body, &[]).await
    }

    pub(crate) async fn post_with(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
        self.call(Method::POST, path, Some(body.to_string().into_bytes()), headers).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
        self.call(Method::PUT, path, Some(body.to_string().into_bytes()), headers).await
    }

    /// A call beside `/fhir`, without a token.
    pub(crate) async fn plain(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.body(body);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::of(request).await
    }
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(super) async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, body: response.bytes().await.unwrap().to_vec() }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{} {e}: {}", self.status, self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    /// The JSON of an answer that must have this status.
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    /// The id of what was created.
    pub(crate) fn created(&self) -> String {
        self.expect(201)["id"].as_str().unwrap().to_owned()
    }

    /// Status and stable code of a refusal, which must be an OperationOutcome that says something.
    pub(crate) fn refusal(&self) -> (u16, String) {
        let value = self.json();
        assert_eq!(value["resourceType"], "OperationOutcome", "{}", self.text());
        assert!(self.header("content-type").starts_with(FHIR));
        let issue = &value["issue"][0];
        let said = issue["diagnostics"].as_str().or(issue["details"]["text"].as_str()).unwrap_or_default();
        assert!(!said.is_empty(), "{}", self.text());
        (self.status, issue["details"]["coding"][0]["code"].as_str().unwrap_or_default().to_owned())
    }
}
