//! What the ledger says under a key, with everything that a third party needs to check it: see `verify`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A value of the state, or its absence, with the ICS-23 proof and the committed header that carries the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerProof {
    /// The key, as text (`vouchsafe_types::keys`).
    pub key: String,
    /// The value in base64url; none proves absence.
    pub value: Option<String>,
    /// ICS-23 `CommitmentProof`, protobuf, in base64url.
    pub ics23: String,
    /// The height of the state that is proved.
    pub height: u64,
    /// CometBFT's `SignedHeader` of the next height, whose `app_hash` is the root.
    pub signed_header: Value,
    /// CometBFT's list of the validators that signed it; every `proposer_priority` is "0".
    pub validators: Value,
    /// How those validators came to be, from the genesis document on; empty while they are the genesis document's.
    pub changes: Vec<ValidatorChange>,
}

/// A change of the validators: the last header that the set before committed names the set that follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidatorChange {
    /// CometBFT's `SignedHeader`, committed by the set before, whose `next_validators_hash` is that of `validators`.
    pub signed_header: Value,
    /// CometBFT's list of the validators from the next height on; every `proposer_priority` is "0".
    pub validators: Value,
}
