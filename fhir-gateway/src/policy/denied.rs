//! A no, with its reason.

use vouchsafe_types::Rejection;

use crate::http::Fault;

/// Why policy says no. The reason never tells whether something exists.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {why}")]
pub struct Denied {
    /// 403, or 404 where even the existence is not to be told.
    pub status: u16,
    /// The stable code.
    pub code: &'static str,
    /// For people.
    pub why: String,
}

impl Denied {
    /// 403.
    pub fn forbidden(code: &'static str, why: impl Into<String>) -> Self {
        Self { status: 403, code, why: why.into() }
    }

    /// 404, the same for what does not exist and what may not be known.
    pub fn hidden() -> Self {
        Self { status: 404, code: "not-found", why: String::new() }
    }
}

impl From<Rejection> for Denied {
    fn from(rejection: Rejection) -> Self {
        Self::forbidden(rejection.code.name(), rejection.facts)
    }
}

impl From<Denied> for Fault {
    fn from(denied: Denied) -> Self {
        if denied.status == 404 { Self::not_found() } else { Self::forbidden(denied.code, denied.why) }
    }
}
