//! CapabilityStatement (<https://hl7.org/fhir/R4/capabilitystatement.html>) from the route table: what is served,
//! declared and guarded cannot drift apart, because one row says all three.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vouchsafe_fhir_search::{Kind, Param, param, params};
use vouchsafe_fhir_structure::RESOURCE_TYPES;

/// The HTTP method of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are HTTP's")]
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

/// What a route does, in R4's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are R4's")]
pub enum Interaction {
    Read,
    Vread,
    Update,
    Patch,
    Delete,
    HistoryInstance,
    HistoryType,
    HistorySystem,
    Create,
    SearchType,
    SearchSystem,
    /// A transaction or a batch: one address takes both.
    Bundle,
    /// What became of a request that is answered later; R4 has no code for it.
    AsyncStatus,
    Capabilities,
    Operation,
}

impl Interaction {
    /// The code of a type-level interaction in a CapabilityStatement.
    pub const fn type_code(self) -> Option<&'static str> {
        Some(match self {
            Self::Read => "read",
            Self::Vread => "vread",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::HistoryInstance => "history-instance",
            Self::HistoryType => "history-type",
            Self::Create => "create",
            Self::SearchType => "search-type",
            Self::HistorySystem
            | Self::SearchSystem
            | Self::Bundle
            | Self::AsyncStatus
            | Self::Capabilities
            | Self::Operation => return None,
        })
    }

    /// The codes of a system-level interaction.
    pub const fn system_codes(self) -> &'static [&'static str] {
        match self {
            Self::Bundle => &["transaction", "batch"],
            Self::SearchSystem => &["search-system"],
            Self::HistorySystem => &["history-system"],
            _ => &[],
        }
    }
}

/// Which resource types a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeSet {
    /// None: the route is of the system.
    System,
    /// Every R4 type.
    All,
    /// Every R4 type but these.
    AllBut(&'static [&'static str]),
    /// These.
    Only(&'static [&'static str]),
}

impl TypeSet {
    /// True when the route is for this type.
    pub fn contains(self, resource_type: &str) -> bool {
        match self {
            Self::System => false,
            Self::All => vouchsafe_fhir_structure::is_resource_type(resource_type),
            Self::AllBut(types) => {
                vouchsafe_fhir_structure::is_resource_type(resource_type) && !types.contains(&resource_type)
            }
            Self::Only(types) => types.contains(&resource_type),
        }
    }
}

/// Who may use a route at all; what they may see there is the policy's to decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Everybody, without a token.
    Public,
    /// Whoever has a token, judged by the resource.
    Reads,
    /// The custodian's own clients and staff.
    WritesOwn,
    /// A verified practitioner, acting by own or mandated key.
    Practitioner,
    /// The patient whom the resource is about.
    Patient,
    /// The practitioner or the patient of the consent.
    ConsentParty,
    /// An authority.
    Authority,
    /// The organisation's own client.
    Organization,
}

/// One row of the route table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteRow {
    /// The method.
    pub method: Method,
    /// The path below the FHIR base, such as `/{type}/{id}`.
    pub path: &'static str,
    /// What it does.
    pub interaction: Interaction,
    /// For which types.
    pub types: TypeSet,
    /// The operation's name with its `$`, if it is one.
    pub operation: Option<&'static str>,
    /// Who may use it.
    pub permission: Permission,
    /// What it does, for people.
    pub doc: &'static str,
}

impl RouteRow {
    /// True for what writes own records: a create, an update, a delete of any type, or a Bundle of them. A row for one type
    /// alone is an act of its own.
    pub const fn writes_records(&self) -> bool {
        match self.interaction {
            Interaction::Bundle => true,
            Interaction::Create | Interaction::Update | Interaction::Delete => {
                matches!(self.path.as_bytes(), b"/{type}" | b"/{type}/{id}")
            }
            _ => false,
        }
    }
}

/// The compartments that R4 has (<https://hl7.org/fhir/R4/compartmentdefinition.html>).
pub const COMPARTMENTS: [&str; 5] = ["Device", "Encounter", "Patient", "Practitioner", "RelatedPerson"];

/// Types that the gateway makes itself, and by what they are found.
const MADE: &[(&str, &[&str])] =
    &[("AuditEvent", &["patient"]), ("Consent", &["_id", "patient", "status"]), ("Provenance", &["target"])];

/// What a statement says about this server.
#[derive(Clone, Debug)]
pub struct Server<'a> {
    /// The FHIR base URL.
    pub base: &'a str,
    /// The software's version.
    pub version: &'a str,
    /// When the statement was made, a dateTime.
    pub date: &'a str,
    /// Who runs it.
    pub organization: &'a str,
}

