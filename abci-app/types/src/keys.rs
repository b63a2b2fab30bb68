//! The keys of the Merkle state, all in one place. Each is text, so that a proof can be read by a person.

use crate::{
    ids::{AccountId, CredentialId, Handle, RequestId, SessionId},
    jwk::Kid,
};

/// `params`: the parameters (`state::Params` as JSON).
pub const PARAMS: &[u8] = b"params";
/// `genesis`: the digest of the genesis document, 32 bytes in base64url.
pub const GENESIS: &[u8] = b"genesis";

/// `account/{account}` → `state::Account`.
pub fn account(id: &AccountId) -> Vec<u8> {
    format!("account/{id}").into_bytes()
}

/// `key/{kid}` → `state::Key`.
pub fn key(kid: &Kid) -> Vec<u8> {
    format!("key/{kid}").into_bytes()
}

/// `credential/{subject}/{credential}` → `state::Credential`.
pub fn credential(subject: &AccountId, id: &CredentialId) -> Vec<u8> {
    format!("credential/{subject}/{id}").into_bytes()
}

/// `affiliation/{doctor}/{organization}` → `state::Affiliation`.
pub fn affiliation(doctor: &AccountId, organization: &AccountId) -> Vec<u8> {
    format!("affiliation/{doctor}/{organization}").into_bytes()
}

/// `endpoint/{organization}` → `state::Endpoint`.
pub fn endpoint(organization: &AccountId) -> Vec<u8> {
    format!("endpoint/{organization}").into_bytes()
}

/// `request/{request}` → `state::Request`.
pub fn request(id: &RequestId) -> Vec<u8> {
    format!("request/{id}").into_bytes()
}

/// `session/{session}` → `state::Session`.
pub fn session(id: &SessionId) -> Vec<u8> {
    format!("session/{id}").into_bytes()
}

/// `head/{custodian}/{handle}` → `state::Head`.
pub fn head(custodian: &AccountId, handle: &Handle) -> Vec<u8> {
    format!("head/{custodian}/{handle}").into_bytes()
}

/// `audit/{organization}` → `state::AuditHead`.
pub fn audit(organization: &AccountId) -> Vec<u8> {
    format!("audit/{organization}").into_bytes()
}

/// `nonces/{minute}` → `state::NonceMinute`.
pub fn nonces(minute: u64) -> Vec<u8> {
    format!("nonces/{minute}").into_bytes()
}
