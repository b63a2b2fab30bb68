//! A patient opens records with the patient's own keys: the gateway gives ciphertext and signed entries, nothing more.

use serde_json::Value;
use vouchsafe_gateway::{
    policy::Permit,
    records::{DirectoryEntry, Header, KeyEntry},
    seal::{
        KeyWrapping,
        keys::PatientKey,
        oaep,
        record::{self, Aad},
    },
};
use vouchsafe_types::b64;

use super::{
    client::{Client, all, parameter, read},
    person::Person,
};
use crate::exit::{Context, Failure, Kind, Outcome};

/// Opens the newest version of every record that a custodian holds in the person's chart (`Patient/…`).
pub(crate) async fn open_own(person: &Person, custodian: &Client, chart: &str) -> Outcome<Vec<Value>> {
    let directory = custodian.get(&format!("{chart}/$directory")).await?.ok("$directory")?;
    let chain = parameter(&directory, "chain").as_str().unwrap_or_default().to_owned();
    let key = patient_key(person, parameter(&directory, "key").as_str().unwrap_or_default())?;
    let mut opened = Vec::new();
    for jws in all(&directory, "entry") {
        let Some(entry) = entry(jws.as_str().unwrap_or_default())?.filter(|e| !e.tombstone) else { continue };
        let blob = read(person.http().get(format!("{}/ipfs/{}?format=raw", custodian.base(), entry.cid))).await?;
        if !blob.status.is_success() {
            return Err(Failure::new(Kind::Unavailable, format!("the blob {}: {}", entry.cid, blob.status)));
        }
        opened.push(open(person, &chain, &key, &entry, &blob.bytes)?);
    }
    Ok(opened)
}

/// One of the wraps is for this person's device; which one, only trying tells.
fn patient_key(person: &Person, text: &str) -> Outcome<PatientKey> {
    let entry: KeyEntry = serde_json::from_str(text).doing(Kind::InvalidData, || "the key entry".into())?;
    entry
        .wraps
        .iter()
        .find_map(|wrap| oaep::unwrap_with::<PatientKey>(person.keys().rsa(), wrap).ok())
        .ok_or_else(|| Failure::new(Kind::Error, "the patient key is not wrapped to this device"))
}

/// The payload of a directory entry; none for what else a custodian signs. What it says is believed only as far as the
/// commitment shows it when it is opened.
fn entry(jws: &str) -> Outcome<Option<DirectoryEntry>> {
    let mut segments = jws.split('.').map(b64::decode);
    let (Some(Some(header)), Some(Some(payload))) = (segments.next(), segments.next()) else {
        return Err(Failure::new(Kind::InvalidData, "a directory entry is not a compact JWS"));
    };
    let header: Value = serde_json::from_slice(&header).doing(Kind::InvalidData, || "a directory entry".into())?;
    if header["typ"] != DirectoryEntry::TYP {
        return Ok(None);
    }
    serde_json::from_slice(&payload).map(Some).doing(Kind::InvalidData, || "a directory entry".into())
}

fn open(person: &Person, chain: &str, key: &PatientKey, entry: &DirectoryEntry, blob: &[u8]) -> Outcome<Value> {
    let failed = || format!("record {} of {}", entry.record, entry.custodian);
    let wrap = entry.patient_wrap.as_ref().ok_or_else(|| Failure::new(Kind::InvalidData, failed()))?;
    let data = key.unwrap(wrap).doing(Kind::VerificationFailed, failed)?;
    let aad = Aad {
        chain,
        custodian: entry.custodian,
        handle: entry.handle,
        record: entry.record,
        resource_type: Header::TYPE,
        version: entry.version.0,
    };
    let meta = b64::decode(&entry.meta).ok_or_else(|| Failure::new(Kind::InvalidData, failed()))?;
    let header = record::open_meta(&data, &aad, &meta).doing(Kind::VerificationFailed, failed)?;
    let header: Header = serde_json::from_slice(&header).doing(Kind::InvalidData, failed)?;
    let aad = Aad { resource_type: &header.resource_type, ..aad };
    let permit = Permit::of_device(person.keys());
    let plain = record::open(&permit, &data, &aad, entry.previous, &entry.commitment, blob)
        .doing(Kind::VerificationFailed, failed)?;
    serde_json::from_slice(&plain).doing(Kind::InvalidData, failed)
}
