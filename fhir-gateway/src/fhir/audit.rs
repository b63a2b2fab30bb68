//! AuditEvent (<https://hl7.org/fhir/R4/auditevent.html>) by IHE's Basic Audit Log Patterns
//! (<https://profiles.ihe.net/ITI/BALP/>): one per interaction and patient, one per import batch.

use serde_json::{Value, json};
use vouchsafe_types::{RequestId, SessionId, TimeMs};

use super::{Coding, date, systems};

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AuditKind {
    /// A resource was read.
    Read,
    /// A version was read.
    Vread,
    /// A resource was created.
    Create,
    /// A resource was updated.
    Update,
    /// A resource was deleted.
    Delete,
    /// Resources were searched for.
    Query,
    /// An operation was invoked.
    Operation,
    /// A transaction or an import was executed.
    Batch,
    /// Records were handed to another organisation.
    Disclosure,
    /// Access was refused.
    Denial,
}

impl AuditKind {
    /// BALP's action: create, read, update, delete, execute.
    const fn action(self) -> &'static str {
        match self {
            Self::Create => "C",
            Self::Read | Self::Vread | Self::Disclosure => "R",
            Self::Update => "U",
            Self::Delete => "D",
            Self::Query | Self::Operation | Self::Batch | Self::Denial => "E",
        }
    }

    /// The restful interaction; a denial and a disclosure have types of their own.
    const fn subtype(self) -> Option<&'static str> {
        Some(match self {
            Self::Read => "read",
            Self::Vread => "vread",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Query => "search",
            Self::Operation => "operation",
            Self::Batch => "batch",
            Self::Disclosure | Self::Denial => return None,
        })
    }

    /// True when data flows to the client rather than from it.
    const fn exports(self) -> bool {
        matches!(self, Self::Read | Self::Vread | Self::Query | Self::Disclosure)
    }

    fn kind(self) -> Value {
        const DICOM: &str = "http://dicom.nema.org/resources/ontology/DCM";
        match self {
            Self::Disclosure => json!({ "system": DICOM, "code": "110106", "display": "Export" }),
            Self::Denial => json!({ "system": DICOM, "code": "110113", "display": "Security Alert" }),
            _ => json!({
                "system": "http://terminology.hl7.org/CodeSystem/audit-event-type",
                "code": "rest", "display": "RESTful Operation"
            }),
        }
    }

    /// IHE's profile for a patient's record, where there is one.
    const fn profile(self, patient: bool) -> Option<&'static str> {
        Some(match (self, patient) {
            (Self::Read | Self::Vread, true) => {
                "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.PatientRead"
            }
            (Self::Read | Self::Vread, false) => {
                "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.Read"
            }
            (Self::Create, true) => {
                "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.PatientCreate"
            }
            (Self::Create, false) => "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.Create",
            (Self::Update, true) => {
                "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.PatientUpdate"
            }
            (Self::Update, false) => "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.Update",
            (Self::Delete, true) => {
                "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.PatientDelete"
            }
            (Self::Delete, false) => "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.Delete",
            (Self::Query, true) => "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.PatientQuery",
            (Self::Query, false) => "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.Query",
            (Self::Disclosure, true) => {
                "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.PrivacyDisclosure.Source"
            }
            _ => return None,
        })
    }
}

/// Who was at the client.
#[derive(Clone, Debug, Default)]
pub struct User<'a> {
    /// Reference to the person.
    pub reference: Option<&'a str>,
    /// The account on the ledger.
    pub account: Option<&'a str>,
    /// The name, where known.
    pub name: Option<&'a str>,
    /// Reference to the organisation for which the person acts.
    pub organization: Option<&'a str>,
    /// True when an agent key acted under the person's mandate.
    pub by_agent: bool,
}

/// What happened. References and ids only; never content.
#[derive(Clone, Debug)]
pub struct Audit<'a> {
    /// What was done.
    pub kind: AuditKind,
    /// When.
    pub at: TimeMs,
    /// Did it succeed? A denial did not.
    pub success: bool,
    /// A code for what went wrong, for people.
    pub outcome: Option<&'a str>,
    /// The person; none for a system.
    pub user: Option<User<'a>>,
    /// The client's id.
    pub client: &'a str,
    /// The client's network address.
    pub address: Option<&'a str>,
    /// Reference to the organisation whose gateway this is.
    pub source: &'a str,
    /// This server's base URL.
    pub base: &'a str,
    /// Reference to the patient.
    pub patient: Option<&'a str>,
    /// References to what was touched, with versions where known.
    pub what: &'a [String],
    /// The query string of a search.
    pub query: Option<&'a str>,
    /// Why, by HL7's purposes of use.
    pub purpose: &'a [Coding],
    /// The id of the HTTP request.
    pub request_id: &'a str,
    /// The grant that allowed it.
    pub grant: Option<RequestId>,
    /// The session that it happened in.
    pub session: Option<SessionId>,
    /// The ledger's height that it was judged at.
    pub height: Option<u64>,
}

