//! Other custodians' records as a session shows them: verified against the ledger, under local ids, references
//! rewritten, the source named.

use serde_json::{Map, Value, json};
use vouchsafe_types::{AccountId, Hash32, RecordId, TimeMs};
use zeroize::Zeroizing;

use super::{Live, manifest::ManifestRow};
use crate::{
    fhir::{
        category::Category,
        compartment::Reference,
        date::instant,
        json::{Splice, rewrite_references, splice},
        systems,
    },
    gateway::Gateway,
    http::Fault,
    peers::FetchFault,
    policy::Permit,
    seal::{Aad, record},
};

/// One foreign resource as it is served.
pub struct Foreign {
    /// Its type.
    pub resource_type: String,
    /// Its local id.
    pub id: String,
    /// Its version at the custodian.
    pub version: u64,
    /// When the custodian wrote that version.
    pub last_updated: TimeMs,
    /// The bytes to serve.
    pub bytes: Vec<u8>,
}

impl Foreign {
    /// How an AuditEvent names it.
    pub(super) fn reference(&self) -> String {
        format!("{}/{}/_history/{}", self.resource_type, self.id, self.version)
    }
}

/// Why a foreign record is not shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotShown {
    /// Something is not what the ledger and the custodian say. Never served, always audited.
    Integrity(String),
    /// A peer or the ledger is away.
    Later(String),
    /// There is a newer version, whose key has not come: it may be outside of what was granted.
    Superseded,
    /// It was deleted.
    Deleted,
}

impl NotShown {
    /// True when the reason is none of consent's: then a search says that something is missing.
    pub(super) const fn is_told(&self) -> bool {
        matches!(self, Self::Integrity(_) | Self::Later(_))
    }
}

impl From<FetchFault> for NotShown {
    fn from(fault: FetchFault) -> Self {
        match fault {
            FetchFault::Spoiled => Self::Integrity("the blob does not have its hash".to_owned()),
            FetchFault::Away => Self::Later("the blob's holder does not answer".to_owned()),
        }
    }
}

impl From<NotShown> for Fault {
    fn from(fault: NotShown) -> Self {
        match fault {
            NotShown::Integrity(_) => {
                Self::new(502, "security", "the record is not what its custodian anchored; it is not served")
                    .code("integrity")
            }
            NotShown::Later(why) => Self::unavailable(format!("the record cannot be opened now: {why}")),
            NotShown::Superseded => {
                Self::unavailable("the record cannot be opened now: the key of the latest version has not come")
            }
            NotShown::Deleted => Self::new(410, "deleted", "the record was deleted").code("deleted"),
        }
    }
}

/// The id under which a custodian's record is shown here: keyed, so that it tells nothing and is the same each time.
pub fn local_id(gw: &Gateway, custodian: &AccountId, record: &RecordId) -> String {
    let mut name = custodian.0.to_vec();
    name.extend(record.0);
    let blind = gw.db.blind("foreign-id", &name);
    let mut id = String::from("f");
    id.push_str(&hex::encode(blind)[..31]);
    id
}

/// Opens a row, whose leaf under the ledger's head says that this commitment is its latest. That blob and predecessor are
/// the ones that were anchored shows in the commitment, recomputed over both.
pub(super) fn open_row(
    gw: &Gateway,
    live: &Live,
    permit: &Permit,
    (custodian, row): (AccountId, &ManifestRow),
    anchored: &Hash32,
    blob: &[u8],
) -> Result<Zeroizing<Vec<u8>>, NotShown> {
    let Some(key) = live.data_key(&custodian, row) else {
        return Err(if live.is_over() {
            NotShown::Later("the session is over".to_owned())
        } else {
            NotShown::Integrity("the data key is not wrapped under the grant's key".to_owned())
        });
    };
    let aad = Aad {
        chain: &gw.chain,
        custodian,
        handle: row.handle,
        record: row.record,
        resource_type: &row.resource_type,
        version: row.version.0,
    };
    record::open(permit, &key, &aad, row.previous, anchored, blob).map_err(|e| NotShown::Integrity(e.to_string()))
}

/// How a record of one custodian reads here.
pub(super) struct Dress<'a> {
    /// The id under which a record of this custodian is shown here.
    pub(super) id_of: &'a dyn Fn(&RecordId) -> String,
    pub(super) custodian: AccountId,
    pub(super) row: &'a ManifestRow,
    /// The id by which the custodian's resources name the patient.
    pub(super) theirs: Option<&'a str>,
    /// The id by which the patient is named here.
    pub(super) ours: Option<&'a str>,
    /// Its category, as a label; none for what belongs to the organisation.
    pub(super) label: Option<Category>,
}

