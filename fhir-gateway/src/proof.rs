//! What `$proof` answers, and how a third party checks it against the ledger without trusting any gateway.
//!
//! Both are here, beside each other, so that what is written and what is checked cannot drift apart.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use vouchsafe_node::{
    proof::LedgerProof,
    verify::{Trust, VerifyError, verify_proof},
};
use vouchsafe_types::{
    Hash32, TimeMs, b64,
    genesis::Genesis,
    keys,
    merkle::{MapProof, log},
    state::{AuditHead, Head},
};

use crate::{
    audit::{AuditEntry, AuditProof},
    records::{DirectoryEntry, LaterVersion, ProofParts},
    seal::record,
};

/// Why a proof does not hold; the text says which part.
#[derive(Debug, thiserror::Error)]
pub enum ProofFault {
    /// A part is missing or not of its form.
    #[error("the proof's {part} is not of its form: {why}")]
    Form {
        /// The parameter.
        part: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Two parts contradict each other.
    #[error("{0}")]
    Contradiction(&'static str),
    /// The ledger's part does not hold.
    #[error("the ledger's proof does not hold: {0}")]
    Ledger(#[from] VerifyError),
}

/// The proof of one record version. It has no Debug, because it holds the record's content.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordProof {
    /// The exact bytes that were sealed, in base64url. Without them only the hash is proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_form: Option<String>,
    /// What reading splices into the sealed form.
    pub splice: Splice,
    /// SHA-256 of the sealed form.
    pub plaintext_hash: Hash32,
    /// SHA-256 of the blob.
    pub ciphertext_hash: Hash32,
    /// The blob's address.
    pub cid: String,
    /// The key of the commitment, in base64url; it opens nothing.
    pub commitment_key: String,
    /// The custodian's entry of this version.
    pub entry: DirectoryEntry,
    /// The versions after it, the next first; none for the latest. Each one's commitment is over the one before.
    pub later: Vec<LaterVersion>,
    /// The way from the record's leaf to the chart's root.
    pub map_proof: MapProof,
    /// The head that the ledger holds.
    pub head: Head,
    /// The ledger's proof of the head.
    pub ledger: LedgerProof,
}

/// What a server adds to the sealed form when it serves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Splice {
    /// The resource's id.
    pub id: String,
    /// `meta.versionId`.
    pub version_id: String,
    /// `meta.lastUpdated`.
    pub last_updated: String,
}

/// What was proved of a record version. It can be made only by checking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedRecord {
    custodian: String,
    record: String,
    version: u64,
    latest: bool,
    content_checked: bool,
    height: u64,
    time: TimeMs,
}

impl VerifiedRecord {
    /// The height of the ledger's state that it was proved against.
    pub const fn height(&self) -> u64 {
        self.height
    }
}

impl RecordProof {
    /// From what the record store gives.
    ///
    /// # Errors
    /// `Form` when the ledger's part is not of its form.
    pub fn new(parts: ProofParts, splice: Splice) -> Result<Self, ProofFault> {
        Ok(Self {
            sealed_form: Some(b64::encode(&*parts.sealed_form)),
            splice,
            plaintext_hash: parts.plaintext_hash,
            ciphertext_hash: parts.ciphertext_hash,
            cid: parts.entry.cid.clone(),
            commitment_key: b64::encode(parts.commitment_key),
            entry: parts.entry,
            later: parts.later,
            map_proof: parts.map_proof,
            head: parts.head,
            ledger: of_value("ledger", parts.ledger)?,
        })
    }

