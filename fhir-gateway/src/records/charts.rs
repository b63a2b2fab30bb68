//! Charts: one for each Patient resource, and one for what belongs to the organisation itself.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use vouchsafe_types::{AccountId, Handle, RecordId, tx::Role};

use super::{Directory, WriteError};
use crate::{
    foundation::Foundation,
    ledger::View,
    seal::{CustodyKey, CustodyRoot, PatientKey, UnwrapError, WrappedKey, oaep},
    store::{StoreError, Table, WriteBatch},
};

/// chart → `Stored`.
const CHARTS: Table = "charts";
/// The custody root's name in the keystore.
const ROOT: &str = "custody";

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

/// A chart with its keys, as it lies in the database.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    chart: Chart,
    /// Under the custody root of the keystore.
    custody: WrappedKey,
    /// Likewise; none for the organisation's own chart.
    patient: Option<WrappedKey>,
}

/// A chart that comes into being with its Patient resource, as it will lie in the database.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Opening(Stored);

impl Opening {
    /// Adds the chart to a batch.
    pub(super) fn write(&self, batch: &mut WriteBatch) {
        batch.put_json(CHARTS, self.0.chart.id.0, &self.0);
    }
}

/// A chart and the keys that open it.
pub(super) struct ChartKeys {
    pub(super) chart: Chart,
    /// Wraps data keys for this custodian.
    pub(super) custody: CustodyKey,
    /// Wraps them for the patient; none for the organisation's own chart.
    pub(super) patient: Option<PatientKey>,
}

/// All charts of this custodian, with their keys. Cheap to clone.
#[derive(Clone)]
pub struct Charts {
    inner: Arc<Inner>,
}

struct Inner {
    ground: Foundation,
    directory: Directory,
    root: CustodyRoot,
    organization: Chart,
    known: RwLock<Known>,
    /// Held while a chart is read, changed and written.
    changing: Mutex<()>,
}

#[derive(Default)]
struct Known {
    by_id: HashMap<RecordId, Stored>,
    by_handle: HashMap<Handle, RecordId>,
}

impl Known {
    fn set(&mut self, stored: Stored) {
        self.by_handle.insert(stored.chart.handle, stored.chart.id);
        self.by_id.insert(stored.chart.id, stored);
    }
}

