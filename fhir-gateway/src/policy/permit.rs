//! The permit: the proof, as a type, that policy was asked and said yes.

use std::fmt;

use vouchsafe_types::{RequestId, SessionId};

use crate::seal::device::DeviceKeys;

/// What a permit rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The custodian's own client or staff on the custodian's own record.
    OwnRecord,
    /// A doctor in a live session under a patient's grant.
    Session {
        /// The session.
        session: SessionId,
        /// The grant it was opened under.
        grant: RequestId,
    },
    /// The patient whose record it is.
    Patient,
    /// The custodian's own machinery on its own record, which discloses nothing: indexing, integrity checks.
    Custodian,
}

/// That the opening of records was allowed. Only policy makes one; it cannot be parsed, and opening demands it.
pub struct Permit {
    basis: Basis,
}

impl Permit {
    pub(in crate::policy) const fn new(basis: Basis) -> Self {
        Self { basis }
    }

    /// For whoever holds a device's private keys: a wallet opens its person's own records and asks no gateway.
    pub const fn of_device(_keys: &DeviceKeys) -> Self {
        Self::new(Basis::Patient)
    }

    /// What it rests on.
    pub const fn basis(&self) -> Basis {
        self.basis
    }

    /// A permit for the unit tests of other modules.
    #[cfg(test)]
    pub(crate) const fn for_tests() -> Self {
        Self::new(Basis::Custodian)
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Ids of sessions and grants would link log lines to a patient.
        f.write_str("Permit(..)")
    }
}
