//! AuditEvent (<https://hl7.org/fhir/R4/auditevent.html>) by IHE's Basic Audit Log Patterns
//! (<https://profiles.ihe.net/ITI/BALP/>): one per interaction and patient, one per import batch.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;
use vouchsafe_types::{RequestId, SessionId, TimeMs};

use super::{Coding, date, systems};

const DICOM: &str = "http://dicom.nema.org/resources/ontology/DCM";
const PARTICIPATION: &str = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType";

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
    /// Versions were read in the order of their writing.
    History,
    /// Resources were searched for.
    Query,
    /// An operation was invoked.
    Operation,
    /// A transaction was executed.
    Transaction,
    /// A batch or an import was executed.
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
            Self::Read | Self::Vread | Self::History | Self::Disclosure => "R",
            Self::Update => "U",
            Self::Delete => "D",
            Self::Query | Self::Operation | Self::Transaction | Self::Batch | Self::Denial => "E",
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
            Self::History => "history",
            Self::Query => "search",
            Self::Operation => "operation",
            Self::Transaction => "transaction",
            Self::Batch => "batch",
            Self::Disclosure | Self::Denial => return None,
        })
    }

    /// True when data flows to the client rather than from it.
    const fn exports(self) -> bool {
        matches!(self, Self::Read | Self::Vread | Self::History | Self::Query | Self::Disclosure)
    }

    const fn kind(self) -> Code<'static> {
        match self {
            Self::Disclosure => Code::new(DICOM, "110106", "Export"),
            Self::Denial => Code::new(DICOM, "110113", "Security Alert"),
            _ => Code::new("http://terminology.hl7.org/CodeSystem/audit-event-type", "rest", "RESTful Operation"),
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
///
/// # Panics
/// Never: an AuditEvent is plain data.
pub fn render(audit: &Audit<'_>) -> Value {
    serde_json::to_value(event(None, audit)).expect("an AuditEvent is plain data")
}

/// The same with an id, as text: one is written for every interaction, and a tree would cost more than all the rest.
///
/// # Panics
/// Never: an AuditEvent is plain data.
pub fn render_text(id: &str, audit: &Audit<'_>) -> String {
    serde_json::to_string(&event(Some(id), audit)).expect("an AuditEvent is plain data")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    resource_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<Meta>,
    r#type: Code<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subtype: Option<[Code<'a>; 1]>,
    action: &'static str,
    recorded: String,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome_desc: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    purpose_of_event: Vec<Concept<'a>>,
    agent: Vec<Agent<'a>>,
    source: Source<'a>,
    entity: Vec<Entity<'a>>,
}

#[derive(Serialize)]
struct Meta {
    profile: [&'static str; 1],
}

#[derive(Clone, Copy, Serialize)]
struct Code<'a> {
    system: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    display: Option<&'a str>,
}

impl<'a> Code<'a> {
    const fn new(system: &'a str, code: &'a str, display: &'a str) -> Self {
        Self { system, code, display: Some(display) }
    }

    const fn bare(system: &'a str, code: &'a str) -> Self {
        Self { system, code, display: None }
    }
}

#[derive(Serialize)]
struct Concept<'a> {
    coding: [Code<'a>; 1],
}

/// What is named by a reference, by an identifier, or by both.
#[derive(Default, Serialize)]
struct Named<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identifier: Option<Identifier<'a>>,
}

impl<'a> Named<'a> {
    fn reference(reference: &'a str) -> Self {
        Self { reference: Some(reference), identifier: None }
    }

    fn identifier(system: Option<&'a str>, value: impl Into<Cow<'a, str>>) -> Self {
        Self { reference: None, identifier: Some(Identifier { system, value: value.into() }) }
    }
}

#[derive(Serialize)]
struct Identifier<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<&'a str>,
    value: Cow<'a, str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Agent<'a> {
    r#type: Concept<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<[Text; 1]>,
    who: Named<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    requestor: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<[String; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<Network<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    purpose_of_use: Vec<Concept<'a>>,
}

impl<'a> Agent<'a> {
    const fn new(kind: Code<'a>, who: Named<'a>, requestor: bool) -> Self {
        Self {
            r#type: Concept { coding: [kind] },
            role: None,
            who,
            name: None,
            requestor,
            policy: None,
            network: None,
            purpose_of_use: Vec::new(),
        }
    }
}

#[derive(Serialize)]
struct Text {
    text: &'static str,
}

#[derive(Serialize)]
struct Network<'a> {
    address: &'a str,
    r#type: &'static str,
}

#[derive(Serialize)]
struct Source<'a> {
    site: &'a str,
    observer: Named<'a>,
    r#type: [Code<'a>; 1],
}

#[derive(Serialize)]
struct Entity<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<Named<'a>>,
    r#type: Code<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<Code<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<[Detail; 1]>,
}