/// The AuditEvent, valid R4, without an id.
pub fn render(audit: &Audit<'_>) -> Value {
    let mut out = json!({ "resourceType": "AuditEvent" });
    if let Some(profile) = audit.kind.profile(audit.patient.is_some()) {
        out["meta"] = json!({ "profile": [profile] });
    }
    out["type"] = audit.kind.kind();
    if let Some(code) = audit.kind.subtype() {
        out["subtype"] = json!([{ "system": "http://hl7.org/fhir/restful-interaction", "code": code }]);
    }
    out["action"] = audit.kind.action().into();
    out["recorded"] = date::instant(audit.at).into();
    out["outcome"] = if audit.success { "0" } else { "4" }.into();
    if let Some(text) = audit.outcome {
        out["outcomeDesc"] = text.into();
    }
    if !audit.purpose.is_empty() {
        out["purposeOfEvent"] = audit.purpose.iter().map(|p| json!({ "coding": [p.to_json()] })).collect();
    }
    out["agent"] = agents(audit).into();
    out["source"] = json!({
        "site": audit.base,
        "observer": { "reference": audit.source },
        "type": [{ "system": "http://terminology.hl7.org/CodeSystem/security-source-type", "code": "4",
            "display": "Application Server" }],
    });
    out["entity"] = entities(audit).into();
    out
}

fn agents(audit: &Audit<'_>) -> Vec<Value> {
    const DICOM: &str = "http://dicom.nema.org/resources/ontology/DCM";
    let side = |code: &str, display: &str| json!({ "coding": [{ "system": DICOM, "code": code, "display": display }] });
    let (client, server) = if audit.kind.exports() {
        (side("110152", "Destination Role ID"), side("110153", "Source Role ID"))
    } else {
        (side("110153", "Source Role ID"), side("110152", "Destination Role ID"))
    };
    let mut device = json!({
        "type": client,
        "who": { "identifier": { "value": audit.client } },
        "requestor": audit.user.is_none(),
    });
    if let Some(address) = audit.address {
        device["network"] = json!({ "address": address, "type": "2" });
    }
    let mut out = vec![device, json!({ "type": server, "who": { "reference": audit.source }, "requestor": false })];
    if let Some(user) = &audit.user {
        out.push(person(audit, user));
        if let Some(organization) = user.organization {
            out.push(json!({
                "type": participation("PROV", "healthcare provider"),
                "who": { "reference": organization }, "requestor": false,
            }));
        }
    }
    out
}

fn person(audit: &Audit<'_>, user: &User<'_>) -> Value {
    let mut who = json!({});
    if let Some(reference) = user.reference {
        who["reference"] = reference.into();
    }
    if let Some(account) = user.account {
        who["identifier"] = json!({ "system": systems::ACCOUNT, "value": account });
    }
    let mut out = json!({ "type": participation("IRCP", "information recipient"), "who": who, "requestor": true });
    if user.by_agent {
        // The person did not press the key: a hospital's keystore did, under the person's mandate.
        out["role"] = json!([{ "text": "by an agent key under the person's mandate" }]);
    }
    if let Some(name) = user.name {
        out["name"] = name.into();
    }
    if let Some(grant) = audit.grant {
        out["policy"] = json!([format!("{}|{grant}", systems::REQUEST)]);
    }
    if !audit.purpose.is_empty() {
        out["purposeOfUse"] = audit.purpose.iter().map(|p| json!({ "coding": [p.to_json()] })).collect();
    }
    out
}

fn participation(code: &str, display: &str) -> Value {
    json!({ "coding": [{
        "system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": code, "display": display
    }] })
}

