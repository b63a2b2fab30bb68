//! Evidence against validators, as the engine found it: flat rows beside the state, one per offence.
//!
//! What proves it to others is in the block, under the header's `evidence_hash`; the rows let a consortium ask without
//! reading every block, and let a later version of the rules act on it.

use serde::{Deserialize, Serialize};
use vouchsafe_core::StateRead;
use vouchsafe_types::TimeMs;

use super::App;
use crate::NodeError;

/// How many rows one answer has.
const MOST: usize = 10_000;

/// An offence that a block carries evidence of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Misbehaviour {
    /// `duplicate-vote` or `light-client-attack`.
    pub kind: String,
    /// The validator's address, in hexadecimal.
    pub validator: String,
    /// The height of the offence.
    pub height: u64,
    /// The time of the offence.
    pub time: TimeMs,
    /// The validator's power then.
    pub power: u64,
    /// The power of all validators then.
    pub total_power: u64,
}

impl Misbehaviour {
    /// `m/{height}/{validator}/{kind}` → the offence as JSON.
    pub(super) fn row(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        let key = format!("m/{:016x}/{}/{}", self.height, self.validator, self.kind).into_bytes();
        (key, Some(serde_json::to_vec(self).expect("an offence is plain data")))
    }
}

impl App {
    /// The offences that blocks carried evidence of, by their height.
    ///
    /// # Errors
    /// What the store says.
    pub fn misbehaviour(&self) -> Result<Vec<Misbehaviour>, NodeError> {
        let mut view = self.store.view()?;
        let rows = view.scan_flat(b"m/", b"m0", MOST);
        view.failure()?;
        let damaged = |_| NodeError::Damaged { height: 0, what: "an offence is not readable".into() };
        rows.iter().map(|(_, row)| serde_json::from_slice(row).map_err(damaged)).collect()
    }
}