    /// Checks every part, from the content to the validators' signatures.
    ///
    /// # Errors
    /// A `ProofFault` that names the part that does not hold.
    pub fn verify(&self, trust: &Trust) -> Result<VerifiedRecord, ProofFault> {
        let value = verify_proof(&self.ledger, trust)?;
        let entry = &self.entry;
        check(value.key() == keys::head(&entry.custodian, &entry.handle), "the ledger's proof is of another chart")?;
        let head = value.value().and_then(Head::from_bytes);
        check(head.as_ref() == Some(&self.head), "the head is not the one that the ledger holds")?;
        let leaf = self.map_proof.verify(&self.head.root, &entry.record).flatten();
        let Some(leaf) = leaf else {
            return Err(ProofFault::Contradiction("the record is not in the chart's map under the ledger's head"));
        };
        self.check_content()?;
        let newest = self.later.last().map_or((entry.version, entry.commitment), |l| (l.version, l.commitment));
        check(newest == (leaf.version, leaf.commitment), "the latest version is not the one in the chart's map")?;
        let agrees = !self.later.is_empty() || entry.tombstone == leaf.tombstone;
        check(agrees, "the entry says of a tombstone what the chart's map does not")?;
        self.check_later()?;
        Ok(VerifiedRecord {
            custodian: entry.custodian.to_string(),
            record: entry.record.to_string(),
            version: entry.version.0,
            latest: self.later.is_empty(),
            content_checked: self.sealed_form.is_some(),
            height: value.height(),
            time: value.time(),
        })
    }

    /// Each later version's commitment is over the one before, back to the version that is proved.
    fn check_later(&self) -> Result<(), ProofFault> {
        let mut before = (self.entry.version.0, self.entry.commitment);
        for later in &self.later {
            let commitment = record::commitment(
                &later.commitment_key.0,
                &self.entry.record,
                later.version.0,
                Some(&before.1),
                &later.plaintext_hash,
                &later.ciphertext_hash,
            );
            let follows = later.version.0 == before.0 + 1 && commitment == later.commitment;
            check(follows, "the later versions do not follow each other")?;
            before = (later.version.0, later.commitment);
        }
        Ok(())
    }

    /// The commitment is of this content, blob, version and predecessor.
    fn check_content(&self) -> Result<(), ProofFault> {
        if let Some(text) = &self.sealed_form {
            let bytes = b64::decode(text).ok_or_else(|| form("sealedForm", "not base64url"))?;
            let hash = Hash32(Sha256::digest(bytes).into());
            check(hash == self.plaintext_hash, "the content is not what was sealed")?;
        }
        let of_blob = crate::blobs::cid_of_digest(&self.ciphertext_hash.0).to_string();
        check(self.cid == of_blob && self.entry.cid == of_blob, "the blob's address is not that of its hash")?;
        check(self.splice.version_id == self.entry.version.to_string(), "the version shown is another")?;
        check(self.splice.id == self.entry.record.to_string(), "the id shown is another record's")?;
        let key: [u8; 32] = b64::decode_array(&self.commitment_key)
            .ok_or_else(|| form("commitmentKey", "not 32 bytes of base64url"))?;
        let entry = &self.entry;
        let commitment = record::commitment(
            &key,
            &entry.record,
            entry.version.0,
            entry.previous.as_ref(),
            &self.plaintext_hash,
            &self.ciphertext_hash,
        );
        check(commitment == entry.commitment, "the commitment is of another content, blob, version or predecessor")
    }
}

/// An audit entry's proof was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedEvent {
    organization: String,
    id: String,
    index: u64,
    height: u64,
    time: TimeMs,
}

