//! Whether a session is live, by the machine's own function: what the gateways enforce cannot drift from what the
//! validators judge.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use vouchsafe_core::{StateRead, session_standing};
use vouchsafe_types::{Code, Rejection, SessionId, state::Session};

use super::{Ledger, LedgerError, View, now};
use crate::clock::Clock;

/// Why a session gives no access now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotLive {
    /// By the machine's rules it is not live, or there is none.
    #[error("{0}")]
    Refused(#[from] Rejection),
    /// The ledger cannot be asked; then nobody may assume that it is live.
    #[error("{0}")]
    Ledger(#[from] LedgerError),
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
    let Some(session) = View(ledger).session(id).await? else {
        return Ok(Code::NotFound.refuse(format!("there is no session {id}"))?);
    };
    let mut rows = Rows::default();
    loop {
        // The time is taken anew each round, so that waiting for the ledger prolongs nothing.
        let verdict = session_standing(&rows, &session, now(ledger, clock));
        let missing = rows.missing.take();
        if missing.is_empty() {
            return Ok(verdict.map(|()| session)?);
        }
        for key in missing {
            let value = ledger.get(&key).await?;
            rows.known.insert(key, value);
        }
    }
}

/// The rows that a pure function of the machine asked for. It is run again until it asks for no row that is not here.
///
/// The rows may come from blocks that follow each other. That makes nothing live that is not: a session is live only while
/// every generation equals the one it stored, and generations never fall, so what matches at its reading matched at the
/// first one too.
#[derive(Default)]
struct Rows {
    known: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    missing: RefCell<BTreeSet<Vec<u8>>>,
}

impl StateRead for Rows {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        if let Some(value) = self.known.get(key) {
            return value.clone();
        }
        self.missing.borrow_mut().insert(key.to_vec());
        None
    }

    fn get_flat(&self, _: &[u8]) -> Option<Vec<u8>> {
        // Flat rows are admission's: nonces, quotas, deadlines. No standing depends on them.
        None
    }

    fn scan_flat(&self, _: &[u8], _: &[u8], _: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        Vec::new()
    }
}
