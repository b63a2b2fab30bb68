//! How a command ends: one error type, whose kinds are the exit codes that scripts rely on.

use std::{fmt, process::ExitCode};

/// Why a command failed; the kind is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Anything that has no code of its own.
    Error = 1,
    /// The command line or the configuration is not right.
    Usage = 2,
    /// What was named does not exist.
    NotFound = 3,
    /// A server does not let the caller in.
    Denied = 4,
    /// What is there is in the way.
    Conflict = 5,
    /// Something read is not of its form.
    InvalidData = 6,
    /// A port, a server or a disk is not available.
    Unavailable = 7,
    /// A proof does not hold.
    VerificationFailed = 8,
    /// Ended by the user.
    Interrupted = 130,
}

/// A failure with what happened and, where there is one, what to do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    what: String,
    hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says where it happened, and keeps the kind and the hint: the exit code does not depend on how deep it was.
    pub(crate) fn during(mut self, place: &str) -> Self {
        self.what = format!("{place}: {}", self.what);
        self
    }

    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(self.kind as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        self.hint.as_ref().map_or(Ok(()), |h| write!(f, "\n  hint: {h}"))
    }
}

impl std::error::Error for Failure {}

/// What a command gives back.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Turns any error into a failure of a kind, with what was being done.
pub(crate) trait Context<T> {
    /// Says what was being done when it failed.
    fn doing(self, kind: Kind, what: impl FnOnce() -> String) -> Outcome<T>;
}

impl<T, E: fmt::Display> Context<T> for Result<T, E> {
    fn doing(self, kind: Kind, what: impl FnOnce() -> String) -> Outcome<T> {
        self.map_err(|e| Failure::new(kind, format!("{}: {e}", what())))
    }
}