/// Checks that an audit entry is in the log whose root the ledger holds.
///
/// # Errors
/// A `ProofFault` that names the part that does not hold.
pub fn verify_event(proof: &AuditProof, trust: &Trust) -> Result<VerifiedEvent, ProofFault> {
    let ledger: LedgerProof = of_value("ledger", proof.ledger.clone())?;
    let value = verify_proof(&ledger, trust)?;
    let head = value.value().and_then(AuditHead::from_bytes);
    check(head.as_ref() == Some(&proof.head), "the audit head is not the one that the ledger holds")?;
    let organization = std::str::from_utf8(value.key()).ok().and_then(|k| k.strip_prefix("audit/"));
    let Some(organization) = organization else {
        return Err(ProofFault::Contradiction("the ledger's proof is not of an audit log"));
    };
    let bytes = b64::decode(&proof.entry).ok_or_else(|| form("entry", "not base64url"))?;
    let leaf = log::leaf_hash(&bytes);
    let held = log::verify_inclusion(&leaf, proof.index.0, proof.head.count.0, &proof.path, &proof.head.root);
    check(held, "the entry is not in the log under the ledger's root")?;
    let entry: AuditEntry = serde_json::from_slice(&bytes).map_err(|e| form("entry", &e.to_string()))?;
    check(entry.index == proof.index, "the entry is of another place in the log")?;
    Ok(VerifiedEvent {
        organization: organization.to_owned(),
        id: entry.id.to_string(),
        index: proof.index.0,
        height: value.height(),
        time: value.time(),
    })
}

/// A proof as FHIR carries it: one parameter for each part, whose value is a string, or JSON as a string. With the
/// genesis, because `verify` is told only its digest.
pub fn to_parameters<T: Serialize>(proof: &T, genesis: &Genesis) -> Value {
    let mut members = serde_json::to_value(proof).unwrap_or_default();
    members["genesis"] = serde_json::to_value(genesis).unwrap_or_default();
    let parameter: Vec<Value> = members
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            json!({ "name": name, "valueString": text })
        })
        .collect();
    json!({ "resourceType": "Parameters", "parameter": parameter })
}

/// What a Parameters resource of `to_parameters` proves.
pub enum AnyProof {
    /// A record version.
    Record(Box<RecordProof>),
    /// An audit entry.
    Event(Box<AuditProof>),
}

/// Reads a Parameters resource of `to_parameters`, and the genesis that came with it.
///
/// # Errors
/// `Form`.
pub fn from_parameters(parameters: &Value) -> Result<(AnyProof, Genesis), ProofFault> {
    let list = parameters["parameter"].as_array().ok_or_else(|| form("parameter", "there is none"))?;
    let mut members = serde_json::Map::new();
    for parameter in list {
        let (Some(name), Some(text)) = (parameter["name"].as_str(), parameter["valueString"].as_str()) else {
            return Err(form("parameter", "each has a name and a valueString"));
        };
        // Objects and lists travel as JSON in a string; what begins otherwise is the string itself.
        let structured = text.starts_with(['{', '[']) || text == "null";
        let value = if structured { parsed("parameter", text)? } else { Value::from(text) };
        let value = if name == "index" { parsed("index", text)? } else { value };
        if members.insert(name.to_owned(), value).is_some() {
            return Err(form("parameter", "a name comes twice"));
        }
    }
    let genesis = members.remove("genesis").ok_or_else(|| form("genesis", "missing"))?;
    let genesis = of_value("genesis", genesis)?;
    let is_event = members.contains_key("path");
    let whole = Value::Object(members);
    let proof = if is_event {
        AnyProof::Event(Box::new(of_value("audit entry", whole)?))
    } else {
        AnyProof::Record(Box::new(of_value("record", whole)?))
    };
    Ok((proof, genesis))
}

fn parsed(part: &'static str, text: &str) -> Result<Value, ProofFault> {
    serde_json::from_str(text).map_err(|e| form(part, &e.to_string()))
}

fn of_value<T: DeserializeOwned>(part: &'static str, value: Value) -> Result<T, ProofFault> {
    serde_json::from_value(value).map_err(|e| form(part, &e.to_string()))
}

fn form(part: &'static str, why: &str) -> ProofFault {
    ProofFault::Form { part, why: why.to_owned() }
}

fn check(holds: bool, otherwise: &'static str) -> Result<(), ProofFault> {
    if holds { Ok(()) } else { Err(ProofFault::Contradiction(otherwise)) }
}
