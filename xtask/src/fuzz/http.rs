//! The part over HTTP: requests to a running gateway, each from a seed of its own.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    bodies,
    rng::Rng,
    words::{self, Vocabulary},
};
use crate::{
    error::{Error, Result},
    examples::site::Site,
    process,
    report::seconds,
    test::{Scratch, built},
    wire::{Answer, Wire},
};

const CONNECTIONS: usize = 4;
/// How often the gateway's memory is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// More than this it has no reason to hold, whatever it is sent.
const MOST_KIB: u64 = 1 << 20;
/// No answer takes longer on a machine that does nothing else.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a request line may have at most; a longer query goes by POST, as R4 has it.
const LONGEST_TARGET: usize = 60_000;
const MOST_BODY: usize = 15 << 20;

/// One request.
struct Request {
    method: &'static str,
    target: String,
    headers: Vec<(&'static str, String)>,
    body: Option<Vec<u8>>,
}

/// What all threads share.
struct Field<'a> {
    site: &'a Site,
    words: Vocabulary,
    seeds: Vec<Vec<u8>>,
}

/// Fuzzes for so many seconds, or does the one execution of a seed.
pub(super) fn fuzz(root: &Path, seed: u64, length: u64) -> Result<()> {
    let scratch = Scratch::new("fuzz")?;
    let seeds = seeds(root)?;
    let mut site = Site::start(&built(root)?, &scratch.0.join("home"))?;
    let (ids, seeds) = store(&site, &seeds)?;
    let words = vocabulary(&site, ids)?;
    println!("{} types, {} records, {} seeds", words.types.len(), words.ids.len(), seeds.len());
    let field = Field { site: &site, words, seeds };
    let began = Instant::now();
    let counts = Mutex::new([0_u64; 6]);
    let failure = Mutex::new(None);
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let until = began + Duration::from_secs(length);
    let threads = if length == 0 { 1 } else { CONNECTIONS };
    let worker = || {
        let mut wire = field.site.wire();
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if stop.load(Ordering::Relaxed) || (n > 0 && Instant::now() > until) {
                return;
            }
            let one = seed.wrapping_add(n);
            match field.once(&mut wire, one) {
                Ok(status) => {
                    counts.lock().unwrap_or_else(PoisonError::into_inner)[usize::from(status / 100).min(5)] += 1;
                }
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    let error = format!("{error}\nagain: cargo xtask fuzz --only http --seed {one} --seconds 0");
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    return;
                }
            }
        }
    };
    let watched = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let mut watched = Ok(());
        while running.iter().any(|thread| !thread.is_finished()) {
            thread::sleep(LOOK);
            if watched.is_ok() && field.site.most_kib() > MOST_KIB {
                watched = Err(Error::failed(format!("the gateway holds more than {} MiB", MOST_KIB / 1024)));
                stop.store(true, Ordering::Relaxed);
            }
        }
        watched
    });
    let done: u64 = counts.lock().unwrap_or_else(PoisonError::into_inner).iter().sum();
    let [_, _, ok, _, refused, away] = *counts.lock().unwrap_or_else(PoisonError::into_inner);
    let took = began.elapsed();
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = done as f64 / took.as_secs_f64();
    let most = field.site.most_kib() / 1024;
    println!(
        "http: {done} requests in {}, {rate:.0} /s: {ok} answered, {refused} refused, {away} asked to wait",
        seconds(took)
    );
    println!("http: {most} MiB held at most");
    if let Some(failure) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(Error::failed(failure));
    }
    watched?;
    site.sound()
}

