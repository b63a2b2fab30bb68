//! One organisation's gateway: what its parts share, and how it starts and stops.

use vouchsafe_types::{AccountId, tx::Role};

use crate::{clock::Clock, config::Config};

/// One organisation's gateway. Several may run in one process: nothing of it is global.
pub struct Gateway {
    /// The organisation.
    pub org: AccountId,
    /// What the organisation is.
    pub role: Role,
    /// The ledger's chain.
    pub chain: String,
    /// The base address that others use, without a trailing slash; `/fhir` is below it.
    pub base: String,
    /// The gateway's own clock.
    pub clock: Clock,
    /// The configuration it was started with.
    pub config: Config,
}

impl Gateway {
    /// The FHIR base address.
    pub fn fhir_base(&self) -> String {
        format!("{}/fhir", self.base)
    }
}
