//! What one worker does to the gateway and knows of it: each write is tried until it is acknowledged, across crashes, and
//! from then on it must be there, once, with its bytes.

use std::{collections::BTreeMap, fmt::Write as _, thread, time::Duration};

use serde_json::{Value, value::RawValue};

use super::field::Field;
use crate::{
    error::{Error, Result},
    rng::Rng,
    wire::{Answer, Wire, located},
};

/// The system of the identifiers by which doubles are found.
const SYSTEM: &str = "urn:example:crash";

/// Records that are looked at again after each crash, beside those that were touched lately.
const SAMPLE: usize = 50;

/// What was acknowledged of one record.
struct Known {
    /// `Type/id`
    name: String,
    /// What identifies it for a search.
    identifier: String,
    version: u64,
    /// The bytes of its latest version; none when it is deleted.
    body: Option<String>,
    /// The crash before which it was touched last.
    touched: u64,
}

/// What a worker did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Writes that were acknowledged.
    pub(super) acknowledged: u64,
    /// Writes whose first try was not answered, and which were tried again.
    pub(super) retried: u64,
    /// Records that were read again and compared.
    pub(super) compared: u64,
}

/// One client of the gateway.
pub(super) struct Worker<'a> {
    field: &'a Field,
    number: u64,
    rng: Rng,
    wire: Wire,
    patient: String,
    known: Vec<Known>,
    made: u64,
    crash: u64,
    pub(super) counts: Counts,
}

/// One write, as it is sent again and again until it is acknowledged.
struct Write {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Option<String>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(field: &'a Field, number: u64, seed: u64) -> Self {
        let rng = Rng::new(seed ^ (number << 40));
        let wire = Wire::new(field.addr);
        let (patient, known) = (String::new(), Vec::new());
        Self { field, number, rng, wire, patient, known, made: 0, crash: 0, counts: Counts::default() }
    }

    /// Writes until the field is closed; then looks at everything once more.
    pub(super) fn run(&mut self) -> Result<()> {
        self.patient = self.create("Patient", false)?;
        while self.field.is_open() {
            let crash = self.field.crashes();
            if crash != self.crash {
                self.crash = crash;
                self.look_again()?;
            }
            match self.rng.below(100) {
                0..40 => drop(self.create("Observation", false)?),
                40..55 => drop(self.create("Observation", true)?),
                55..75 => self.update()?,
                75..85 => self.delete()?,
                _ => self.transaction()?,
            }
        }
        for at in 0..self.known.len() {
            self.compare(at)?;
            self.counted(at)?;
        }
        Ok(())
    }

    /// After a crash: what was touched shortly before it, and some of the rest.
    fn look_again(&mut self) -> Result<()> {
        let last = self.crash.saturating_sub(1);
        let lately: Vec<usize> = (0..self.known.len()).filter(|at| self.known[*at].touched >= last).collect();
        for at in lately {
            self.compare(at)?;
        }
        for _ in 0..SAMPLE.min(self.known.len()) {
            let at = self.rng.below(self.known.len());
            self.compare(at)?;
            self.counted(at)?;
        }
        Ok(())
    }

    fn create(&mut self, kind: &str, conditional: bool) -> Result<String> {
        let identifier = self.identifier();
        let body = self.resource(kind, &identifier, &self.patient.clone());
        let header = if conditional {
            ("If-None-Exist", format!("identifier={SYSTEM}%7C{identifier}"))
        } else {
            ("Idempotency-Key", format!("crash-{identifier}"))
        };
        let headers = vec![header];
        let write = Write { method: "POST", path: format!("/{kind}"), headers, body: Some(body.clone()) };
        let answer = self.until_acknowledged(&write, &[200, 201])?;
        let name = answer.location().ok_or_else(|| lost("a create was answered without a location"))?;
        self.learn(name.clone(), identifier, 1, body);
        Ok(name)
    }