impl Field<'_> {
    /// Does one request and judges its answer.
    fn once(&self, wire: &mut Wire, seed: u64) -> Result<u16> {
        let mut rng = Rng::new(seed);
        let request = self.request(&mut rng);
        let bearer = self.site.bearer()?;
        let mut headers = vec![("Authorization", bearer.as_str())];
        headers.extend(request.headers.iter().map(|(name, value)| (*name, value.as_str())));
        let began = Instant::now();
        let mut send = || wire.call(request.method, &request.target, &headers, request.body.as_deref());
        // A connection that was kept may have been closed in between; a second one may not.
        let answer = send().or_else(|_| {
            *wire = self.site.wire();
            wire.call(request.method, &request.target, &headers, request.body.as_deref())
        });
        let took = began.elapsed();
        let fault = match &answer {
            Err(error) => Some(format!("no answer: {error}")),
            Ok(_) if took > PATIENCE => Some(format!("an answer after {}", seconds(took))),
            Ok(answer) => fault(answer),
        };
        match (fault, answer) {
            (None, Ok(answer)) => Ok(answer.status),
            (fault, _) => Err(Error::failed(format!("{}\n{}", fault.unwrap_or_default(), shown(&request)))),
        }
    }

    fn request(&self, rng: &mut Rng) -> Request {
        match rng.below(20) {
            0..=10 => self.search(rng),
            11..=15 => self.create(rng),
            16 | 17 => self.update(rng),
            18 => self.parcel(rng),
            _ => self.elsewhere(rng),
        }
    }

    fn search(&self, rng: &mut Rng) -> Request {
        let (kind, pairs) = words::search(rng, &self.words);
        let pairs: Vec<String> =
            pairs.iter().map(|(name, value)| format!("{}={}", coded(rng, name), coded(rng, value))).collect();
        let query = pairs.join("&");
        let path = match (&kind, rng.below(12)) {
            (Some(kind), 0) => format!("/fhir/Patient/{}/{}", self.id(rng), coded(rng, kind)),
            (Some(kind), 1) => format!("/fhir/{}/_history", coded(rng, kind)),
            (Some(kind), 2) => format!("/fhir/{}/{}/_history", coded(rng, kind), self.id(rng)),
            (Some(kind), _) => format!("/fhir/{}", coded(rng, kind)),
            (None, _) => "/fhir".to_owned(),
        };
        let handling = ["", "handling=strict", "handling=lenient", "return=minimal"];
        let mut headers = vec![("Prefer", rng.pick(&handling).to_owned())];
        if query.len() + path.len() > LONGEST_TARGET || rng.one_in(8) {
            headers.push(("Content-Type", "application/x-www-form-urlencoded".to_owned()));
            let body = query.into_bytes();
            return Request { method: "POST", target: format!("{path}/_search"), headers, body: Some(body) };
        }
        Request { method: "GET", target: format!("{path}?{query}"), headers, body: None }
    }

    fn create(&self, rng: &mut Rng) -> Request {
        let body = self.body(rng);
        let target = format!("/fhir/{}", self.kind_of(rng, &body));
        let mut headers = self.headers(rng);
        if rng.one_in(6) {
            headers.push(("If-None-Exist", self.condition(rng)));
        }
        Request { method: "POST", target, headers, body: Some(body) }
    }

    fn update(&self, rng: &mut Rng) -> Request {
        let body = self.body(rng);
        let kind = self.kind_of(rng, &body);
        let target = match rng.below(4) {
            0 => format!("/fhir/{kind}?{}", self.condition(rng)),
            1 => format!("/fhir/{kind}/{}", coded(rng, "a/../b")),
            _ => format!("/fhir/{kind}/{}", self.id(rng)),
        };
        let mut headers = self.headers(rng);
        if rng.one_in(2) {
            let tags = ["W/\"1\"", "W/\"0\"", "\"1\"", "*", "W/\"18446744073709551616\"", "W/\"1\", W/\"2\"", "1"];
            headers.push(("If-Match", rng.pick(&tags).to_owned()));
        }
        if rng.one_in(8) {
            return Request { method: "DELETE", target, headers, body: None };
        }
        Request { method: "PUT", target, headers, body: Some(body) }
    }

    /// A Bundle of mutated resources, mutated itself.
    fn parcel(&self, rng: &mut Rng) -> Request {
        let mut entries = Vec::new();
        for n in 0..rng.below(5) {
            let body = self.body(rng);
            let kind = self.kind_of(rng, &body);
            let body = String::from_utf8_lossy(&body).into_owned();
            let method = rng.pick(&["POST", "PUT", "DELETE", "GET", "PATCH", "HEAD", ""]);
            let url = match rng.below(3) {
                0 => kind,
                1 => format!("{kind}/{}", self.id(rng)),
                _ => format!("{kind}?{}", self.condition(rng)),
            };
            let url = Value::String(url);
            entries.push(format!(
                "{{\"fullUrl\":\"urn:uuid:{n}\",\"resource\":{body},\"request\":{{\"method\":\"{method}\",\"url\":{url}}}}}"
            ));
        }
        let kind = rng.pick(&["transaction", "batch", "transaction", "searchset", ""]);
        let bundle = format!("{{\"resourceType\":\"Bundle\",\"type\":\"{kind}\",\"entry\":[{}]}}", entries.join(","));
        let mut body = bundle.into_bytes();
        if rng.one_in(2) {
            body = bodies::mutated(rng, &[body]);
        }
        body.truncate(MOST_BODY);
        Request { method: "POST", target: "/fhir".to_owned(), headers: self.headers(rng), body: Some(body) }
    }

    /// Addresses that there are, or nearly, with methods that there are, or not.
    fn elsewhere(&self, rng: &mut Rng) -> Request {
        let paths = [
            "/fhir/metadata",
            "/fhir/_history",
            "/fhir/$x",
            "/fhir/Patient/$everything",
            "/auth/token",
            "/ipfs/x?format=raw",
            "/ipfs/",
            "/.well-known/smart-configuration",
            "/readyz",
            "/",
            "/fhir/Observation/x/$proof",
            "/fhir/Patient/x/_history/1",
            "/fhir/_search",
            "/fhir/AuditEvent",
            "/fhir/Consent",
            "/fhir/Provenance?target=x",
            "/fhir/Consent/x/$approve",
            "/fhir/_async/x",
        ];
        let mut target = rng.pick(&paths).to_owned();
        if rng.one_in(3) {
            let odd = words::search(rng, &self.words).1.pop().map(|(name, _)| name).unwrap_or_default();
            let odd: String = odd.chars().take(2000).collect();
            target = format!("{target}{}", coded(rng, &odd));
        }
        let method = rng.pick(&["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"]);
        let body = (method != "GET").then(|| self.body(rng));
        let method = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"].iter().find(|m| **m == method);
        Request { method: method.copied().unwrap_or("GET"), target, headers: self.headers(rng), body }
    }

    fn headers(&self, rng: &mut Rng) -> Vec<(&'static str, String)> {
        let types = [
            "application/fhir+json",
            "application/fhir+json",
            "application/fhir+json",
            "application/json; charset=utf-8",
            "text/plain",
            "",
        ];
        let prefer =
            ["", "return=minimal", "return=representation", "return=OperationOutcome", "respond-async", ";,;="];
        let mut headers = vec![("Content-Type", rng.pick(&types).to_owned()), ("Prefer", rng.pick(&prefer).to_owned())];
        if rng.one_in(10) {
            let keys = ["", "a", "\"a\"", "key with spaces", &"k".repeat(5000)];
            headers.push(("Idempotency-Key", rng.pick(&keys).to_owned()));
        }
        headers
    }

    fn body(&self, rng: &mut Rng) -> Vec<u8> {
        let mut body = bodies::mutated(rng, &self.seeds);
        body.truncate(MOST_BODY);
        body
    }

    /// The type that a body calls itself, or another.
    fn kind_of(&self, rng: &mut Rng, body: &[u8]) -> String {
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        let said = value.get("resourceType").and_then(Value::as_str).map(str::to_owned);
        let other = || self.words.types[0].0.clone();
        match said {
            Some(said) if !rng.one_in(20) && said.len() < 200 && said.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                said
            }
            _ => other(),
        }
    }

    fn condition(&self, rng: &mut Rng) -> String {
        let (_, pairs) = words::search(rng, &self.words);
        let pairs: Vec<String> =
            pairs.iter().take(3).map(|(name, value)| format!("{}={}", coded(rng, name), coded(rng, value))).collect();
        pairs.join("&").chars().take(4000).collect()
    }

    fn id(&self, rng: &mut Rng) -> String {
        let ids = &self.words.ids;
        if ids.is_empty() || rng.one_in(4) { "1".to_owned() } else { ids[rng.below(ids.len())].clone() }
    }
}

