//! What goes wrong in a call: an HTTP status with an OperationOutcome that says where and why.

use std::fmt;

use serde_json::{Value, json};
use vouchsafe_fhir_structure::StructureError;
use vouchsafe_types::Rejection;

use crate::{
    fhir::{
        json::JsonFault,
        outcome::{self, OperationOutcome},
    },
    ledger::{LedgerError, SignError},
    records::WriteError,
    store::StoreError,
};

/// The code system of `Coding.code` in an outcome: the ledger's rejection codes and the gateway's own.
pub const CODE_SYSTEM: &str = "https://vouchsafe.example/CodeSystem/rejection";

/// An answer that is not a success. Every part of the gateway that serves a call ends in one of these or in a reply.
#[derive(Clone, PartialEq)]
pub struct Fault {
    /// The HTTP status.
    pub status: u16,
    /// The OperationOutcome.
    pub outcome: Value,
    /// Seconds after which a retry may succeed.
    pub retry_after: Option<u32>,
}

impl Fault {
    /// A fault with one issue: `issue` is R4's issue-type code, `text` is for people and holds no health data.
    pub fn new(status: u16, issue: &str, text: impl Into<String>) -> Self {
        let outcome = json!({
            "resourceType": "OperationOutcome",
            "issue": [{ "severity": "error", "code": issue, "diagnostics": text.into() }],
        });
        Self { status, outcome, retry_after: None }
    }

    /// Names the element at fault, FHIRPath-like.
    #[must_use]
    pub fn at(mut self, expression: impl Into<String>) -> Self {
        self.outcome["issue"][0]["expression"] = json!([expression.into()]);
        self
    }

    /// Says in what the element at fault stands: a header, an entry of a Bundle. Where no element is named, that is it.
    #[must_use]
    pub fn within(self, whole: &str) -> Self {
        let place = match self.outcome["issue"][0]["expression"][0].as_str() {
            Some(inner) => format!("{whole}.{inner}"),
            None => whole.to_owned(),
        };
        self.at(place)
    }

    /// Names the parameter at fault, as R4 has it of what is in the address: `http.` and its name, never its value.
    #[must_use]
    pub fn at_parameter(self, name: &str) -> Self {
        let shown: String = name.chars().take(64).collect();
        self.at(format!("http.{shown}"))
    }

    /// Gives the stable code that a program may act on.
    #[must_use]
    pub fn code(mut self, code: &str) -> Self {
        let issue = &mut self.outcome["issue"][0];
        issue["details"] = json!({ "coding": [{ "system": CODE_SYSTEM, "code": code }] });
        self
    }

    /// The stable code, when it has one.
    pub fn code_of(&self) -> Option<&str> {
        self.outcome["issue"][0]["details"]["coding"][0]["code"].as_str()
    }

    /// 400: what was sent is not of its form.
    pub fn malformed(text: impl Into<String>) -> Self {
        Self::new(400, "structure", text)
    }

    /// 401: no token, or one that is not valid.
    pub fn unauthenticated(text: impl Into<String>) -> Self {
        Self::new(401, "login", text).code("unauthenticated")
    }

    /// 403 with a stable code.
    pub fn forbidden(code: &str, text: impl Into<String>) -> Self {
        Self::new(403, "forbidden", text).code(code)
    }

    /// 404, with one body for everything: whether an id exists is not told to those who may not read it.
    pub fn not_found() -> Self {
        Self::new(404, "not-found", "no such resource").code("not-found")
    }

    /// 422: understood, and against a rule.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::new(422, "invalid", text)
    }

    /// 503 with Retry-After: something the call depends on is away.
    pub fn unavailable(text: impl Into<String>) -> Self {
        Self { retry_after: Some(3), ..Self::new(503, "transient", text).code("unavailable") }
    }

    /// 500: the fault is ours. The cause goes to the log of whoever makes this, not to the caller.
    pub fn internal(text: impl Into<String>) -> Self {
        Self::new(500, "exception", text).code("internal")
    }

    /// What the ledger refused, by its stable code.
    pub fn rejected(rejection: &Rejection) -> Self {
        let mut fault = Self::of(outcome::of_rejection(rejection));
        if fault.status == 429 {
            fault.retry_after = Some(1);
        }
        fault
    }

    fn of((status, outcome): (u16, OperationOutcome)) -> Self {
        Self { status, outcome: outcome.to_value(), retry_after: None }
    }
}