impl<'a> Entity<'a> {
    const fn new(what: Option<Named<'a>>, kind: Code<'a>, role: Option<Code<'a>>) -> Self {
        Self { what, r#type: kind, role, name: None, query: None, detail: None }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    r#type: &'static str,
    value_string: String,
}

fn event<'a>(id: Option<&'a str>, audit: &'a Audit<'a>) -> Event<'a> {
    let kind = audit.kind;
    Event {
        resource_type: "AuditEvent",
        id,
        meta: kind.profile(audit.patient.is_some()).map(|profile| Meta { profile: [profile] }),
        r#type: kind.kind(),
        subtype: kind.subtype().map(|code| [Code::bare("http://hl7.org/fhir/restful-interaction", code)]),
        action: kind.action(),
        recorded: date::instant(audit.at),
        outcome: if audit.success { "0" } else { "4" },
        outcome_desc: audit.outcome,
        purpose_of_event: purposes(audit),
        agent: agents(audit),
        source: Source {
            site: audit.base,
            observer: Named::reference(audit.source),
            r#type: [Code::new(
                "http://terminology.hl7.org/CodeSystem/security-source-type",
                "4",
                "Application Server",
            )],
        },
        entity: entities(audit),
    }
}

fn purposes<'a>(audit: &'a Audit<'a>) -> Vec<Concept<'a>> {
    let code = |p: &'a Coding| Code { system: &p.system, code: &p.code, display: p.display.as_deref() };
    audit.purpose.iter().map(|p| Concept { coding: [code(p)] }).collect()
}

fn agents<'a>(audit: &'a Audit<'a>) -> Vec<Agent<'a>> {
    const DESTINATION: Code<'_> = Code::new(DICOM, "110152", "Destination Role ID");
    const SOURCE: Code<'_> = Code::new(DICOM, "110153", "Source Role ID");
    let (client, server) = if audit.kind.exports() { (DESTINATION, SOURCE) } else { (SOURCE, DESTINATION) };
    let mut device = Agent::new(client, Named::identifier(None, audit.client), audit.user.is_none());
    device.network = audit.address.map(|address| Network { address, r#type: "2" });
    let mut out = vec![device, Agent::new(server, Named::reference(audit.source), false)];
    if let Some(user) = &audit.user {
        out.push(person(audit, user));
        if let Some(organization) = user.organization {
            let provider = Code::new(PARTICIPATION, "PROV", "healthcare provider");
            out.push(Agent::new(provider, Named::reference(organization), false));
        }
    }
    out
}

fn person<'a>(audit: &'a Audit<'a>, user: &'a User<'a>) -> Agent<'a> {
    let identifier = user.account.map(|value| Identifier { system: Some(systems::ACCOUNT), value: value.into() });
    let who = Named { reference: user.reference, identifier };
    Agent {
        // The person did not press the key: a hospital's keystore did, under the person's mandate.
        role: user.by_agent.then_some([Text { text: "by an agent key under the person's mandate" }]),
        name: user.name,
        policy: audit.grant.map(|grant| [format!("{}|{grant}", systems::REQUEST)]),
        purpose_of_use: purposes(audit),
        ..Agent::new(Code::new(PARTICIPATION, "IRCP", "information recipient"), who, true)
    }
}

fn entities<'a>(audit: &'a Audit<'a>) -> Vec<Entity<'a>> {
    const TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-entity-type";
    const ROLE: &str = "http://terminology.hl7.org/CodeSystem/object-role";
    const OBJECT: Code<'_> = Code::new(TYPE, "2", "System Object");
    const SECURITY: Code<'_> = Code::new(ROLE, "13", "Security Resource");
    let mut out = Vec::with_capacity(audit.what.len() + 6);
    if let Some(patient) = audit.patient {
        let (person, role) = (Code::new(TYPE, "1", "Person"), Code::new(ROLE, "1", "Patient"));
        out.push(Entity::new(Some(Named::reference(patient)), person, Some(role)));
    }
    let domain = Code::new(ROLE, "4", "Domain Resource");
    out.extend(audit.what.iter().map(|what| Entity::new(Some(Named::reference(what)), OBJECT, Some(domain))));
    if let Some(query) = audit.query {
        let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, query);
        out.push(Entity { query: Some(encoded), ..Entity::new(None, OBJECT, Some(Code::new(ROLE, "24", "Query"))) });
    }
    let request = Code::bare("https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType", "XrequestId");
    out.push(Entity::new(Some(Named::identifier(None, audit.request_id)), request, None));
    let ids = [
        audit.grant.map(|g| (systems::REQUEST, g.to_string(), "grant")),
        audit.session.map(|s| (systems::SESSION, s.to_string(), "session")),
    ];
    for (system, value, name) in ids.into_iter().flatten() {
        let what = Named::identifier(Some(system), value);
        out.push(Entity { name: Some(name), ..Entity::new(Some(what), OBJECT, Some(SECURITY)) });
    }
    if let Some(height) = audit.height {
        let detail = Some([Detail { r#type: "height", value_string: height.to_string() }]);
        out.push(Entity { name: Some("ledger"), detail, ..Entity::new(None, OBJECT, Some(SECURITY)) });
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
        AuditKind::History,
        AuditKind::Query,
        AuditKind::Operation,
        AuditKind::Transaction,
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