/// What is wrong with an answer.
fn fault(answer: &Answer) -> Option<String> {
    match answer.status {
        503 | 429 if answer.header("retry-after").is_none() => Some(format!("no Retry-After: {}", answer.said())),
        status @ 500.. if status != 503 => Some(answer.said()),
        // What the token endpoint and the addresses for peers answer has a form of its own.
        400.. if answer.header("content-type").is_some_and(|t| t.starts_with("application/fhir+json")) => {
            let outcome = answer.json();
            let named = outcome["resourceType"] == "OperationOutcome" && outcome["issue"][0]["code"].is_string();
            (!named).then(|| format!("no OperationOutcome: {}", answer.said()))
        }
        400.. if !answer.body.is_empty() => None,
        status @ 400.. => Some(format!("{status} without a body")),
        _ => None,
    }
}

/// A request for a failure's words: whole, unless it is long.
fn shown(request: &Request) -> String {
    let body = request.body.as_deref().unwrap_or_default();
    let cut = |text: String| text.chars().take(3000).collect::<String>();
    let body = cut(String::from_utf8_lossy(body).into_owned());
    format!("{} {}\n{:?}\n{body}", request.method, cut(request.target.clone()), request.headers)
}

/// Percent-encodes, now and then otherwise than one should.
fn coded(rng: &mut Rng, text: &str) -> String {
    let mut out = String::new();
    let sloppy = rng.one_in(6);
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let left = sloppy && b":,$*/".contains(&byte);
        if left || (plain && !(sloppy && rng.one_in(10))) {
            out.push(char::from(byte));
        } else if sloppy && byte == b' ' {
            out.push('+');
        } else if sloppy && rng.one_in(2) {
            out.push_str(&format!("%{byte:02x}"));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    if rng.one_in(60) {
        out.push_str(rng.pick(&[
            "%",
            "%z",
            "%zz",
            "%ff",
            "%C3%28",
            "%00",
            "%ED%A0%80",
            "%F4%90%80%80",
            "&&",
            "=",
            "&=",
            "%26",
        ]));
    }
    out
}

/// Resources to mutate: those of the demo's patients, each of a type and its neighbours.
fn seeds(root: &Path) -> Result<Vec<Vec<u8>>> {
    let mut seeds = Vec::new();
    for name in ["weston", "cedric"] {
        let file = root.join("demo-data").join(format!("{name}.ndjson.gz"));
        let mut command = Command::new("gzip");
        command.arg("-dc").arg(&file);
        let done = process::capture(command, Duration::from_secs(60))?;
        if !done.success() {
            return Err(Error::content(&file, "cannot be unpacked; on Debian: apt-get install gzip"));
        }
        seeds.extend(done.output.lines().step_by(3).take(150).map(|line| line.as_bytes().to_vec()));
    }
    let file = root.join("fhir-search/src/extract/tests/examples.ndjson");
    let examples = fs::read(&file).map_err(Error::io("read", &file))?;
    seeds.extend(examples.split(|b| *b == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec));
    Ok(seeds)
}

/// Stores a patient, and what of the seeds can be stored with references to that one; the ids given, and the seeds so
/// rewritten, of which a mutated one has a chance of being stored as well.
fn store(site: &Site, seeds: &[Vec<u8>]) -> Result<(Vec<String>, Vec<Vec<u8>>)> {
    let mut wire = site.wire();
    let mut post = |kind: &str, body: &[u8]| -> Result<Option<String>> {
        let bearer = site.bearer()?;
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/fhir+json")];
        let answer = wire.call("POST", &format!("/fhir/{kind}"), &headers, Some(body));
        let answer = answer.map_err(|source| Error::Io { what: "cannot store a seed".to_owned(), source })?;
        Ok(answer.location().and_then(|name| Some(name.split_once('/')?.1.to_owned())))
    };
    let patient = post("Patient", br#"{"resourceType":"Patient","name":[{"family":"Smith","given":["Ana"]}]}"#)?;
    let patient = patient.ok_or_else(|| Error::failed("no Patient can be stored"))?;
    let mut ids = vec![patient.clone()];
    let ours = format!("Patient/{patient}");
    let mut rewritten = Vec::new();
    for seed in seeds {
        let value: Value = serde_json::from_slice(seed).unwrap_or_default();
        let kind = value.get("resourceType").and_then(Value::as_str).unwrap_or_default();
        let theirs = |text: &str| text.contains("Patient").then(|| ours.clone());
        let (body, _) = crate::examples::bytes::with_references(seed, &theirs);
        ids.extend(post(kind, &body)?);
        rewritten.push(body);
    }
    Ok((ids, rewritten))
}

/// What the gateway says that it can be searched by.
fn vocabulary(site: &Site, ids: Vec<String>) -> Result<Vocabulary> {
    let answer = site.wire().call("GET", "/fhir/metadata", &[], None);
    let answer = answer.map_err(|source| Error::Io { what: "cannot read the metadata".to_owned(), source })?;
    let said = answer.json();
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let list = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
    let types: Vec<_> = list(&said["rest"][0], "resource")
        .iter()
        .map(|one| {
            let params = list(one, "searchParam").iter().map(|p| (text(p, "name"), text(p, "type"))).collect();
            (text(one, "type"), params)
        })
        .collect();
    if types.iter().all(|(_, params): &(String, Vec<_>)| params.is_empty()) {
        return Err(Error::failed("the CapabilityStatement names no search parameters"));
    }
    Ok(Vocabulary { types, ids })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_stays_a_request_line() {
        let mut rng = Rng::new(1);
        for _ in 0..2000 {
            let text = coded(&mut rng, "a b\u{0}ä|,$:\r\n\u{202e}%");
            assert!(text.bytes().all(|b| b.is_ascii_graphic() && b != b'|'), "{text}");
        }
    }
}
