//! What is wrong with a search.

/// What kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The parameter, modifier or prefix is none that R4 has for this type, or none that is served: 400 `not-supported`.
    NotSupported,
    /// A value that cannot be read: 400 `invalid`.
    Invalid,
    /// The search would cost more than is allowed: 400 `too-costly`.
    TooCostly,
}

/// What is wrong with a search, and where. It never quotes a value, which could be health data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{parameter}: {what}")]
pub struct Fault {
    /// What kind.
    pub kind: FaultKind,
    /// The parameter as it was given, cut to 64 characters, with its modifier and chain.
    pub parameter: String,
    /// What is wrong with it.
    pub what: String,
}

impl Fault {
    /// A fault at a parameter.
    pub fn new(kind: FaultKind, parameter: &str, what: impl Into<String>) -> Self {
        Self { kind, parameter: parameter.chars().take(64).collect(), what: what.into() }
    }
}
