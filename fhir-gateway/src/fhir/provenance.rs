//! Provenance (<https://hl7.org/fhir/R4/provenance.html>) of a record version: a view over its anchor.

use serde_json::{Value, json};
use vouchsafe_types::{Hash32, RequestId, SessionId, TimeMs};

use super::{date, systems};

/// What made the version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// The first version.
    Create,
    /// A later one.
    Update,
    /// A tombstone.
    Delete,
}

/// Where a record version comes from.
#[derive(Clone, Debug)]
pub struct Origin<'a> {
    /// The Provenance's id.
    pub id: &'a str,
    /// Reference to the version, such as `Observation/1/_history/2`.
    pub target: &'a str,
    /// What made it.
    pub activity: Activity,
    /// When it was written.
    pub written: TimeMs,
    /// When the block that anchors it was made; none while it waits.
    pub anchored: Option<(u64, TimeMs)>,
    /// The anchored commitment.
    pub commitment: Hash32,
    /// Reference to the person who wrote it; none for a system.
    pub author: Option<&'a str>,
    /// True when an agent key acted under the person's mandate.
    pub by_agent: bool,
    /// The client through which it came.
    pub client: &'a str,
    /// Reference to the custodian.
    pub custodian: &'a str,
    /// The session in which a doctor uploaded it, with its grant.
    pub session: Option<(SessionId, RequestId)>,
}

/// The Provenance, valid R4.
pub fn render(origin: &Origin<'_>) -> Value {
    let (code, display) = match origin.activity {
        Activity::Create => ("CREATE", "create"),
        Activity::Update => ("UPDATE", "revise"),
        Activity::Delete => ("DELETE", "delete"),
    };
    let mut out = json!({
        "resourceType": "Provenance",
        "id": origin.id,
        "target": [{ "reference": origin.target }],
        "recorded": date::instant(origin.anchored.map_or(origin.written, |(_, at)| at)),
        "activity": { "coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/v3-DataOperation", "code": code, "display": display
        }] },
        "agent": agents(origin),
        "entity": entities(origin),
    });
    out["occurredDateTime"] = date::instant(origin.written).into();
    if let Some((_, grant)) = origin.session {
        out["policy"] = json!([format!("{}|{grant}", systems::REQUEST)]);
    }
    out
}

fn agents(origin: &Origin<'_>) -> Value {
    const TYPE: &str = "http://terminology.hl7.org/CodeSystem/provenance-participant-type";
    let kind = |code: &str, display: &str| json!({ "coding": [{ "system": TYPE, "code": code, "display": display }] });
    let mut out = Vec::new();
    if let Some(author) = origin.author {
        let mut agent = json!({
            "type": kind("author", "Author"),
            "who": { "reference": author }, "onBehalfOf": { "reference": origin.custodian },
        });
        if origin.by_agent {
            agent["role"] = json!([{ "text": "by an agent key under the person's mandate" }]);
        }
        out.push(agent);
    }
    out.push(json!({
        "type": kind("assembler", "Assembler"),
        "who": { "identifier": { "value": origin.client }, "type": "Device" },
        "onBehalfOf": { "reference": origin.custodian },
    }));
    out.push(json!({ "type": kind("custodian", "Custodian"), "who": { "reference": origin.custodian } }));
    out.into()
}

fn entities(origin: &Origin<'_>) -> Value {
    let one = |role: &str, system: &str, value: String, display: String| json!({ "role": role, "what": { "identifier": { "system": system, "value": value }, "display": display } });
    let place = match origin.anchored {
        Some((height, _)) => format!("commitment anchored in block {height}"),
        None => "commitment, not yet anchored".to_owned(),
    };
    let mut out = vec![one("source", systems::ANCHOR, origin.commitment.to_string(), place)];
    if let Some((session, grant)) = origin.session {
        out.push(one("source", systems::SESSION, session.to_string(), "session".to_owned()));
        out.push(one("source", systems::REQUEST, grant.to_string(), "grant".to_owned()));
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_valid_r4_with_and_without_a_session() {
        let mut origin = Origin {
            id: "p1",
            target: "Observation/1/_history/2",
            activity: Activity::Update,
            written: TimeMs(1_800_000_000_000),
            anchored: Some((12, TimeMs(1_800_000_001_000))),
            commitment: Hash32([7; 32]),
            author: Some("Practitioner/1"),
            by_agent: true,
            client: "ehr",
            custodian: "Organization/1",
            session: Some((SessionId([1; 16]), RequestId([2; 16]))),
        };
        let check = |value: &Value| {
            vouchsafe_fhir_structure::check("Provenance", &serde_json::to_vec(value).unwrap()).unwrap();
        };
        let value = render(&origin);
        check(&value);
        assert_eq!(value["recorded"], "2027-01-15T08:00:01.000Z");
        assert_eq!(value["entity"][0]["what"]["identifier"]["value"], Hash32([7; 32]).to_string());
        origin.author = None;
        origin.session = None;
        origin.anchored = None;
        let value = render(&origin);
        check(&value);
        assert_eq!(value["entity"].as_array().unwrap().len(), 1);
        assert!(value.get("policy").is_none());
    }
}
