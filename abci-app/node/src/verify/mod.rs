//! Checks what the ledger is said to hold, trusting nothing but a genesis digest.
//!
//! Pure: no clock, no network, no store. A proof that says anything which the check does not cover is refused, so that
//! no bit of a proof can be changed unnoticed.

mod light;
mod validators;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ics23::{CommitmentProof, HostFunctionsManager, commitment_proof::Proof};
use prost_ics23::Message as _;
use serde_json::Value;
use tendermint::block::signed_header::SignedHeader;
use vouchsafe_types::{Hash32, Rejection, TimeMs, b64, genesis::Genesis};

pub use light::{Checkpoint, LightClient, LightError, Options};
pub use validators::{read_validators, write_validators};

use crate::{NodeError, comet::Chain, proof::LedgerProof};
use validators::{check_whole, time_of};

/// Why a proof, or a genesis document, does not convince.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The genesis document's digest is not the one trusted.
    #[error("the genesis document's digest is {got}, trusted is {trusted}")]
    OtherDigest {
        /// The digest trusted.
        trusted: Hash32,
        /// The document's.
        got: Hash32,
    },
    /// The genesis document does not hold by itself.
    #[error("the genesis document: {0}")]
    Genesis(Rejection),
    /// A part of the proof is not of its form, or says more than is checked.
    #[error("{part} is not of its form: {why}")]
    Malformed {
        /// Which member.
        part: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The header is of another chain.
    #[error("the header is of chain {got}, trusted is {trusted}")]
    OtherChain {
        /// The trusted chain's id.
        trusted: String,
        /// The header's.
        got: String,
    },
    /// The header is not that of the height after the state's.
    #[error("the header is at height {got}, the state at {height} needs the next")]
    OtherHeight {
        /// The state's height.
        height: u64,
        /// The header's.
        got: u64,
    },
    /// The validators listed are not those that the genesis document and the changes since lead to.
    #[error("the validators are not those that the genesis document and the changes since lead to")]
    OtherValidators,
    /// A change of the validators does not hold.
    #[error("the change of the validators at height {height}: {why}")]
    Changes {
        /// The height of its header.
        height: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// The header is not committed by those validators.
    #[error("the header is not committed: {0}")]
    NotCommitted(String),
    /// The Merkle proof does not lead from the key and value to the header's root.
    #[error("the Merkle proof does not hold: {0}")]
    BadProof(String),
}

/// What is trusted: a chain and its validators, taken from a genesis document with the digest that a person trusts.
#[derive(Clone, Debug)]
pub struct Trust {
    chain: Chain,
}

impl Trust {
    /// Trusts the genesis document when its digest is `digest` and its founders signed it.
    ///
    /// # Errors
    /// `OtherDigest`, `Genesis`, `Malformed`.
    pub fn new(genesis: &Genesis, digest: Hash32) -> Result<Self, VerifyError> {
        let got = genesis.body.digest();
        if got != digest {
            return Err(VerifyError::OtherDigest { trusted: digest, got });
        }
        genesis.check().map_err(VerifyError::Genesis)?;
        let of_form = |e: NodeError| malformed("the genesis document", e);
        let chain = Chain::new(genesis).map_err(of_form)?;
        Ok(Self { chain })
    }

    /// The id of the chain trusted.
    pub fn chain_id(&self) -> &str {
        self.chain.id().as_str()
    }
}

/// What a proof proved. It can be made only here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedValue {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    height: u64,
    time: TimeMs,
}

impl VerifiedValue {
    /// The key.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The value under it; `None` when nothing is.
    pub fn value(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }

    /// The height of the state.
    pub const fn height(&self) -> u64 {
        self.height
    }

    /// The time of the header that carries the root: the state was as proved when that block was made.
    pub const fn time(&self) -> TimeMs {
        self.time
    }
}

