//! The gateway that an import writes to, over its FHIR REST: one transaction at a time, as often as it takes.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use reqwest::{StatusCode, header::HeaderMap};
use serde_json::Value;

use crate::{
    exit::{Failure, Kind, Outcome},
    wallet::client::{Answer, Client},
};

/// How long a gateway that has answered before is waited for: longer than it takes to start again.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long one that never has is waited for: nobody wants to learn of a slip in an address after two minutes.
const AT_FIRST: Duration = Duration::from_secs(5);
/// The longest pause between two tries.
const LONGEST: Duration = Duration::from_secs(10);
/// A conflict is with somebody else's write, which is over when this was tried so often.
const CONFLICTS: u32 = 8;
/// A fault of the gateway's own may pass; after this it does not.
const FAULTS: u32 = 3;

/// A FHIR server.
pub(crate) struct Gateway {
    http: reqwest::Client,
    /// Its FHIR base, without a trailing slash.
    base: String,
    /// Who asks for tokens, where they are needed.
    client: Option<Client>,
    began: Instant,
    answered: Mutex<Option<Instant>>,
}

/// What became of a transaction.
pub(super) enum Sent {
    /// Each entry's response.
    Done(Vec<Value>),
    /// Nothing of it was done.
    Refused(Refusal),
}

/// Why a transaction was refused.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) issues: Vec<Issue>,
}

/// One issue of an outcome.
#[derive(Clone, Debug, Default)]
pub(super) struct Issue {
    pub(super) code: String,
    pub(super) text: String,
    pub(super) expression: String,
}

impl Gateway {
    /// A server at a FHIR base.
    pub(crate) fn new(http: &reqwest::Client, base: &str, client: Option<Client>) -> Self {
        let base = base.trim_end_matches('/').to_owned();
        Self { http: http.clone(), base, client, began: Instant::now(), answered: Mutex::new(None) }
    }

    /// The types that it lets a client create, as its CapabilityStatement says; none when it does not say.
    pub(super) async fn creatable(&self) -> Outcome<Option<BTreeSet<String>>> {
        let mut tried = 0;
        let answer = loop {
            match self.http.get(format!("{}/metadata", self.base)).send().await {
                Ok(answer) => break answer,
                Err(error) => self.patience(&error.to_string())?,
            }
            tried += 1;
            tokio::time::sleep(pause(tried, None)).await;
        };
        self.note_answer();
        let statement: Value = match answer.bytes().await {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(_) => return Ok(None),
        };
        let Some(resources) = statement["rest"][0]["resource"].as_array() else { return Ok(None) };
        let creates = |r: &&Value| {
            let codes = r["interaction"].as_array().map_or(&[][..], Vec::as_slice);
            codes.iter().any(|i| i["code"] == "create")
        };
        Ok(Some(resources.iter().filter(creates).filter_map(|r| r["type"].as_str().map(str::to_owned)).collect()))
    }

    /// Sends a transaction under its key until it is done or refused.
    ///
    /// # Errors
    /// When the gateway stays away, does not let the client in, or fails by itself.
    pub(super) async fn transaction(&self, body: Bytes, key: &str) -> Outcome<Sent> {
        let (mut tried, mut conflicts, mut faults, mut logins) = (0, 0, 0, 0);
        loop {
            let answer = match self.once(body.clone(), key).await {
                Ok(answer) => answer,
                Err(failure) => {
                    self.patience(&failure.to_string())?;
                    tried += 1;
                    tokio::time::sleep(pause(tried, None)).await;
                    continue;
                }
            };
            match answer.status.as_u16() {
                200..=299 => {
                    self.note_answer();
                    return done(&answer);
                }
                401 if logins < 2 => {
                    logins += 1;
                    if let Some(client) = &self.client {
                        client.forget_token().await;
                    }
                    continue;
                }
                401 | 403 => return Err(Failure::new(Kind::Denied, answer.outcome())),
                404 | 405 => {
                    let what = format!("{} takes no transactions: {}", self.base, answer.outcome());
                    return Err(Failure::new(Kind::Unavailable, what));
                }
                409 if conflicts < CONFLICTS => conflicts += 1,
                429 | 502 | 503 | 504 => self.patience(&answer.outcome())?,
                500 if faults < FAULTS => faults += 1,
                500.. => return Err(Failure::new(Kind::Error, format!("the gateway failed: {}", answer.outcome()))),
                _ => return Ok(Sent::Refused(refusal(&answer))),
            }
            tried += 1;
            tokio::time::sleep(pause(tried, retry_after(&answer.headers))).await;
        }
    }

    async fn once(&self, body: Bytes, key: &str) -> Outcome<Answer> {
        let mut request = self.http.post(&self.base).header("content-type", "application/fhir+json");
        request = request.header("accept", "application/fhir+json").header("prefer", "return=minimal");
        request = request.header("idempotency-key", key).body(body);
        if let Some(client) = &self.client {
            request = request.bearer_auth(client.token().await?);
        }
        crate::wallet::client::read(request).await
    }

    fn note_answer(&self) {
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Fails when nothing was answered for too long.
    fn patience(&self, why: &str) -> Outcome {
        let answered = *self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        let since = answered.unwrap_or(self.began).elapsed();
        if since < if answered.is_some() { PATIENCE } else { AT_FIRST } {
            return Ok(());
        }
        let what = format!("{} did nothing for {} s: {why}", self.base, since.as_secs());
        Err(Failure::new(Kind::Unavailable, what).hint("the same command goes on where this one ended"))
    }
}

fn done(answer: &Answer) -> Outcome<Sent> {
    match answer.json()["entry"].take() {
        Value::Array(entries) => Ok(Sent::Done(entries)),
        _ => Err(Failure::new(Kind::Error, "a transaction was answered by something that is no Bundle")),
    }
}

fn refusal(answer: &Answer) -> Refusal {
    let body = answer.json();
    let issues = body["issue"].as_array().map_or(&[][..], Vec::as_slice).iter().map(|issue| {
        let text = [&issue["details"]["text"], &issue["diagnostics"]];
        let text: Vec<&str> = text.into_iter().filter_map(Value::as_str).collect();
        let coded = issue["details"]["coding"][0]["code"].as_str().or(issue["code"].as_str());
        Issue {
            code: coded.unwrap_or_default().to_owned(),
            text: text.join(" "),
            expression: issue["expression"][0].as_str().unwrap_or_default().to_owned(),
        }
    });
    Refusal { status: answer.status.as_u16(), issues: issues.collect() }
}

/// Seconds that the server asks for; a date is not understood and taken for none.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// How long to wait before the next try: what the server asked for, else twice as long each time.
fn pause(tried: u32, asked: Option<Duration>) -> Duration {
    asked.unwrap_or_else(|| Duration::from_millis(50) * 2_u32.saturating_pow(tried.min(10))).min(LONGEST)
}

/// What a status says when there is no outcome.
pub(super) fn reason(status: u16) -> &'static str {
    StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("refused")
}
