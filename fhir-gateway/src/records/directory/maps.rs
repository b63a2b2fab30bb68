//! The maps of charts in memory, built from entries when first needed, and bounded: a map that was not used lately keeps
//! its leaves and its root only, from which it is built again when somebody needs more.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use vouchsafe_types::{
    AccountId, Handle, Hash32, RecordId,
    merkle::{MapLeaf, RecordMap},
};

pub(super) type ChartKey = (AccountId, Handle);

/// So many leaves are kept with all the hashes above them, at about 230 bytes each.
const WHOLE: usize = 150_000;
/// So many are kept without, at about 65 bytes each. Charts beyond are built from their entries again.
const BARE: usize = 1_500_000;

/// What is known of one chart. A `RecordMap` shares its nodes, so copies cost nothing.
#[derive(Clone, Default)]
pub(super) struct ChartMap {
    /// As the entries in the directory say.
    pub(super) committed: RecordMap,
    /// As the anchor that is under way will make it: between its commit and the entries' arrival in the directory, this is
    /// what the ledger's head says.
    pub(super) pending: Option<RecordMap>,
}

/// What a chart's map says of one record, and under which root it says so.
pub(super) struct Told {
    pub(super) root: Hash32,
    pub(super) leaf: Option<MapLeaf>,
}

/// The leaves of a map, in the order of their records, and the root that was computed over them.
struct Bare {
    root: Hash32,
    leaves: Box<[MapLeaf]>,
}

impl Bare {
    fn of(map: &RecordMap) -> Self {
        let mut leaves: Box<[MapLeaf]> = map.iter().cloned().collect();
        leaves.sort_unstable_by_key(|leaf| leaf.record);
        Self { root: map.root(), leaves }
    }

    fn told(&self, record: &RecordId) -> Told {
        let at = self.leaves.binary_search_by_key(record, |leaf| leaf.record);
        Told { root: self.root, leaf: at.ok().map(|at| self.leaves[at].clone()) }
    }

    fn whole(self) -> ChartMap {
        ChartMap { committed: self.leaves.into_vec().into_iter().collect(), pending: None }
    }
}

/// Something and when it was used last.
struct Used<T> {
    what: T,
    at: u64,
}

#[derive(Default)]
struct Known {
    whole: HashMap<ChartKey, Used<ChartMap>>,
    bare: HashMap<ChartKey, Used<Bare>>,
    /// Leaves in `whole`, and in `bare`.
    held: (usize, usize),
    clock: u64,
}

/// Maps of charts, by chart.
pub(super) struct Maps {
    known: Mutex<Known>,
    /// How many leaves are kept whole, and how many bare.
    most: (usize, usize),
}

impl Default for Maps {
    fn default() -> Self {
        Self { known: Mutex::default(), most: (WHOLE, BARE) }
    }
}

impl Maps {
    pub(super) fn get(&self, chart: &ChartKey) -> Option<ChartMap> {
        self.lock().whole(chart, self.most).cloned()
    }

    /// What the map of a chart says of a record, without building what is not there.
    pub(super) fn told(&self, chart: &ChartKey, record: &RecordId) -> Option<Told> {
        let mut known = self.lock();
        known.clock += 1;
        let now = known.clock;
        if let Some(used) = known.whole.get_mut(chart) {
            used.at = now;
            let map = &used.what.committed;
            return Some(Told { root: map.root(), leaf: map.get(record).cloned() });
        }
        let used = known.bare.get_mut(chart)?;
        used.at = now;
        Some(used.what.told(record))
    }

    /// Keeps what was built, unless somebody was faster.
    pub(super) fn keep(&self, chart: ChartKey, built: ChartMap) -> ChartMap {
        let mut known = self.lock();
        if let Some(faster) = known.whole(&chart, self.most) {
            return faster.clone();
        }
        known.set(chart, built.clone(), self.most);
        built
    }

    /// Forgets what was built, so that it is built anew.
    pub(super) fn forget(&self, chart: &ChartKey) {
        self.lock().remove(chart);
    }

