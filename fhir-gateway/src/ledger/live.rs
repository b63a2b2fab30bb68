//! Whether a session is live, by the machine's own rules.

use vouchsafe_types::{Code, Rejection, SessionId, state::Session};

use super::{Ledger, LedgerError};
use crate::clock::Clock;

/// Why a session gives no access now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotLive {
    /// By the machine's rules it is not live, or there is none.
    #[error("{0}")]
    Refused(#[from] Rejection),
    /// The ledger cannot be asked; then nobody may assume that it is live.
    #[error("{0}")]
    Ledger(LedgerError),
}

impl NotLive {
    /// The code, when the machine's rules said so.
    pub const fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(rejection) => Some(rejection.code),
            Self::Ledger(_) => None,
        }
    }
}

/// The session, if it is live at the later of block time and the own clock.
///
/// # Errors
/// `NotLive`, with the machine's code.
pub async fn session_live(ledger: &dyn Ledger, clock: &Clock, id: &SessionId) -> Result<Session, NotLive> {
    let _ = (ledger, clock, id);
    Err(NotLive::Ledger(LedgerError::Unavailable("not built yet".into())))
}