/// The statement for these rows.
pub fn statement(server: &Server<'_>, rows: &[RouteRow]) -> Value {
    let mut rest = json!({
        "mode": "server",
        "documentation": "Records are sealed, anchored on a ledger and released against consent.",
        "security": security(server.base),
        "resource": resources(rows),
    });
    let mut system: Vec<Value> = Vec::new();
    for (codes, doc) in rows.iter().map(|r| (r.interaction.system_codes(), r.doc)) {
        for code in codes {
            // A table may serve one interaction by several rows; it is declared once.
            if system.iter().all(|known| known["code"] != *code) {
                system.push(json!({ "code": code, "documentation": doc }));
            }
        }
    }
    if !system.is_empty() {
        rest["interaction"] = system.into();
    }
    if rows.iter().any(|r| r.path.starts_with("/{compartment}")) {
        let canonical = |name: &&str| format!("http://hl7.org/fhir/CompartmentDefinition/{}", name.to_lowercase());
        rest["compartment"] = COMPARTMENTS.iter().map(canonical).collect();
    }
    let operations = operations(rows.iter().filter(|r| r.types == TypeSet::System));
    if !operations.is_empty() {
        rest["operation"] = operations.into();
    }
    json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": server.date,
        "publisher": server.organization,
        "kind": "instance",
        "software": { "name": "Vouchsafe", "version": server.version },
        "implementation": { "description": "A Vouchsafe gateway", "url": server.base },
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json"],
        "rest": [rest],
    })
}

fn security(base: &str) -> Value {
    let origin = base.strip_suffix("/fhir").unwrap_or(base);
    json!({
        "cors": false,
        "service": [{ "coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/restful-security-service", "code": "SMART-on-FHIR"
        }] }],
        "extension": [{
            "url": "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris",
            "extension": [{ "url": "token", "valueUri": format!("{origin}/auth/token") }],
        }],
    })
}

fn resources(rows: &[RouteRow]) -> Vec<Value> {
    let of_type = |name: &&str| rows.iter().any(|r| r.interaction == Interaction::SearchType && r.types.contains(name));
    let searched: Vec<&str> = RESOURCE_TYPES.iter().copied().filter(of_type).collect();
    let references = references(&searched);
    RESOURCE_TYPES.iter().filter_map(|name| resource(name, rows, &references)).collect()
}

/// The parameters that lead from one record to another, each with the type that has it.
fn references(searched: &[&'static str]) -> Vec<(&'static str, &'static Param)> {
    let records = searched.iter().filter(|name| MADE.iter().all(|(made, _)| made != *name));
    let of_type = |name: &'static str| params(name).iter().map(move |param| (name, *param));
    records.flat_map(|name| of_type(name)).filter(|(_, param)| param.kind == Kind::Reference).collect()
}

fn resource(name: &str, rows: &[RouteRow], references: &[(&str, &Param)]) -> Option<Value> {
    let of_type: Vec<&RouteRow> = rows.iter().filter(|r| r.types.contains(name)).collect();
    // A table may serve one interaction by two rows; it is declared once.
    let interactions: BTreeMap<Interaction, &str> =
        of_type.iter().filter(|r| r.interaction.type_code().is_some()).map(|r| (r.interaction, r.doc)).collect();
    let operations = operations(of_type.iter().copied());
    if interactions.is_empty() && operations.is_empty() {
        return None;
    }
    let mut out = json!({ "type": name });
    if !interactions.is_empty() {
        let list = interactions.iter().map(|(i, doc)| json!({ "code": i.type_code(), "documentation": doc }));
        out["interaction"] = list.collect();
    }
    if interactions.contains_key(&Interaction::Update) {
        out["versioning"] = "versioned-update".into();
        out["readHistory"] = interactions.contains_key(&Interaction::Vread).into();
        out["updateCreate"] = false.into();
        out["conditionalUpdate"] = true.into();
        out["conditionalRead"] = "full-support".into();
    }
    if interactions.contains_key(&Interaction::Create) && interactions.contains_key(&Interaction::Update) {
        // Where a type is only created, such as Consent, that is an act and not a record.
        out["conditionalCreate"] = true.into();
    }
    if interactions.contains_key(&Interaction::Delete) {
        out["conditionalDelete"] = "single".into();
    }
    if interactions.contains_key(&Interaction::SearchType) {
        search(&mut out, name, references);
    }
    if !operations.is_empty() {
        out["operation"] = operations.into();
    }
    Some(out)
}

/// Declares by what a type is found, and what comes along.
fn search(out: &mut Value, name: &str, references: &[(&str, &Param)]) {
    let declared = |param: &&Param| json!({ "name": param.code, "type": kind(param.kind), "definition": param.url });
    if let Some((_, codes)) = MADE.iter().find(|(made, _)| *made == name) {
        out["searchParam"] = codes.iter().filter_map(|code| param(name, code)).map(|p| declared(&p)).collect();
        return;
    }
    out["searchParam"] = params(name).iter().map(declared).collect();
    let text = |(of, param): &(&str, &Param)| Value::from(format!("{of}:{}", param.code));
    let mut includes: Vec<Value> = references.iter().filter(|(of, _)| *of == name).map(text).collect();
    if !includes.is_empty() {
        includes.insert(0, "*".into());
        out["searchInclude"] = includes.into();
    }
    let leads_here = |(_, param): &&(&str, &Param)| param.targets.is_empty() || param.targets.contains(&name);
    out["searchRevInclude"] = references.iter().filter(leads_here).map(text).collect();
}

/// R4's name of how a parameter is compared.
const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Number => "number",
        Kind::Date => "date",
        Kind::String => "string",
        Kind::Token => "token",
        Kind::Reference => "reference",
        Kind::Composite => "composite",
        Kind::Quantity => "quantity",
        Kind::Uri => "uri",
        Kind::Special => "special",
    }
}

