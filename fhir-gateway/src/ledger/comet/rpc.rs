//! CometBFT's JSON-RPC over HTTP, as much of it as a gateway needs (CometBFT 0.38, `rpc/openapi/openapi.yaml`).

use std::time::Duration;

use serde_json::{Value, json};

/// How long a node may take to answer, and to take a connection.
const ANSWER: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(1);
/// The most that an answer may have: the largest block with its results, and room.
const MAX_BYTES: usize = 64 << 20;
/// How many calls a node takes at once (`rpc.max_request_batch_size` is 10 by default).
pub(super) const TOGETHER: usize = 10;

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RpcError {
    /// The node was not reached; it has got nothing.
    #[error("not reached: {0}")]
    NotReached(String),
    /// The connection broke, or the answer was not one: what was asked for may have been done.
    #[error("no answer: {0}")]
    NoAnswer(String),
    /// The node answered that it does not.
    #[error("refused: {0}")]
    Refused(String),
}

/// One node's RPC.
#[derive(Clone, Debug)]
pub(super) struct Rpc {
    http: reqwest::Client,
    url: String,
}

impl Rpc {
    /// A client of all nodes.
    ///
    /// # Errors
    /// When no client can be made.
    pub(super) fn client() -> Result<reqwest::Client, reqwest::Error> {
        reqwest::Client::builder().timeout(ANSWER).connect_timeout(CONNECT).tcp_nodelay(true).build()
    }

    pub(super) const fn new(http: reqwest::Client, url: String) -> Self {
        Self { http, url }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// One call.
    pub(super) async fn call(&self, method: &'static str, params: Value) -> Result<Value, RpcError> {
        let answer = self.post(&request(0, method, params)).await?;
        result(answer)
    }

    /// Several calls in one message; their results in the order of the calls.
    pub(super) async fn batch(
        &self,
        calls: Vec<(&'static str, Value)>,
    ) -> Result<Vec<Result<Value, RpcError>>, RpcError> {
        debug_assert!(calls.len() <= TOGETHER, "more than a node takes at once");
        let count = calls.len();
        let requests = calls.into_iter().enumerate().map(|(id, (method, params))| request(id, method, params));
        // A list of one call is answered without the list.
        let answers = match self.post(&Value::Array(requests.collect())).await? {
            Value::Array(answers) => answers,
            one => vec![one],
        };
        let mut results: Vec<Option<Result<Value, RpcError>>> = vec![None; count];
        for answer in answers {
            let id = answer["id"].as_u64().and_then(|id| usize::try_from(id).ok());
            if let Some(place) = id.and_then(|id| results.get_mut(id)) {
                *place = Some(result(answer));
            }
        }
        let missing = || RpcError::NoAnswer("an answer is missing".into());
        results.into_iter().map(|result| result.ok_or_else(missing)).collect()
    }

    async fn post(&self, body: &Value) -> Result<Value, RpcError> {
        let sent = self.http.post(&self.url).json(body).send().await;
        let mut response = sent.map_err(|e| {
            let what = describe(&e);
            if e.is_connect() { RpcError::NotReached(what) } else { RpcError::NoAnswer(what) }
        })?;
        // An error of JSON-RPC comes with status 500 and a body that says what it is.
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| RpcError::NoAnswer(describe(&e)))? {
            if bytes.len() + chunk.len() > MAX_BYTES {
                return Err(RpcError::NoAnswer("more bytes than any answer has".into()));
            }
            bytes.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&bytes).map_err(|_| RpcError::NoAnswer("not JSON".into()))
    }
}

fn request(id: usize, method: &str, params: Value) -> Value {
    let mut request = json!({ "jsonrpc": "2.0", "id": id, "method": method });
    request["params"] = params;
    request
}

fn result(mut answer: Value) -> Result<Value, RpcError> {
    if let Some(error) = answer.get("error").filter(|e| !e.is_null()) {
        let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        return Err(RpcError::Refused(format!("{}: {}", text("message"), text("data"))));
    }
    match answer.get_mut("result") {
        Some(result) => Ok(result.take()),
        None => Err(RpcError::NoAnswer("neither a result nor an error".into())),
    }
}

/// The error with what caused it, without the address, which the caller knows.
fn describe(e: &reqwest::Error) -> String {
    let mut text = if e.is_timeout() { "timed out".to_owned() } else { "failed".to_owned() };
    let mut source = std::error::Error::source(e);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
