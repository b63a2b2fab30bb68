//! OperationOutcome (<https://hl7.org/fhir/R4/operationoutcome.html>): the body of every error.

use serde::Serialize;
use vouchsafe_fhir_structure::StructureError;
use vouchsafe_types::{Code, Rejection};

use super::{Coding, Fault, json::JsonFault, systems};

/// The media type of every FHIR answer.
pub const FHIR_JSON: &str = "application/fhir+json; charset=utf-8";

/// How bad an issue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing can be answered.
    Fatal,
    /// The request was refused.
    Error,
    /// Answered, but not all is well.
    Warning,
    /// Good to know.
    Information,
}

/// What kind of issue, by R4's required value set issue-type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names and meanings are R4's")]
pub enum IssueType {
    Invalid,
    Structure,
    Required,
    Value,
    Invariant,
    Security,
    Login,
    Unknown,
    Expired,
    Forbidden,
    Suppressed,
    Processing,
    NotSupported,
    Duplicate,
    MultipleMatches,
    NotFound,
    Deleted,
    TooLong,
    CodeInvalid,
    Extension,
    TooCostly,
    BusinessRule,
    Conflict,
    Transient,
    LockError,
    NoStore,
    Exception,
    Timeout,
    Incomplete,
    Throttled,
    Informational,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Details {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    coding: Vec<Coding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

/// One issue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Issue {
    severity: Severity,
    code: IssueType,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diagnostics: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    expression: Vec<String>,
}

impl Issue {
    /// An error of this type.
    pub fn error(code: IssueType) -> Self {
        Self::new(Severity::Error, code)
    }

    /// An issue without details.
    pub fn new(severity: Severity, code: IssueType) -> Self {
        Self { severity, code, details: None, diagnostics: None, expression: Vec::new() }
    }

    /// Says it in words for people.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.details.get_or_insert(Details { coding: Vec::new(), text: None }).text = Some(text.into());
        self
    }

    /// Says it as a code for programs.
    #[must_use]
    pub fn coding(mut self, coding: Coding) -> Self {
        self.details.get_or_insert(Details { coding: Vec::new(), text: None }).coding.push(coding);
        self
    }

    /// Adds facts for those who look for the fault.
    #[must_use]
    pub fn diagnostics(mut self, facts: impl Into<String>) -> Self {
        self.diagnostics = Some(facts.into());
        self
    }

    /// Names the element; an empty name is left out.
    #[must_use]
    pub fn expression(mut self, path: impl Into<String>) -> Self {
        let path = path.into();
        if !path.is_empty() {
            self.expression.push(path);
        }
        self
    }
}

/// An OperationOutcome, never without an issue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OperationOutcome {
    #[serde(rename = "resourceType")]
    resource_type: &'static str,
    issue: Vec<Issue>,
}

impl From<Issue> for OperationOutcome {
    fn from(issue: Issue) -> Self {
        Self { resource_type: "OperationOutcome", issue: vec![issue] }
    }
}

impl OperationOutcome {
    /// One error in words.
    pub fn error(code: IssueType, text: impl Into<String>) -> Self {
        Issue::error(code).text(text).into()
    }

    /// The one answer for every id that does not exist or may not be known to exist.
    pub fn not_found() -> Self {
        Self::error(IssueType::NotFound, "No such resource.")
    }

    /// That a search over other custodians' records shows what the consent allows, whether or not there is more.
    pub fn limited_by_consent() -> Self {
        Issue::new(Severity::Information, IssueType::Suppressed)
            .text("Records of other organisations are limited by consent.")
            .into()
    }

    /// Adds an issue.
    #[must_use]
    pub fn and(mut self, issue: Issue) -> Self {
        self.issue.push(issue);
        self
    }

    /// The body, as `application/fhir+json`.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an outcome is plain data")
    }

    /// As a tree, for a Bundle.
    pub fn to_value(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("an outcome is plain data")
    }
}

/// The answer to a refused transaction: HTTP status and outcome.
pub fn of_rejection(rejection: &Rejection) -> (u16, OperationOutcome) {
    let (status, kind) = status_of(rejection.code);
    let issue = Issue::error(kind)
        .coding(Coding::new(systems::REJECTION, rejection.code.name()))
        .text(format!("The ledger refused this: {}.", rejection.code.name()))
        .diagnostics(rejection.facts.as_str());
    (status, issue.into())
}

/// What is said of something that went well, to who asks for an outcome.
pub fn done(text: &str) -> OperationOutcome {
    Issue::new(Severity::Information, IssueType::Informational).text(text).into()
}

