//! One example: sent, sent again with a patient of this gateway where it must name one, and read back.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use serde_json::Value;

use super::{
    bytes::{with_references, with_somebody, without_the_servers},
    package::Example,
    site::Site,
};
use crate::{
    error::{Error, Result},
    wire::{Answer, Wire},
};

/// The gateway's code for a resource of a patient whose chart it cannot find.
const NO_CHART: &str = "no-chart";

/// How an example was sent when it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum How {
    /// Byte for byte as HL7 has it.
    AsItIs,
    /// Its references to Patients and RelatedPersons of the package name those that are here.
    Rewritten,
    /// A Patient that the package does not have was put in its place.
    StandIn,
}

/// Why an example was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// R4's issue type.
    pub(super) issue: String,
    pub(super) code: String,
    pub(super) expression: String,
    pub(super) diagnostics: String,
}

/// What came of an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Stored, and read back as it was sent.
    Stored(How),
    /// Stored, and read back otherwise: where they first differ.
    Altered(String),
    Refused(Refusal),
}

/// What all threads share.
pub(super) struct Intake<'a> {
    site: &'a Site,
    /// HL7's `Patient/id`, whatever base it stands behind, to ours.
    names: Mutex<HashMap<String, String>>,
    /// Those of them that are stand-ins.
    stand_ins: Mutex<HashMap<String, String>>,
}

impl<'a> Intake<'a> {
    pub(super) fn new(site: &'a Site) -> Self {
        Self { site, names: Mutex::default(), stand_ins: Mutex::default() }
    }

    pub(super) fn client(&self) -> Wire {
        self.site.wire()
    }

    fn call(&self, client: &mut Wire, method: &str, target: &str, body: Option<&[u8]>) -> Result<Answer> {
        let bearer = self.site.bearer()?;
        let mut headers = vec![("Authorization", bearer.as_str())];
        if body.is_some() {
            headers.push(("Content-Type", "application/fhir+json"));
        }
        let answer = client.call(method, target, &headers, body);
        answer.map_err(|source| Error::Io { what: format!("{method} {target}"), source })
    }

    /// Sends one example.
    pub(super) fn take(&self, client: &mut Wire, example: &Example) -> Result<Outcome> {
        let mut sent = example.bytes.clone();
        let mut how = How::AsItIs;
        let mut answer = self.create(client, &example.resource_type, &sent)?;
        if let Err(refusal) = &answer
            && refusal.code == NO_CHART
        {
            (sent, how) = self.rewritten(client, &sent)?;
            if how != How::AsItIs {
                answer = self.create(client, &example.resource_type, &sent)?;
            }
        }
        if let Err(refusal) = &answer
            && refusal.code == NO_CHART
            && let Some(member) = refusal.expression.strip_prefix(&format!("{}.", example.resource_type))
        {
            let who = self.stand_in(client, "somebody")?;
            if let Some(named) = with_somebody(&sent, member, &who) {
                (sent, how) = (named, How::StandIn);
                answer = self.create(client, &example.resource_type, &sent)?;
            }
        }
        let id = match answer {
            Ok(id) => id,
            Err(refusal) => return Ok(Outcome::Refused(refusal)),
        };
        let name = format!("{}/{id}", example.resource_type);
        if matches!(example.resource_type.as_str(), "Patient" | "RelatedPerson") {
            self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(example.name.clone(), name.clone());
        }
        let served = self.call(client, "GET", &format!("/fhir/{name}"), None)?;
        if served.status != 200 {
            return Ok(Outcome::Altered(format!("a read is answered {}", served.said())));
        }
        Ok(compared(&sent, &served.body).map_or(Outcome::Stored(how), Outcome::Altered))
    }

    /// The id that a resource got, or why it was refused. What the gateway asks to be sent later is sent later.
    fn create(&self, client: &mut Wire, kind: &str, body: &[u8]) -> Result<Result<String, Refusal>> {
        for _ in 0..30 {
            let answer = self.call(client, "POST", &format!("/fhir/{kind}"), Some(body))?;
            let wait = answer.header("retry-after").and_then(|v| v.parse().ok());
            match (answer.status, wait) {
                (429 | 503, Some(seconds)) => std::thread::sleep(std::time::Duration::from_secs(seconds)),
                (201, _) => return Ok(Ok(id_of(&answer)?)),
                (status @ 400..500, _) => return Ok(Err(refusal(status, &answer))),
                _ => {
                    return Err(Error::failed(format!("a create of a {kind} is answered {}", answer.said())));
                }
            }
        }
        Err(Error::failed("the gateway asks to wait again and again"))
    }

