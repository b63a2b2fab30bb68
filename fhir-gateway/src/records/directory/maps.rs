//! The maps of charts in memory, built from entries when first needed.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use vouchsafe_types::{AccountId, Handle, merkle::RecordMap};

pub(super) type ChartKey = (AccountId, Handle);

/// What is known of one chart. A `RecordMap` shares its nodes, so copies cost nothing.
#[derive(Clone, Default)]
pub(super) struct ChartMap {
    /// As the entries in the directory say.
    pub(super) committed: RecordMap,
    /// As the anchor that is under way will make it: between its commit and the entries' arrival in the directory, this is
    /// what the ledger's head says.
    pub(super) pending: Option<RecordMap>,
}

/// Maps of charts, by chart.
#[derive(Default)]
pub(super) struct Maps(Mutex<HashMap<ChartKey, ChartMap>>);

impl Maps {
    pub(super) fn get(&self, chart: &ChartKey) -> Option<ChartMap> {
        self.lock().get(chart).cloned()
    }

    /// Keeps what was built, unless somebody was faster.
    pub(super) fn keep(&self, chart: ChartKey, built: ChartMap) -> ChartMap {
        self.lock().entry(chart).or_insert(built).clone()
    }

    /// Forgets what was built, so that it is built anew.
    pub(super) fn forget(&self, chart: &ChartKey) {
        self.lock().remove(chart);
    }

    /// Changes a map that was built; does nothing to one that was not, which will be built from the entries.
    pub(super) fn change(&self, chart: &ChartKey, change: impl FnOnce(&mut ChartMap)) {
        if let Some(map) = self.lock().get_mut(chart) {
            change(map);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ChartKey, ChartMap>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