impl Dress<'_> {
    /// The bytes to serve.
    pub(super) fn bytes(&self, plain: &[u8]) -> Vec<u8> {
        let rewritten = Zeroizing::new(rewrite_references(plain, &|text| self.rewrite(text)));
        let label = self.label.map(Category::code);
        splice(
            &rewritten,
            &Splice {
                id: &(self.id_of)(&self.row.record),
                version: &self.row.version.to_string(),
                last_updated: &instant(self.row.last_updated),
                labels: label.as_slice(),
                source: Some(&self.source()),
            },
        )
    }

    /// The same as `bytes`, for a resource that is parsed already: for the index, which needs no text.
    pub(super) fn value(&self, value: &mut Value) {
        self.references(value);
        let Value::Object(resource) = value else { return };
        resource.insert("id".to_owned(), (self.id_of)(&self.row.record).into());
        let meta = resource.entry("meta").or_insert_with(|| Value::Object(Map::new()));
        // A meta that is no object stays, as it does when bytes are spliced.
        let Value::Object(meta) = meta else { return };
        meta.insert("versionId".to_owned(), self.row.version.to_string().into());
        meta.insert("lastUpdated".to_owned(), instant(self.row.last_updated).into());
        if let Some(label) = self.label {
            push(meta, "security", json!({ "system": systems::CATEGORY, "code": label.code() }));
        }
        let source = json!({ "url": systems::SOURCE_EXTENSION, "valueReference": { "reference": self.source() } });
        push(meta, "extension", source);
    }

    fn source(&self) -> String {
        format!("Organization/{}", self.custodian)
    }

    /// Every `reference` in a resource; its depth is bounded by what the custodian's gateway accepted.
    fn references(&self, value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.references(item)),
            Value::Object(members) => {
                for (name, member) in members {
                    match member {
                        Value::String(text) if name == "reference" => {
                            if let Some(new) = self.rewrite(text) {
                                *text = new;
                            }
                        }
                        other => self.references(other),
                    }
                }
            }
            _ => {}
        }
    }

    /// A reference of a foreign record, as it reads here.
    fn rewrite(&self, text: &str) -> Option<String> {
        let reference = Reference::parse(text);
        if !reference.is_local() {
            return None;
        }
        let (kind, id) = (reference.resource_type?, reference.id?);
        if kind == "Patient" && self.theirs == Some(id.as_str()) {
            return self.ours.map(|ours| format!("Patient/{ours}"));
        }
        let record: RecordId = id.parse().ok()?;
        let version = text.split_once("/_history/").map(|(_, v)| format!("/_history/{v}")).unwrap_or_default();
        Some(format!("{kind}/{}{version}", (self.id_of)(&record)))
    }
}

fn push(meta: &mut Map<String, Value>, name: &str, one: Value) {
    match meta.entry(name).or_insert_with(|| Value::Array(Vec::new())) {
        Value::Array(all) => all.push(one),
        other => *other = Value::Array(vec![one]),
    }
}

/// Under which id the patient is known here: the chart's that is linked to the account, else the foreign Patient's own.
pub(super) fn local_patient(
    gw: &Gateway,
    linked: Option<&str>,
    custodian: &AccountId,
    theirs: Option<&str>,
) -> Option<String> {
    if let Some(linked) = linked {
        return Some(linked.to_owned());
    }
    let record: RecordId = theirs?.parse().ok()?;
    Some(local_id(gw, custodian, &record))
}

#[cfg(test)]
mod tests {
    use vouchsafe_types::{Count, Handle};

    use super::*;
    use crate::seal::WrappedKey;

    fn row(resource_type: &str) -> ManifestRow {
        ManifestRow {
            handle: Handle([1; 16]),
            record: RecordId([2; 16]),
            version: Count(3),
            resource_type: resource_type.to_owned(),
            last_updated: TimeMs(1_700_000_000_000),
            previous: None,
            cid: String::new(),
            key: WrappedKey::from_bytes([0; 40]),
        }
    }

    /// The index reads what is served: were the two to differ, a search would answer about another resource than it shows.
    #[test]
    fn the_index_reads_what_is_served() {
        let other = RecordId([9; 16]);
        let plain = [
            json!({ "resourceType": "Observation", "subject": { "reference": "Patient/p1" },
                "performer": [{ "reference": format!("Practitioner/{other}/_history/2") }, { "reference": "#c" }],
                "contained": [{ "resourceType": "Device", "id": "c", "patient": { "reference": "Patient/p1" } }],
                "focus": [{ "reference": "http://elsewhere.example/fhir/Patient/p1" }, { "reference": "Patient/p2" }] }),
            json!({ "resourceType": "Patient", "link": [{ "other": { "reference": "Patient/p1" } }],
                "meta": { "security": [{ "code": "R" }], "extension": [{ "url": "x", "valueString": "reference" }],
                    "tag": [{ "code": "t" }], "versionId": "9" } }),
            json!({ "resourceType": "Practitioner", "meta": { "security": [] } }),
        ];
        for (plain, label) in plain.into_iter().zip([Some(Category::Laboratory), Some(Category::Demographics), None]) {
            let row = row(plain["resourceType"].as_str().unwrap());
            let id_of = |record: &RecordId| format!("f{record}");
            let custodian = AccountId([7; 16]);
            let dress = Dress { id_of: &id_of, custodian, row: &row, theirs: Some("p1"), ours: Some("here"), label };
            // As it is stored: without what the server says.
            let stored = crate::fhir::json::sealed_form(plain.to_string().as_bytes());
            let served: Value = serde_json::from_slice(&dress.bytes(&stored)).unwrap();
            let mut indexed: Value = serde_json::from_slice(&stored).unwrap();
            dress.value(&mut indexed);
            assert_eq!(served, indexed);
            assert!(!served.to_string().contains("\"Patient/p1\""), "{served}");
        }
    }
}