    /// The bytes with every Patient and RelatedPerson that they refer to named as here.
    fn rewritten(&self, client: &mut Wire, bytes: &[u8]) -> Result<(Vec<u8>, How)> {
        let missing = Mutex::new(Vec::new());
        let known = |text: &str| self.names.lock().unwrap_or_else(PoisonError::into_inner).get(text).cloned();
        let look = |text: &str| {
            let name = person(text)?;
            // Somebody elsewhere is not the one of the package, even if the id is the same.
            let here = if text == name { known(&name) } else { None };
            if here.is_none() && name.starts_with("Patient/") {
                missing.lock().unwrap_or_else(PoisonError::into_inner).push(text.to_owned());
            }
            here
        };
        let (out, replaced) = with_references(bytes, &look);
        let missing = missing.into_inner().unwrap_or_else(PoisonError::into_inner);
        if missing.is_empty() {
            return Ok((out, if replaced > 0 { How::Rewritten } else { How::AsItIs }));
        }
        let mut put = HashMap::new();
        for text in missing {
            let who = self.stand_in(client, &text)?;
            put.insert(text, who);
        }
        Ok((with_references(&out, &|text| put.get(text).cloned()).0, How::StandIn))
    }

    /// The Patient that stands in for one whom the package does not have; made when it is first needed.
    fn stand_in(&self, client: &mut Wire, text: &str) -> Result<String> {
        let mut made = self.stand_ins.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(who) = made.get(text) {
            return Ok(who.clone());
        }
        let patient = self.create(client, "Patient", br#"{"resourceType":"Patient","active":true}"#)?;
        let id = patient.map_err(|refusal| Error::failed(format!("no stand-in Patient: {}", refusal.diagnostics)))?;
        made.insert(text.to_owned(), format!("Patient/{id}"));
        Ok(format!("Patient/{id}"))
    }
}

/// `Patient/id` or `RelatedPerson/id` at the end of a reference.
fn person(text: &str) -> Option<String> {
    let plain = text.split_once("/_history/").map_or(text, |(before, _)| before);
    let mut parts = plain.rsplit('/');
    let (id, kind) = (parts.next()?, parts.next()?);
    (matches!(kind, "Patient" | "RelatedPerson") && !id.is_empty()).then(|| format!("{kind}/{id}"))
}

fn id_of(answer: &Answer) -> Result<String> {
    let id = answer.location().and_then(|name| Some(name.split_once('/')?.1.to_owned()));
    id.ok_or_else(|| Error::failed("a create is answered without a Location"))
}

fn refusal(status: u16, answer: &Answer) -> Refusal {
    let outcome = answer.json();
    let issue = &outcome["issue"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Refusal {
        status,
        issue: text(&issue["code"]),
        code: text(&issue["details"]["coding"][0]["code"]),
        expression: text(&issue["expression"][0]),
        diagnostics: text(&issue["diagnostics"]),
    }
}

/// Where the two first differ once what the server says is out of both.
fn compared(sent: &[u8], served: &[u8]) -> Option<String> {
    let (sent, served) = (without_the_servers(sent), without_the_servers(served));
    if sent == served {
        return None;
    }
    let at = sent.iter().zip(&served).take_while(|(a, b)| a == b).count();
    let around = |bytes: &[u8]| {
        String::from_utf8_lossy(&bytes[at.saturating_sub(20).min(bytes.len())..(at + 40).min(bytes.len())]).into_owned()
    };
    Some(format!("byte {at}: sent {:?}, served {:?}", around(&sent), around(&served)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn persons_are_known_by_the_end_of_a_reference() {
        assert_eq!(person("http://a.example/fhir/Patient/1/_history/2").as_deref(), Some("Patient/1"));
        assert_eq!(person("RelatedPerson/x").as_deref(), Some("RelatedPerson/x"));
        assert_eq!(person("Practitioner/1"), None);
        assert_eq!(person("#patient"), None);
    }

    #[test]
    fn a_single_changed_byte_is_seen() {
        let sent = br#"{"resourceType":"Basic","id":"a","language":"en"}"#;
        let served = br#"{"resourceType":"Basic","id":"9","meta":{"versionId":"1","lastUpdated":"t"},"language":"en"}"#;
        assert_eq!(compared(sent, served), None);
        let other = br#"{"resourceType":"Basic","id":"9","meta":{"versionId":"1","lastUpdated":"t"},"language":"de"}"#;
        assert!(compared(sent, other).unwrap().starts_with("byte "));
    }
}