/// Checks a proof.
///
/// # Errors
/// A `VerifyError` that names what does not hold.
pub fn verify_proof(proof: &LedgerProof, trust: &Trust) -> Result<VerifiedValue, VerifyError> {
    let (validators, changed) = validators::follow(&proof.changes, trust)?;
    if validators::read_exactly(&proof.validators)?.hash() != validators.hash() {
        return Err(VerifyError::OtherValidators);
    }
    let signed = read_header(&proof.signed_header)?;
    check_whole(&signed, trust.chain.id(), &validators)?;
    let got = signed.header.height.value();
    if proof.height.checked_add(1) != Some(got) {
        return Err(VerifyError::OtherHeight { height: proof.height, got });
    }
    if got <= changed {
        return Err(VerifyError::Changes { height: changed, why: "it is after the header that is proved" });
    }
    let value = match &proof.value {
        None => None,
        Some(text) => Some(b64::decode(text).ok_or_else(|| malformed("value", "not canonical base64url"))?),
    };
    verify_merkle(proof, value.as_deref(), signed.header.app_hash.as_bytes())?;
    let time = time_of(&signed)?;
    Ok(VerifiedValue { key: proof.key.as_bytes().to_vec(), value, height: proof.height, time })
}

/// Reads CometBFT's `SignedHeader`, whoever wrote it. What it says is not checked.
///
/// # Errors
/// `Malformed`.
pub fn read_signed_header(json: Value) -> Result<SignedHeader, VerifyError> {
    for row in json["commit"]["signatures"].as_array().into_iter().flatten() {
        check_base64("signed_header", &row["signature"])?;
    }
    serde_json::from_value(json).map_err(|e| malformed("signed_header", e))
}

/// That a text, where there is one, is base64. The reader of the tendermint crates panics at padding where none may be, such as
/// `AAAA=`.
fn check_base64(part: &'static str, json: &Value) -> Result<(), VerifyError> {
    json.as_str().map_or(Ok(()), |text| STANDARD.decode(text).map(drop).map_err(|e| malformed(part, e)))
}

/// Reads a header with its commit, written exactly as CometBFT writes it.
fn read_header(json: &Value) -> Result<SignedHeader, VerifyError> {
    let signed = read_signed_header(json.clone())?;
    // Members that the reader skips, and texts that it reads as the same value, are covered by no signature.
    if serde_json::to_value(&signed).ok().as_ref() != Some(json) {
        return Err(malformed("signed_header", "it is not written as CometBFT writes it"));
    }
    Ok(signed)
}

/// Checks that a header is committed by the validators of the genesis document, of which an embedded chain has no others.
pub(crate) fn check_committed(signed: &SignedHeader, trust: &Trust) -> Result<(), VerifyError> {
    validators::check_committed(signed, trust.chain.id(), trust.chain.validators())
}

fn verify_merkle(proof: &LedgerProof, value: Option<&[u8]>, root: &[u8]) -> Result<(), VerifyError> {
    let bytes = b64::decode(&proof.ics23).ok_or_else(|| malformed("ics23", "not canonical base64url"))?;
    let merkle = CommitmentProof::decode(bytes.as_slice()).map_err(|e| malformed("ics23", e))?;
    // Protobuf has many texts for one message, and unknown fields that a reader skips; only one text is taken.
    if merkle.encode_to_vec() != bytes {
        return Err(malformed("ics23", "not the canonical text of its message"));
    }
    let (spec, key) = (jmt::ics23_spec(), proof.key.as_bytes());
    let root = &root.to_vec();
    let holds = match (&merkle.proof, value) {
        (Some(Proof::Exist(_)), Some(value)) => {
            ics23::verify_membership::<HostFunctionsManager>(&merkle, &spec, root, key, value)
        }
        // ICS-23 does not compare the key that a proof of absence names with the one asked for.
        (Some(Proof::Nonexist(absent)), None) => {
            absent.key == key && ics23::verify_non_membership::<HostFunctionsManager>(&merkle, &spec, root, key)
        }
        _ => return Err(malformed("ics23", "not the kind of proof that the value needs")),
    };
    if holds { Ok(()) } else { Err(VerifyError::BadProof(format!("key {:?}", proof.key))) }
}

fn malformed(part: &'static str, why: impl std::fmt::Display) -> VerifyError {
    VerifyError::Malformed { part, why: why.to_string() }
}