    fn update(&mut self) -> Result<()> {
        let Some(at) = self.any_living() else { return Ok(()) };
        let Known { name, identifier, version, .. } = &self.known[at];
        let (name, identifier, version) = (name.clone(), identifier.clone(), *version);
        let (kind, id) = name.split_once('/').unwrap_or_default();
        let body = self.resource(kind, &identifier, &self.patient.clone());
        let body = body.replacen('{', &format!(r#"{{"id":"{id}","#), 1);
        let headers = vec![("If-Match", format!("W/\"{version}\""))];
        let write = Write { method: "PUT", path: format!("/{name}"), headers, body: Some(body.clone()) };
        // A try that was not answered may have been done: then the version is no longer the one named.
        self.until_acknowledged(&write, &[200, 412])?;
        let known = &mut self.known[at];
        (known.version, known.body, known.touched) = (version + 1, Some(body), self.crash);
        // That it was this update, and done once, is seen in version and bytes.
        self.compare(at)
    }

    fn delete(&mut self) -> Result<()> {
        let Some(at) = self.any_living() else { return Ok(()) };
        let write =
            Write { method: "DELETE", path: format!("/{}", self.known[at].name), headers: Vec::new(), body: None };
        self.until_acknowledged(&write, &[200, 204, 410])?;
        let known = &mut self.known[at];
        (known.version, known.body, known.touched) = (known.version + 1, None, self.crash);
        Ok(())
    }

    fn transaction(&mut self) -> Result<()> {
        let count = 2 + self.rng.below(30);
        let mut entries = String::new();
        let mut made = Vec::new();
        for n in 0..count {
            let identifier = self.identifier();
            let body = self.resource("Observation", &identifier, &self.patient.clone());
            let _ = write!(
                entries,
                r#"{}{{"fullUrl":"urn:uuid:00000000-0000-4000-8000-{n:012}","resource":{body},"request":{{"method":"POST","url":"Observation"}}}}"#,
                if n > 0 { "," } else { "" }
            );
            made.push((identifier, body));
        }
        let body = format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entries}]}}"#);
        let headers = vec![("Idempotency-Key", format!("crash-{}", self.identifier()))];
        let write = Write { method: "POST", path: String::new(), headers, body: Some(body) };
        let answer = self.until_acknowledged(&write, &[200])?.json();
        let locations = answer["entry"].as_array().map_or(&[][..], Vec::as_slice);
        if locations.len() != count {
            return Err(lost(&format!("a transaction of {count} was answered with {}", locations.len())));
        }
        for ((identifier, body), entry) in made.into_iter().zip(locations) {
            let name = entry["response"]["location"].as_str().and_then(located);
            let name = name.ok_or_else(|| lost("an entry was answered without a location"))?;
            self.learn(name, identifier, 1, body);
        }
        Ok(())
    }

    fn learn(&mut self, name: String, identifier: String, version: u64, body: String) {
        self.known.push(Known { name, identifier, version, body: Some(body), touched: self.crash });
    }

    fn any_living(&mut self) -> Option<usize> {
        let at = self.rng.below(self.known.len());
        // The patient itself stays: what belongs to its chart could not be.
        (at > 0 && self.known[at].body.is_some()).then_some(at)
    }

    fn identifier(&mut self) -> String {
        self.made += 1;
        format!("{}-{}-{}", self.field.run, self.number, self.made)
    }

    fn resource(&mut self, kind: &str, identifier: &str, patient: &str) -> String {
        let of = format!(r#""resourceType":"{kind}","identifier":[{{"system":"{SYSTEM}","value":"{identifier}"}}]"#);
        if kind == "Patient" {
            return format!(r#"{{{of},"name":[{{"family":"Crash","given":["{}"]}}]}}"#, self.rng.next());
        }
        let note = "x".repeat(self.rng.below(2000));
        format!(
            r#"{{{of},"status":"final","code":{{"coding":[{{"system":"http://loinc.org","code":"718-7"}}]}},"subject":{{"reference":"{patient}"}},"valueQuantity":{{"value":{}.{:02}0}},"note":[{{"text":"-{note}"}}]}}"#,
            self.rng.below(100),
            self.rng.below(100)
        )
    }

    /// Sends a write until it is answered with one of these; between crashes it waits for the gateway.
    fn until_acknowledged(&mut self, write: &Write, good: &[u16]) -> Result<Answer> {
        let mut tried = 0_u32;
        loop {
            if self.field.is_given_up() {
                return Err(lost("given up"));
            }
            tried += 1;
            if tried == 2 {
                self.counts.retried += 1;
            }
            match self.send(write) {
                Some(answer) if good.contains(&answer.status) && (tried > 1 || answer.status < 400) => {
                    self.counts.acknowledged += 1;
                    return Ok(answer);
                }
                // Not answered, no token after a restart, or too busy: again.
                None => {}
                Some(answer) if matches!(answer.status, 401 | 409 | 425 | 429 | 500..) && tried < 2000 => {
                    thread::sleep(Duration::from_millis(5));
                }
                Some(answer) => {
                    let what = format!("{} {} was answered by {}", write.method, write.path, answer.said());
                    return Err(lost(&what));
                }
            }
        }
    }

    /// One try. None when nobody knows whether it was done.
    fn send(&mut self, write: &Write) -> Option<Answer> {
        let token = self.field.token()?;
        let mut headers = vec![("Authorization", token.as_str()), ("Content-Type", "application/fhir+json")];
        headers.extend(write.headers.iter().map(|(n, v)| (*n, v.as_str())));
        let path = format!("{}{}", crate::gateway::Home::FHIR, write.path);
        let body = write.body.as_deref().map(str::as_bytes);
        self.wire.call(write.method, &path, &headers, body).ok()
    }

    fn get(&mut self, path: String) -> Result<Answer> {
        let write = Write { method: "GET", path, headers: Vec::new(), body: None };
        for _ in 0..2000 {
            if self.field.is_given_up() {
                break;
            }
            match self.send(&write) {
                Some(answer) if !matches!(answer.status, 401 | 429 | 500..) => return Ok(answer),
                _ => thread::sleep(Duration::from_millis(10)),
            }
        }
        Err(lost(&format!("{} was not answered", write.path)))
    }

    /// What was acknowledged is there, in the version and with the bytes that were acknowledged.
    fn compare(&mut self, at: usize) -> Result<()> {
        let path = format!("/{}", self.known[at].name);
        let answer = self.get(path)?;
        self.counts.compared += 1;
        let known = &self.known[at];
        let (name, version) = (&known.name, known.version);
        match &known.body {
            None if answer.status == 410 => Ok(()),
            None => Err(lost(&format!("{name} was deleted and is answered by {}", answer.status))),
            Some(_) if answer.status != 200 => Err(lost(&format!("{name} is lost: {}", answer.said()))),
            Some(_) if answer.version() != Some(version) => {
                Err(lost(&format!("{name} is in version {:?}, acknowledged was {version}", answer.version())))
            }
            Some(body) if !same(body.as_bytes(), &answer.body) => {
                Err(lost(&format!("{name} has other bytes than were acknowledged")))
            }
            Some(_) => Ok(()),
        }
    }

    /// A search finds it once, or not at all once it is deleted.
    fn counted(&mut self, at: usize) -> Result<()> {
        let known = &self.known[at];
        let kind = known.name.split('/').next().unwrap_or_default();
        let path = format!("/{kind}?identifier={SYSTEM}%7C{}", known.identifier);
        let answer = self.get(path)?;
        let found = answer.json()["entry"].as_array().map_or(0, |entries| {
            entries.iter().filter(|e| e["search"]["mode"].as_str().unwrap_or("match") == "match").count()
        });
        let known = &self.known[at];
        let expected = usize::from(known.body.is_some());
        if answer.status == 200 && found == expected {
            return Ok(());
        }
        Err(lost(&format!("{} is found {found} times, expected {expected} ({})", known.name, answer.status)))
    }
}

fn lost(what: &str) -> Error {
    Error::failed(what)
}

/// Whether what is served is what was sent, member by member and byte by byte, beside what the server says itself.
pub(crate) fn same(sent: &[u8], served: &[u8]) -> bool {
    let members = |bytes| -> Option<Vec<(String, String)>> {
        let all: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(bytes).ok()?;
        let order: serde_json::Map<String, Value> = serde_json::from_slice(bytes).ok()?;
        let ours = order.keys().filter(|k| !matches!(k.as_str(), "id" | "meta"));
        ours.map(|k| Some((k.clone(), all.get(k)?.get().to_owned()))).collect()
    };
    members(sent).is_some_and(|sent| members(served) == Some(sent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_served_is_compared_to_the_last_byte() {
        let sent = br#"{"resourceType":"Observation","value":1.50,"a":[1, 2]}"#;
        assert!(same(
            sent,
            br#"{"resourceType":"Observation","id":"1","meta":{"versionId":"1"},"value":1.50,"a":[1, 2]}"#
        ));
        for other in [
            &br#"{"resourceType":"Observation","value":1.5,"a":[1, 2]}"#[..],
            br#"{"resourceType":"Observation","value":1.50,"a":[1,2]}"#,
            br#"{"value":1.50,"resourceType":"Observation","a":[1, 2]}"#,
            br#"{"resourceType":"Observation","value":1.50}"#,
            b"",
        ] {
            assert!(!same(sent, other), "{}", String::from_utf8_lossy(other));
        }
    }
}