impl From<&JsonFault> for Fault {
    fn from(fault: &JsonFault) -> Self {
        Self::of(outcome::of_json(fault))
    }
}

impl From<&StructureError> for Fault {
    fn from(error: &StructureError) -> Self {
        Self::of(outcome::of_structure(error))
    }
}

impl From<crate::fhir::Fault> for Fault {
    fn from(fault: crate::fhir::Fault) -> Self {
        Self::of(outcome::of_fault(&fault))
    }
}

impl From<&vouchsafe_fhir_search::Fault> for Fault {
    /// R4 names a parameter of the address in `expression` as `http.` and its name
    /// (<https://hl7.org/fhir/R4/operationoutcome-definitions.html#OperationOutcome.issue.expression>).
    fn from(fault: &vouchsafe_fhir_search::Fault) -> Self {
        use vouchsafe_fhir_search::FaultKind;
        let (issue, code) = match fault.kind {
            FaultKind::NotSupported => ("not-supported", "parameter-not-supported"),
            FaultKind::Invalid => ("invalid", "parameter-invalid"),
            FaultKind::TooCostly => ("too-costly", "too-costly"),
        };
        Self::new(400, issue, fault.what.as_str()).code(code).at_parameter(&fault.parameter)
    }
}

impl From<LedgerError> for Fault {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Rejected(rejection) => Self::rejected(&rejection),
            LedgerError::Busy => Self { retry_after: Some(1), ..Self::unavailable("the ledger is busy") },
            LedgerError::Unavailable(why) => {
                tracing::warn!(why, "the ledger is unavailable");
                Self::unavailable("the ledger is unavailable")
            }
        }
    }
}

impl From<SignError> for Fault {
    fn from(error: SignError) -> Self {
        match error {
            SignError::Ledger(error) => error.into(),
            SignError::Key(error) => {
                tracing::error!(%error, "the keystore did not sign");
                Self::unavailable("the keystore has no usable key for this")
            }
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the gateway's database");
        Self::unavailable("the gateway's database is unavailable")
    }
}

impl From<WriteError> for Fault {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Conflict { have } => {
                Self::new(412, "conflict", format!("the latest version is {have}")).code("version-conflict")
            }
            WriteError::NotFound => Self::not_found(),
            WriteError::NotTheSame => Self::invalid("a record keeps its type and its patient").code("another-chart"),
            WriteError::Deleted => Self::new(410, "deleted", "the record is deleted").code("deleted"),
            WriteError::NotEmpty => {
                Self::new(409, "conflict", "the chart still holds other records").code("chart-not-empty")
            }
            WriteError::Twice => Self::invalid("a record is written once in a transaction").code("twice"),
            WriteError::TooLarge(what) => Self::new(413, "too-costly", what).code("too-large"),
            WriteError::Busy => Self { retry_after: Some(1), ..Self::unavailable("too much waits to be written") },
            WriteError::TooMany => Self {
                retry_after: Some(1),
                ..Self::new(429, "throttled", "too much of this client's waits to be written").code("too-many")
            },
            WriteError::Rejected(rejection) => Self::rejected(&rejection),
            WriteError::Unavailable(why) => {
                tracing::warn!(why, "a record cannot be written now");
                Self::unavailable("the record cannot be written now; nothing was stored")
            }
        }
    }
}

impl From<Rejection> for Fault {
    fn from(rejection: Rejection) -> Self {
        Self::rejected(&rejection)
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fault({}, {})", self.status, self.code_of().unwrap_or("-"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.outcome["issue"][0]["diagnostics"].as_str().unwrap_or_default();
        write!(f, "{} {}: {text}", self.status, self.code_of().unwrap_or("-"))
    }
}

impl std::error::Error for Fault {}