/// Every code by name, so that a new one does not compile before somebody has thought about its status.
fn status_of(code: Code) -> (u16, IssueType) {
    match code {
        Code::Malformed => (400, IssueType::Invalid),
        Code::TooLarge => (413, IssueType::TooLong),
        Code::WrongChain | Code::TooFarAhead | Code::BadAcceptance | Code::BadTimes | Code::BadTags => {
            (422, IssueType::Value)
        }
        Code::WiderThanRequest | Code::BadAnchor => (422, IssueType::BusinessRule),
        Code::UnknownKey | Code::BadSignature | Code::KeyEnded => (403, IssueType::Security),
        Code::NotAllowed
        | Code::OrganizationNotVerified
        | Code::AccountEnded
        | Code::NotVerified
        | Code::Suspended
        | Code::CredentialRevoked
        | Code::CredentialExpired
        | Code::NotAffiliated
        | Code::NoMandate
        | Code::DeviceKeyNeeded
        | Code::NotThePatient
        | Code::NotTheDoctor
        | Code::OwnDoctor
        | Code::NotGranted
        | Code::GrantExpired
        | Code::GrantRevoked
        | Code::GrantSpent
        | Code::SessionNotLive
        | Code::ReadOnly
        | Code::GrantFallen => (403, IssueType::Forbidden),
        Code::Quota => (429, IssueType::Throttled),
        Code::Expired | Code::Lapsed => (409, IssueType::Expired),
        Code::Replayed | Code::AlreadyExists => (409, IssueType::Duplicate),
        Code::BadTransition | Code::NotRequested | Code::StaleHead => (409, IssueType::Conflict),
        Code::NotFound => (404, IssueType::NotFound),
    }
}

/// The answer to bytes that are no acceptable JSON.
pub fn of_json(fault: &JsonFault) -> (u16, OperationOutcome) {
    let issue = Issue::error(IssueType::Structure)
        .text(format!("The body is not acceptable JSON: {}.", fault.what))
        .diagnostics(format!("line {}, column {}", fault.line, fault.column))
        .expression(fault.expression.as_str());
    (400, issue.into())
}

/// The answer to a resource against R4's structure.
pub fn of_structure(error: &StructureError) -> (u16, OperationOutcome) {
    let issue = Issue::error(IssueType::Structure)
        .text("The resource is not of R4's structure.")
        .diagnostics(error.diagnostics.as_str())
        .expression(error.expression.as_str());
    (422, issue.into())
}

/// The answer to a fault found in a resource or a request.
pub fn of_fault(fault: &Fault) -> (u16, OperationOutcome) {
    let kind = match fault.status {
        403 => IssueType::Forbidden,
        405 | 501 => IssueType::NotSupported,
        413 => IssueType::TooLong,
        404 => IssueType::NotFound,
        409 => IssueType::Conflict,
        422 => IssueType::BusinessRule,
        _ => IssueType::Invalid,
    };
    (fault.status, Issue::error(kind).text(fault.what.as_str()).expression(fault.expression.as_str()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rejection_has_a_client_error_and_carries_its_code() {
        for code in Code::ALL {
            let (status, outcome) = of_rejection(&Rejection::new(*code, "facts"));
            assert!((400..500).contains(&status), "{code:?} gave {status}");
            let value = outcome.to_value();
            assert_eq!(value["issue"][0]["details"]["coding"][0]["code"], code.name());
            assert_eq!(value["issue"][0]["details"]["coding"][0]["system"], systems::REJECTION);
            vouchsafe_fhir_structure::check("OperationOutcome", &outcome.to_bytes()).unwrap();
        }
    }

    #[test]
    fn not_found_is_always_the_same_body() {
        assert_eq!(OperationOutcome::not_found().to_bytes(), OperationOutcome::not_found().to_bytes());
        let body = String::from_utf8(OperationOutcome::not_found().to_bytes()).unwrap();
        assert!(body.contains("\"code\":\"not-found\""));
    }

    #[test]
    fn an_outcome_with_everything_is_valid_r4() {
        let outcome: OperationOutcome = Issue::new(Severity::Warning, IssueType::CodeInvalid)
            .coding(Coding::new(systems::REJECTION, "x"))
            .text("words")
            .diagnostics("facts")
            .expression("Patient.birthDate")
            .into();
        let outcome = outcome.and(Issue::error(IssueType::Required));
        vouchsafe_fhir_structure::check("OperationOutcome", &outcome.to_bytes()).unwrap();
    }
}
