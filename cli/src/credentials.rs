//! `credentials.json`: enough for any outside program to act as each party of a demo or a testnet.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::exit::{Context, Failure, Kind, Outcome};

/// One party.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Party {
    /// `authority`, `hospital`, `laboratory`, `insurer`, `system`, `doctor`, `patient` or `operator`.
    pub(crate) role: String,
    /// The name by which `keys token --as` takes it.
    pub(crate) name: String,
    /// The organisation it belongs to, by name.
    pub(crate) organization: String,
    /// Its account on the ledger; none for a system client.
    pub(crate) account: Option<String>,
    /// `Patient/…` or `Practitioner/…` on its gateway.
    #[serde(rename = "fhirUser")]
    pub(crate) fhir_user: Option<String>,
    /// Its FHIR base URL.
    pub(crate) base: String,
    /// The client it authenticates as.
    pub(crate) client_id: Option<String>,
    /// Its private keys, as far as it holds them itself.
    pub(crate) jwks: Value,
}

/// The file's name within a home.
pub(crate) const FILE: &str = "credentials.json";

/// Reads a home's parties.
pub(crate) fn read(home: &Path) -> Outcome<Vec<Party>> {
    let path = home.join(FILE);
    let bytes = std::fs::read(&path).map_err(|e| {
        Failure::new(Kind::NotFound, format!("{}: {e}", path.display())).hint("`vouchsafe demo --home DIR` writes it")
    })?;
    serde_json::from_slice(&bytes).doing(Kind::InvalidData, || path.display().to_string())
}

/// Writes a home's parties, readable by its owner alone, because it holds private keys.
pub(crate) fn write(home: &Path, parties: &[Party]) -> Outcome {
    let text = serde_json::to_vec_pretty(parties).doing(Kind::Error, || FILE.into())?;
    crate::wallet::files::write_private(&home.join(FILE), &text)
}
