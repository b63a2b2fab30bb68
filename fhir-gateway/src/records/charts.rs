//! Charts: one for each Patient resource, and one for what belongs to the organisation itself.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vouchsafe_types::{AccountId, Handle, RecordId};

use super::WriteError;

/// A patient's chart at this custodian, or the organisation's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chart {
    /// The Patient resource's id; of the organisation's own chart, a random one.
    pub id: RecordId,
    /// The chart's random name outside.
    pub handle: Handle,
    /// The patient's account, once the patient has linked it.
    pub account: Option<AccountId>,
    /// True when the account is custodial.
    pub custodial: bool,
}

/// All charts of this custodian, with their keys. Cheap to clone.
#[derive(Clone)]
pub struct Charts {
    inner: Arc<Inner>,
}

struct Inner {}

const NOT_BUILT: &str = "not built yet";

impl Charts {
    /// The chart with this id.
    pub fn by_id(&self, id: &RecordId) -> Option<Chart> {
        let _ = (&self.inner, id);
        None
    }

    /// The charts that an account is linked with.
    pub fn by_account(&self, account: &AccountId) -> Vec<Chart> {
        let _ = account;
        Vec::new()
    }

    /// The chart with this handle.
    pub fn by_handle(&self, handle: &Handle) -> Option<Chart> {
        let _ = handle;
        None
    }

    /// The chart of what belongs to the organisation itself.
    pub fn organization_chart(&self) -> Chart {
        Chart { id: RecordId([0; 16]), handle: Handle([0; 16]), account: None, custodial: false }
    }

    /// Opens a chart for a new Patient resource, with keys of its own.
    ///
    /// # Errors
    /// When the database cannot write.
    pub async fn open_chart(&self, id: RecordId) -> Result<Chart, WriteError> {
        let _ = id;
        Err(WriteError::Unavailable(NOT_BUILT.into()))
    }

    /// Links a chart to an account, by the patient's word, which the caller has checked: from now on the patient's
    /// devices open the chart's records.
    ///
    /// # Errors
    /// When there is no such chart or account, or the ledger or the database is away.
    pub async fn link(&self, chart: &RecordId, account: AccountId) -> Result<Chart, WriteError> {
        let _ = (chart, account);
        Err(WriteError::Unavailable(NOT_BUILT.into()))
    }

    /// Ends a link.
    ///
    /// # Errors
    /// When there is no such chart, or the database is away.
    pub async fn unlink(&self, chart: &RecordId) -> Result<Chart, WriteError> {
        let _ = chart;
        Err(WriteError::Unavailable(NOT_BUILT.into()))
    }

    /// Wraps the patient keys of all charts of an account to the devices that it has now: for whoever hears that a
    /// device was added or removed.
    ///
    /// # Errors
    /// When the ledger or the database is away.
    pub async fn rewrap(&self, account: &AccountId) -> Result<(), WriteError> {
        let _ = account;
        Err(WriteError::Unavailable(NOT_BUILT.into()))
    }
}