impl Charts {
    /// Reads the charts; makes the organisation's own at the first start.
    ///
    /// # Errors
    /// When the keystore or the database cannot be read or written.
    pub async fn open(ground: Foundation, directory: Directory) -> Result<Self, WriteError> {
        let root = ground.keystore.custody_root(ROOT).map_err(|e| WriteError::Unavailable(e.to_string()))?;
        let mut known = Known::default();
        for (_, value) in ground.db.scan_prefix(CHARTS, &[])? {
            known.set(crate::store::from_json(CHARTS, &value)?);
        }
        let own = known.by_id.values().find(|stored| stored.patient.is_none()).cloned();
        let own = match own {
            Some(own) => own,
            None => {
                let own = fresh(&root, Foundation::new_id(), false);
                ground.db.put_json(CHARTS, &own.chart.id.0, &own).await?;
                known.set(own.clone());
                own
            }
        };
        let inner = Inner {
            ground,
            directory,
            root,
            organization: own.chart,
            known: RwLock::new(known),
            changing: Mutex::new(()),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    fn known<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(&self.inner.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn stored(&self, id: &RecordId) -> Result<Stored, WriteError> {
        self.known(|known| known.by_id.get(id).cloned()).ok_or(WriteError::NotFound)
    }

    /// The chart with this id.
    pub fn by_id(&self, id: &RecordId) -> Option<Chart> {
        self.known(|known| known.by_id.get(id).map(|stored| stored.chart.clone()))
    }

    /// The charts that an account is linked with.
    pub fn by_account(&self, account: &AccountId) -> Vec<Chart> {
        let of_account = |stored: &&Stored| stored.chart.account.as_ref() == Some(account);
        self.known(|known| known.by_id.values().filter(of_account).map(|stored| stored.chart.clone()).collect())
    }

    /// The chart with this handle.
    pub fn by_handle(&self, handle: &Handle) -> Option<Chart> {
        self.known(|known| known.by_handle.get(handle).and_then(|id| known.by_id.get(id)).map(|s| s.chart.clone()))
    }

    /// The chart of what belongs to the organisation itself.
    pub fn organization_chart(&self) -> Chart {
        self.inner.organization.clone()
    }

    /// A chart for a new Patient resource, with keys of its own. It exists once it is `opened`.
    pub(super) fn fresh(&self, id: RecordId) -> Opening {
        Opening(fresh(&self.inner.root, id, true))
    }

    /// Takes a chart that was written beside its Patient resource. That the database has it is the caller's part.
    pub(super) fn opened(&self, opening: Opening) {
        self.inner.known.write().unwrap_or_else(PoisonError::into_inner).set(opening.0);
    }

    /// All charts.
    pub(crate) fn all(&self) -> Vec<Chart> {
        self.known(|known| known.by_id.values().map(|stored| stored.chart.clone()).collect())
    }

    /// A chart with its keys.
    pub(super) fn keys(&self, id: &RecordId) -> Result<ChartKeys, WriteError> {
        self.unwrapped(&self.stored(id)?)
    }

    /// The same of a chart that does not exist yet.
    pub(super) fn keys_of(&self, opening: &Opening) -> Result<ChartKeys, WriteError> {
        self.unwrapped(&opening.0)
    }

    fn unwrapped(&self, stored: &Stored) -> Result<ChartKeys, WriteError> {
        let unopened = |e: UnwrapError| WriteError::Unavailable(e.to_string());
        let root = &self.inner.root;
        Ok(ChartKeys {
            chart: stored.chart.clone(),
            custody: root.unwrap_at_rest(&stored.custody).map_err(unopened)?,
            patient: stored.patient.map(|wrap| root.unwrap_at_rest(&wrap)).transpose().map_err(unopened)?,
        })
    }

    async fn write(&self, stored: Stored) -> Result<(), StoreError> {
        self.inner.ground.db.put_json(CHARTS, &stored.chart.id.0, &stored).await?;
        self.inner.known.write().unwrap_or_else(PoisonError::into_inner).set(stored);
        Ok(())
    }

    /// Links a chart to an account, by the patient's word, which the caller has checked: from now on the patient's
    /// devices open the chart's records.
    ///
    /// # Errors
    /// `NotFound` when there is no such chart, or no such patient's account; else when the ledger or the database is
    /// away.
    pub async fn link(&self, chart: &RecordId, account: AccountId) -> Result<Chart, WriteError> {
        let found = View(&*self.inner.ground.ledger).account(&account).await?;
        let Some(patient) = found.filter(|a| a.role == Role::Patient) else { return Err(WriteError::NotFound) };
        let chart = self.set_account(chart, Some(account), patient.custodial).await?;
        self.rewrap_chart(&chart, &account).await?;
        Ok(chart)
    }

    /// Ends a link. The keys that the devices were given open what they opened before, and nothing is wrapped to them any
    /// more.
    ///
    /// # Errors
    /// `NotFound` when there is no such chart; else when the database is away.
    pub async fn unlink(&self, chart: &RecordId) -> Result<Chart, WriteError> {
        let chart = self.set_account(chart, None, false).await?;
        self.inner.directory.put_own_key(chart.handle, Vec::new()).await?;
        Ok(chart)
    }

    async fn set_account(
        &self,
        chart: &RecordId,
        account: Option<AccountId>,
        custodial: bool,
    ) -> Result<Chart, WriteError> {
        let _changing = self.inner.changing.lock().await;
        let mut stored = self.stored(chart)?;
        if stored.patient.is_none() {
            // The organisation's own chart belongs to no patient.
            return Err(WriteError::NotFound);
        }
        // Two addresses for one patient may be used at once; the second person does not get the first one's chart.
        if account.is_some() && stored.chart.account.is_some() && stored.chart.account != account {
            return Err(WriteError::NotTheSame);
        }
        stored.chart.account = account;
        stored.chart.custodial = custodial;
        let chart = stored.chart.clone();
        self.write(stored).await?;
        Ok(chart)
    }

    /// Wraps the patient keys of all charts of an account to the devices that it has now: for whoever hears that a
    /// device was added or removed.
    ///
    /// # Errors
    /// When the ledger or the database is away.
    pub async fn rewrap(&self, account: &AccountId) -> Result<(), WriteError> {
        for chart in self.by_account(account) {
            self.rewrap_chart(&chart, account).await?;
        }
        Ok(())
    }

    async fn rewrap_chart(&self, chart: &Chart, account: &AccountId) -> Result<(), WriteError> {
        let Some(key) = self.patient_key(&chart.id)? else { return Ok(()) };
        let mut wraps = Vec::new();
        for (kid, device) in View(&*self.inner.ground.ledger).devices(account).await? {
            match device.rsa.as_ref().map(|rsa| oaep::wrap_to(rsa, &key)) {
                Some(Ok(wrap)) => wraps.push(wrap),
                // Another of the patient's devices may have a usable key; this one opens nothing.
                Some(Err(e)) => tracing::warn!(%kid, "a device gets no key: {e}"),
                None => {}
            }
        }
        Ok(self.inner.directory.put_own_key(chart.handle, wraps).await?)
    }

    /// The key under which this custodian wraps a chart's data keys for itself.
    pub(super) fn custody_key(&self, chart: &RecordId) -> Result<CustodyKey, WriteError> {
        let stored = self.stored(chart)?;
        self.inner.root.unwrap_at_rest(&stored.custody).map_err(|e| WriteError::Unavailable(e.to_string()))
    }

    /// The key under which a chart's data keys are wrapped for the patient; none for the organisation's own chart.
    pub(super) fn patient_key(&self, chart: &RecordId) -> Result<Option<PatientKey>, WriteError> {
        let stored = self.stored(chart)?;
        let open = |wrap| self.inner.root.unwrap_at_rest(&wrap).map_err(|e| WriteError::Unavailable(e.to_string()));
        stored.patient.map(open).transpose()
    }
}

/// A chart with fresh keys and a random handle.
fn fresh(root: &CustodyRoot, id: RecordId, of_patient: bool) -> Stored {
    let handle = Handle(Foundation::new_id().0);
    Stored {
        chart: Chart { id, handle, account: None, custodial: false },
        custody: root.wrap_at_rest(&CustodyKey::generate()),
        patient: of_patient.then(|| root.wrap_at_rest(&PatientKey::generate())),
    }
}
