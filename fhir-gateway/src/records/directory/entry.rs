//! What custodians sign, and how it is judged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use vouchsafe_types::{
    AccountId, Count, Handle, Hash32, Kid, RecordId, b64, jws,
    merkle::MapLeaf,
    state::{Key, KeyRole},
};

use super::DirectoryFault;
use crate::{
    ledger::{Ledger, View},
    seal::{WrappedKey, WrappedToRsa},
};

/// What a custodian says of one version; the payload of a compact JWS by the custodian's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DirectoryEntry {
    /// Who wrote the record.
    pub custodian: AccountId,
    /// The chart.
    pub handle: Handle,
    /// The record.
    pub record: RecordId,
    /// The version, counted from 1.
    pub version: Count,
    /// What is anchored.
    pub commitment: Hash32,
    /// The commitment of the version before.
    pub previous: Option<Hash32>,
    /// The blob's address.
    pub cid: String,
    /// The suite that it is sealed with.
    pub suite: u8,
    /// A `Header` sealed under the data key; base64url.
    pub meta: String,
    /// The data key under the patient's key; none for what belongs to the organisation.
    pub patient_wrap: Option<WrappedKey>,
    /// True when this version says that the record is deleted.
    pub tombstone: bool,
}

impl DirectoryEntry {
    /// The `typ` of its JWS.
    pub const TYP: &'static str = "vouchsafe/directory";
    /// The suite of everything that is sealed now.
    pub const SUITE: u8 = 1;

    /// What the chart's map says when this version is the latest.
    pub const fn leaf(&self) -> MapLeaf {
        MapLeaf { record: self.record, version: self.version, commitment: self.commitment, tombstone: self.tombstone }
    }
}

/// The patient's key of one chart, wrapped to each of the patient's devices; the payload of a compact JWS by the
/// custodian's key. The wraps do not say whose they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyEntry {
    /// The custodian.
    pub custodian: AccountId,
    /// The chart.
    pub handle: Handle,
    /// Raised by every new list of wraps; the highest counts.
    pub seq: Count,
    /// The wraps, in random order.
    pub wraps: Vec<WrappedToRsa>,
}

impl KeyEntry {
    /// The `typ` of its JWS.
    pub const TYP: &'static str = "vouchsafe/directory-key";
}

/// Either kind of what the directory holds, believed because of who signed it.
pub(super) enum Signed {
    Entry(Box<DirectoryEntry>),
    Key(KeyEntry),
}

/// Judges compact JWSs of other custodians; many by one key ask the ledger about it once.
pub(super) struct Judge<'a> {
    ledger: &'a dyn Ledger,
    known: BTreeMap<Kid, Key>,
}

impl<'a> Judge<'a> {
    pub(super) const fn new(ledger: &'a dyn Ledger) -> Self {
        Self { ledger, known: BTreeMap::new() }
    }

    /// The key must be a live device key, on the ledger, of the very organisation that the payload names.
    pub(super) async fn judge(&mut self, text: &str) -> Result<Signed, DirectoryFault> {
        let header = header(text)?;
        let key = match self.known.get(&header.kid) {
            Some(key) => key,
            None => {
                let key = self.key(&header.kid).await?;
                self.known.entry(header.kid).or_insert(key)
            }
        };
        let chain = self.ledger.chain();
        let (signed, named) = match header.typ.as_str() {
            DirectoryEntry::TYP => {
                let entry: DirectoryEntry = open(text, chain, DirectoryEntry::TYP, &key.ed25519)?;
                let custodian = entry.custodian;
                (Signed::Entry(Box::new(entry)), custodian)
            }
            KeyEntry::TYP => {
                let entry: KeyEntry = open(text, chain, KeyEntry::TYP, &key.ed25519)?;
                let custodian = entry.custodian;
                (Signed::Key(entry), custodian)
            }
            other => {
                let other: String = other.chars().take(40).collect();
                return forged(format!("typ {other:?} is none of the directory's"));
            }
        };
        if named != key.account {
            return forged(format!("{} signed an entry of {named}", key.account));
        }
        Ok(signed)
    }

    async fn key(&self, kid: &Kid) -> Result<Key, DirectoryFault> {
        let view = View(self.ledger);
        let Some(key) = view.key(kid).await? else {
            return forged(format!("the ledger knows no key {kid}"));
        };
        if key.role != KeyRole::Device || key.ended.is_some() {
            return forged(format!("key {kid} is an agent's, or was removed"));
        }
        let account = view.account(&key.account).await?;
        if !account.is_some_and(|account| account.role.is_organization()) {
            return forged(format!("{} is not an organisation", key.account));
        }
        Ok(key)
    }
}

fn open<T: Serialize + DeserializeOwned>(
    text: &str,
    chain: &str,
    typ: &str,
    key: &vouchsafe_types::OkpJwk,
) -> Result<T, DirectoryFault> {
    jws::open_statement(text, chain, typ, key).or_else(|e| forged(e.to_string()))
}

/// The header, unchecked, to find the key by.
fn header(text: &str) -> Result<jws::Header, DirectoryFault> {
    text.split('.')
        .next()
        .and_then(b64::decode)
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .map_or_else(|| forged("not a compact JWS with a header of our form"), Ok)
}

/// The payload of a compact JWS that was judged when it was put.
pub(super) fn payload<T: DeserializeOwned>(text: &str) -> Result<T, DirectoryFault> {
    text.split('.')
        .nth(1)
        .and_then(b64::decode)
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or_else(|| DirectoryFault::Contradiction("a stored entry is not of its form".into()))
}

pub(super) fn forged<T>(what: impl Into<String>) -> Result<T, DirectoryFault> {
    Err(DirectoryFault::Forged(what.into()))
}