fn operations<'a>(rows: impl Iterator<Item = &'a RouteRow>) -> Vec<Value> {
    let named: BTreeMap<&str, &str> = rows.filter_map(|r| Some((r.operation?, r.doc))).collect();
    let definition = |(name, doc): (&str, &str)| {
        let name = name.trim_start_matches('$');
        json!({
            "name": name,
            "definition": format!("https://vouchsafe.example/OperationDefinition/{name}"),
            "documentation": doc,
        })
    };
    named.into_iter().map(definition).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: &[RouteRow] = &[
        RouteRow {
            method: Method::Get,
            path: "/{type}/{id}",
            interaction: Interaction::Read,
            types: TypeSet::AllBut(&["Binary"]),
            operation: None,
            permission: Permission::Reads,
            doc: "reads the current version",
        },
        RouteRow {
            method: Method::Post,
            path: "/",
            interaction: Interaction::Bundle,
            types: TypeSet::System,
            operation: None,
            permission: Permission::WritesOwn,
            doc: "all or nothing",
        },
        RouteRow {
            method: Method::Get,
            path: "/{type}",
            interaction: Interaction::SearchType,
            types: TypeSet::Only(&["Observation"]),
            operation: None,
            permission: Permission::Reads,
            doc: "searches",
        },
        RouteRow {
            method: Method::Post,
            path: "/Consent/{id}/$approve",
            interaction: Interaction::Operation,
            types: TypeSet::Only(&["Consent"]),
            operation: Some("$approve"),
            permission: Permission::Patient,
            doc: "approves",
        },
    ];

    #[test]
    fn the_statement_declares_each_row_and_is_valid_r4() {
        let server = Server {
            base: "http://localhost:8080/fhir",
            version: "0.1.0",
            date: "2026-11-22T21:00:00Z",
            organization: "Example Hospital",
        };
        let statement = statement(&server, ROWS);
        vouchsafe_fhir_structure::check("CapabilityStatement", &serde_json::to_vec(&statement).unwrap()).unwrap();
        let resources = statement["rest"][0]["resource"].as_array().unwrap();
        let find = |name: &str| resources.iter().find(|r| r["type"] == name);
        assert!(find("Binary").is_none());
        assert_eq!(find("Patient").unwrap()["interaction"][0]["code"], "read");
        assert_eq!(find("Consent").unwrap()["operation"][0]["name"], "approve");
        let observation = find("Observation").unwrap();
        let date = json!({
            "name": "date", "type": "date", "definition": "http://hl7.org/fhir/SearchParameter/clinical-date",
        });
        assert!(observation["searchParam"].as_array().unwrap().contains(&date), "{observation}");
        let includes = |name: &str, text: &str| observation[name].as_array().unwrap().contains(&json!(text));
        assert!(includes("searchInclude", "*") && includes("searchInclude", "Observation:subject"));
        assert!(includes("searchRevInclude", "Observation:has-member"), "{observation}");
        assert!(!includes("searchRevInclude", "Observation:subject"), "a subject is no Observation");
        assert_eq!(statement["rest"][0]["interaction"][0]["code"], "transaction");
        assert_eq!(statement["rest"][0]["interaction"][1]["code"], "batch");
    }
}