    /// Changes a map that was built; does nothing to one that was not, which will be built from the entries.
    pub(super) fn change(&self, chart: &ChartKey, change: impl FnOnce(&mut ChartMap)) {
        let mut known = self.lock();
        let Some(map) = known.whole(chart, self.most) else { return };
        let mut map = map.clone();
        change(&mut map);
        known.set(*chart, map, self.most);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// The whole map, built again from its leaves if only these were kept.
    fn whole(&mut self, chart: &ChartKey, most: (usize, usize)) -> Option<&ChartMap> {
        if let Some(bare) = self.bare.remove(chart) {
            self.held.1 -= bare.what.leaves.len();
            self.set(*chart, bare.what.whole(), most);
        }
        self.clock += 1;
        let now = self.clock;
        let used = self.whole.get_mut(chart)?;
        used.at = now;
        Some(&used.what)
    }

    fn set(&mut self, chart: ChartKey, map: ChartMap, most: (usize, usize)) {
        self.remove(&chart);
        self.clock += 1;
        self.held.0 += map.committed.len();
        self.whole.insert(chart, Used { what: map, at: self.clock });
        if self.held.0 > most.0 {
            self.shrink(most);
        }
    }

    fn remove(&mut self, chart: &ChartKey) {
        if let Some(used) = self.whole.remove(chart) {
            self.held.0 -= used.what.committed.len();
        }
        if let Some(used) = self.bare.remove(chart) {
            self.held.1 -= used.what.leaves.len();
        }
    }

    /// Lets go of the hashes above the leaves of what was used longest ago, down to three quarters of what is allowed, so
    /// that it is seldom done; then of leaves. What an anchor under way needs stays, and so does the chart used last.
    fn shrink(&mut self, most: (usize, usize)) {
        let mut oldest: Vec<(u64, ChartKey)> = self
            .whole
            .iter()
            .filter(|(_, used)| used.what.pending.is_none())
            .map(|(key, used)| (used.at, *key))
            .collect();
        oldest.sort_unstable_by_key(|(at, _)| *at);
        oldest.pop();
        for (at, chart) in oldest {
            if self.held.0 <= most.0 / 4 * 3 {
                break;
            }
            let Some(used) = self.whole.remove(&chart) else { continue };
            self.held.0 -= used.what.committed.len();
            let bare = Bare::of(&used.what.committed);
            self.held.1 += bare.leaves.len();
            self.bare.insert(chart, Used { what: bare, at });
        }
        if self.held.1 <= most.1 {
            return;
        }
        let mut oldest: Vec<(u64, ChartKey)> = self.bare.iter().map(|(key, used)| (used.at, *key)).collect();
        oldest.sort_unstable_by_key(|(at, _)| *at);
        for (_, chart) in oldest {
            if self.held.1 <= most.1 / 4 * 3 {
                break;
            }
            self.remove(&chart);
        }
    }
}

#[cfg(test)]
mod tests {
    use vouchsafe_types::Count;

    use super::*;

    fn chart(n: u8) -> ChartKey {
        (AccountId([1; 16]), Handle([n; 16]))
    }

    fn map(n: u8, leaves: u8) -> ChartMap {
        let leaf =
            |i| MapLeaf { record: RecordId([i; 16]), version: Count(1), commitment: Hash32([n; 32]), tombstone: false };
        ChartMap { committed: (0..leaves).map(leaf).collect(), pending: None }
    }

    fn maps(most: (usize, usize)) -> Maps {
        Maps { known: Mutex::default(), most }
    }

    #[test]
    fn maps_stay_bounded_and_say_the_same_bare_as_whole() {
        let maps = maps((100, 200));
        for n in 0..20 {
            maps.keep(chart(n), map(n, 30));
            let held = maps.lock().held;
            assert!(held.0 <= 100 && held.1 <= 230, "{held:?}");
        }
        // The newest are whole, those before are bare, the oldest are gone.
        assert!(maps.told(&chart(0), &RecordId([3; 16])).is_none());
        for n in 15..20 {
            let told = maps.told(&chart(n), &RecordId([3; 16])).unwrap();
            assert_eq!(told.root, map(n, 30).committed.root());
            assert_eq!(told.leaf.unwrap().commitment, Hash32([n; 32]));
            assert!(maps.told(&chart(n), &RecordId([99; 16])).unwrap().leaf.is_none());
        }
        assert_eq!(maps.get(&chart(15)).unwrap().committed.root(), map(15, 30).committed.root());
    }

    #[test]
    fn a_bare_map_is_changed_as_a_whole_one() {
        let maps = maps((50, 500));
        for n in 0..4 {
            maps.keep(chart(n), map(n, 30));
        }
        assert!(maps.lock().bare.contains_key(&chart(0)));
        maps.change(&chart(0), |m| m.committed = map(9, 3).committed);
        assert_eq!(maps.get(&chart(0)).unwrap().committed.len(), 3);
    }

    #[test]
    fn what_an_anchor_under_way_needs_stays() {
        let maps = maps((50, 500));
        maps.keep(chart(0), map(0, 30));
        maps.change(&chart(0), |m| m.pending = Some(map(0, 31).committed));
        for n in 1..9 {
            maps.keep(chart(n), map(n, 30));
        }
        assert!(maps.get(&chart(0)).unwrap().pending.is_some());
    }
}
