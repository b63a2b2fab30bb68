//! One organisation's gateway: what its parts share, and how it starts and stops.

use std::sync::Arc;

use vouchsafe_types::{AccountId, tx::Role};

use crate::{
    audit::Audit,
    blobs::BlobStore,
    clock::Clock,
    config::Config,
    consents::Consents,
    ledger::Ledger,
    peers::Peers,
    records::{Charts, Directory, Records},
    seal::Keystore,
    sessions::Sessions,
    store::Db,
};

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
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// The organisation's keys.
    pub keystore: Arc<dyn Keystore>,
    /// The gateway's own database.
    pub db: Db,
    /// Sealed blobs.
    pub blobs: Arc<dyn BlobStore>,
    /// The patients' charts.
    pub charts: Charts,
    /// What all custodians say of their records.
    pub directory: Directory,
    /// The own records.
    pub records: Records,
    /// The audit log.
    pub audit: Audit,
    /// The other gateways.
    pub peers: Peers,
    /// Requests and grants.
    pub consents: Consents,
    /// Sessions.
    pub sessions: Sessions,
}

impl Gateway {
    /// The FHIR base address.
    pub fn fhir_base(&self) -> String {
        format!("{}/fhir", self.base)
    }
}
