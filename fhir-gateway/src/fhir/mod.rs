//! FHIR R4 as pure functions: bytes, trees, tables and resources in, the same out.
//!
//! **Architecture invariant:** nothing here does I/O, reads a clock or knows who is asking. What a caller may see is
//! decided in `policy`; what is stored is decided in `records`.

pub mod audit;
pub mod bundle;
pub mod capability;
pub mod category;
pub mod compartment;
pub mod consent;
pub mod date;
#[cfg(test)]
mod fuzz;
pub mod json;
pub mod json_path;
pub mod outcome;
pub mod provenance;

use serde::{Deserialize, Serialize};

/// The addresses of what Vouchsafe defines; `schemas/fhir` publishes their definitions.
pub mod systems {
    /// The category of a record, as a label and in a Consent.
    pub const CATEGORY: &str = "https://vouchsafe.example/CodeSystem/category";
    /// Names of the ledger's rejections.
    pub const REJECTION: &str = "https://vouchsafe.example/CodeSystem/rejection";
    /// The identifier by which an account of the ledger is found.
    pub const ACCOUNT: &str = "https://vouchsafe.example/sid/account";
    /// Identifiers of requests and grants.
    pub const REQUEST: &str = "https://vouchsafe.example/sid/request";
    /// Identifiers of sessions.
    pub const SESSION: &str = "https://vouchsafe.example/sid/session";
    /// Identifiers of anchored commitments.
    pub const ANCHOR: &str = "https://vouchsafe.example/sid/anchor";
    /// Where a foreign record comes from; an extension of `meta`.
    pub const SOURCE_EXTENSION: &str = "https://vouchsafe.example/StructureDefinition/source-organization";
    /// Until when a request may be answered; an extension of Consent.
    pub const ANSWER_BY: &str = "https://vouchsafe.example/StructureDefinition/answer-by";
    /// How long a session may last; an extension of Consent.
    pub const SESSION_DURATION: &str = "https://vouchsafe.example/StructureDefinition/session-duration";
    /// What the ledger says of a consent; an extension of Consent.
    pub const LEDGER_STATE: &str = "https://vouchsafe.example/StructureDefinition/ledger-state";
    /// Whether a grant stays until revoked; an extension of Consent.
    pub const STANDING: &str = "https://vouchsafe.example/StructureDefinition/standing";
    /// Why access is asked for, in the asker's words; an extension of Consent.
    pub const REASON: &str = "https://vouchsafe.example/StructureDefinition/reason";
}

/// A code of a code system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coding {
    /// The code system.
    pub system: String,
    /// The code.
    pub code: String,
    /// Its meaning for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display: Option<String>,
}

impl Coding {
    /// A coding without a display.
    pub fn new(system: impl Into<String>, code: impl Into<String>) -> Self {
        Self { system: system.into(), code: code.into(), display: None }
    }

    /// As FHIR writes it.
    pub fn to_json(&self) -> serde_json::Value {
        let mut out = serde_json::json!({ "system": self.system, "code": self.code });
        if let Some(display) = &self.display {
            out["display"] = display.as_str().into();
        }
        out
    }
}

/// What is wrong with a resource or a request: an HTTP status, the place, and the fact. It never quotes a value that
/// could be health data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{expression}: {what}")]
pub struct Fault {
    /// The HTTP status that it is answered with.
    pub status: u16,
    /// The element as a FHIRPath, or the name of the parameter.
    pub expression: String,
    /// What is wrong.
    pub what: String,
}

impl Fault {
    /// A fault of content that was understood: 422.
    pub fn invalid(expression: impl Into<String>, what: impl Into<String>) -> Self {
        Self { status: 422, expression: expression.into(), what: what.into() }
    }

    /// A fault of a request that cannot be understood: 400.
    pub fn malformed(expression: impl Into<String>, what: impl Into<String>) -> Self {
        Self { status: 400, expression: expression.into(), what: what.into() }
    }
}