fn entities(audit: &Audit<'_>) -> Vec<Value> {
    const TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-entity-type";
    const ROLE: &str = "http://terminology.hl7.org/CodeSystem/object-role";
    let role = |code: &str, display: &str| json!({ "system": ROLE, "code": code, "display": display });
    let object = || json!({ "system": TYPE, "code": "2", "display": "System Object" });
    let mut out = Vec::new();
    if let Some(patient) = audit.patient {
        out.push(json!({
            "what": { "reference": patient },
            "type": { "system": TYPE, "code": "1", "display": "Person" },
            "role": role("1", "Patient"),
        }));
    }
    for what in audit.what {
        out.push(json!({ "what": { "reference": what }, "type": object(), "role": role("4", "Domain Resource") }));
    }
    if let Some(query) = audit.query {
        let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, query);
        out.push(json!({ "type": object(), "role": role("24", "Query"), "query": encoded }));
    }
    let request = json!({
        "system": "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType", "code": "XrequestId"
    });
    out.push(json!({ "what": { "identifier": { "value": audit.request_id } }, "type": request }));
    let ids = [
        audit.grant.map(|g| (systems::REQUEST, g.to_string(), "grant")),
        audit.session.map(|s| (systems::SESSION, s.to_string(), "session")),
    ];
    for (system, value, name) in ids.into_iter().flatten() {
        out.push(json!({
            "what": { "identifier": { "system": system, "value": value } },
            "type": object(), "role": role("13", "Security Resource"), "name": name,
        }));
    }
    if let Some(height) = audit.height {
        out.push(json!({
            "type": object(), "role": role("13", "Security Resource"), "name": "ledger",
            "detail": [{ "type": "height", "valueString": height.to_string() }],
        }));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: &[AuditKind] = &[
        AuditKind::Read,
        AuditKind::Vread,
        AuditKind::Create,
        AuditKind::Update,
        AuditKind::Delete,
        AuditKind::Query,
        AuditKind::Operation,
        AuditKind::Batch,
        AuditKind::Disclosure,
        AuditKind::Denial,
    ];

    fn full<'a>(kind: AuditKind, what: &'a [String], purpose: &'a [Coding]) -> Audit<'a> {
        Audit {
            kind,
            at: TimeMs(1_800_000_000_000),
            success: kind != AuditKind::Denial,
            outcome: (kind == AuditKind::Denial).then_some("session-not-live"),
            user: Some(User {
                reference: Some("Practitioner/1"),
                account: Some("00112233445566778899aabbccddeeff"),
                name: Some("A. Doctor"),
                organization: Some("Organization/2"),
                by_agent: true,
            }),
            client: "ehr",
            address: Some("192.0.2.1"),
            source: "Organization/1",
            base: "http://localhost:8080/fhir",
            patient: Some("Patient/1"),
            what,
            query: (kind == AuditKind::Query).then_some("Observation?patient=1"),
            purpose,
            request_id: "r-1",
            grant: Some(RequestId([1; 16])),
            session: Some(SessionId([2; 16])),
            height: Some(7),
        }
    }

    #[test]
    fn every_kind_is_valid_r4_and_says_who_whom_and_why() {
        let what = ["Observation/1/_history/1".to_owned()];
        let purpose = [Coding::new("http://terminology.hl7.org/CodeSystem/v3-ActReason", "TREAT")];
        for kind in KINDS {
            let event = render(&full(*kind, &what, &purpose));
            vouchsafe_fhir_structure::check("AuditEvent", &serde_json::to_vec(&event).unwrap()).unwrap();
            let agents = event["agent"].as_array().unwrap();
            assert_eq!(agents.iter().filter(|a| a["requestor"] == true).count(), 1);
            assert_eq!(event["entity"][0]["what"]["reference"], "Patient/1");
            assert_eq!(event["purposeOfEvent"][0]["coding"][0]["code"], "TREAT");
        }
    }

    #[test]
    fn a_system_is_its_own_requestor() {
        let audit =
            Audit { user: None, patient: None, grant: None, session: None, ..full(AuditKind::Create, &[], &[]) };
        let event = render(&audit);
        vouchsafe_fhir_structure::check("AuditEvent", &serde_json::to_vec(&event).unwrap()).unwrap();
        assert_eq!(event["agent"][0]["requestor"], true);
        assert!(event["meta"]["profile"][0].as_str().unwrap().ends_with("IHE.BasicAudit.Create"));
    }

    #[test]
    fn a_denial_failed() {
        assert_eq!(render(&full(AuditKind::Denial, &[], &[]))["outcome"], "4");
    }
}
