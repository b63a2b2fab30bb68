//! A proof that a wallet, or `vouchsafe verify`, checks without trusting the gateway that gave it.

use serde_json::Value;
use vouchsafe_gateway::proof::{AnyProof, from_parameters, verify_event};
use vouchsafe_node::verify::Trust;
use vouchsafe_types::{Hash32, genesis::Genesis};

use crate::exit::{Context, Kind, Outcome};

/// What was proved.
pub(crate) enum Claim {
    /// A record version is anchored.
    Record {
        /// The height of the ledger's state.
        height: u64,
        /// What was checked, for people and programs.
        said: Value,
    },
    /// An audit entry is in the anchored log.
    AuditEvent {
        /// What was checked.
        said: Value,
    },
}

impl Claim {
    /// What was checked, for people and programs.
    pub(crate) const fn said(&self) -> &Value {
        match self {
            Self::Record { said, .. } | Self::AuditEvent { said } => said,
        }
    }
}

/// Checks a proof against what is trusted already.
pub(crate) fn verify(parameters: &Value, trust: &Trust) -> Outcome<Claim> {
    let (proof, _) = read(parameters)?;
    checked(&proof, trust)
}

/// Checks a proof against the genesis that it carries, when that has the digest given.
pub(crate) fn verify_against(parameters: &Value, digest: Hash32) -> Outcome<Claim> {
    let (proof, genesis) = read(parameters)?;
    let trust = Trust::new(&genesis, digest).doing(Kind::VerificationFailed, || "the genesis".into())?;
    checked(&proof, &trust)
}

fn read(parameters: &Value) -> Outcome<(AnyProof, Genesis)> {
    from_parameters(parameters).doing(Kind::VerificationFailed, || "reading the proof".into())
}

fn checked(proof: &AnyProof, trust: &Trust) -> Outcome<Claim> {
    let failed = || "not verified".to_owned();
    match proof {
        AnyProof::Record(proof) => {
            let verified = proof.verify(trust).doing(Kind::VerificationFailed, failed)?;
            let said = serde_json::to_value(&verified).doing(Kind::Error, failed)?;
            Ok(Claim::Record { height: verified.height(), said })
        }
        AnyProof::Event(proof) => {
            let verified = verify_event(proof, trust).doing(Kind::VerificationFailed, failed)?;
            let said = serde_json::to_value(&verified).doing(Kind::Error, failed)?;
            Ok(Claim::AuditEvent { said })
        }
    }
}

/// A proof that can be kept or passed on without the record's content: its hash is in it.
pub(crate) fn without_content(parameters: &Value) -> Value {
    let mut out = parameters.clone();
    if let Some(list) = out["parameter"].as_array_mut() {
        list.retain(|p| p["name"] != "sealedForm");
    }
    out
}
