//! The maps of charts in memory, built from entries when first needed, and bounded: what was used longest ago is let go of,
//! and is built again when somebody needs it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use vouchsafe_types::{
    AccountId, Handle, Hash32, RecordId,
    merkle::{MapLeaf, RecordMap},
};

pub(super) type ChartKey = (AccountId, Handle);

/// So many leaves are kept, at about 75 bytes each.
const MOST: usize = 1_500_000;

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

struct Used {
    map: ChartMap,
    /// When it was used last.
    at: u64,
}

#[derive(Default)]
struct Known {
    maps: HashMap<ChartKey, Used>,
    /// How many leaves there are in them.
    held: usize,
    clock: u64,
}

/// Maps of charts, by chart.
pub(super) struct Maps {
    known: Mutex<Known>,
    /// How many leaves are kept.
    most: usize,
}

impl Default for Maps {
    fn default() -> Self {
        Self { known: Mutex::default(), most: MOST }
    }
}

impl Maps {
    pub(super) fn get(&self, chart: &ChartKey) -> Option<ChartMap> {
        self.lock().used(chart).cloned()
    }

    /// What the map of a chart says of a record, without building what is not there.
    pub(super) fn told(&self, chart: &ChartKey, record: &RecordId) -> Option<Told> {
        let mut known = self.lock();
        let map = &known.used(chart)?.committed;
        Some(Told { root: map.root(), leaf: map.get(record).cloned() })
    }

    /// The root of a chart's map and the one that the anchor under way makes of it, when the map is in memory.
    pub(super) fn roots(&self, chart: &ChartKey) -> Option<(Hash32, Option<Hash32>)> {
        let known = self.lock();
        let map = &known.maps.get(chart)?.map;
        Some((map.committed.root(), map.pending.as_ref().map(RecordMap::root)))
    }

    /// Keeps what was built, unless somebody was faster.
    pub(super) fn keep(&self, chart: ChartKey, built: ChartMap) -> ChartMap {
        let mut known = self.lock();
        if let Some(faster) = known.used(&chart) {
            return faster.clone();
        }
        known.set(chart, built.clone(), self.most);
        built
    }

    /// Forgets what was built, so that it is built anew; not while an anchor is under way, of which only memory knows.
    pub(super) fn forget(&self, chart: &ChartKey) {
        let mut known = self.lock();
        if known.maps.get(chart).is_some_and(|used| used.map.pending.is_none()) {
            known.remove(chart);
        }
    }

    /// Changes a map that was built; does nothing to one that was not, which will be built from the entries.
    pub(super) fn change(&self, chart: &ChartKey, change: impl FnOnce(&mut ChartMap)) {
        let mut known = self.lock();
        let Some(map) = known.used(chart) else { return };
        let mut map = map.clone();
        change(&mut map);
        known.set(*chart, map, self.most);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn used(&mut self, chart: &ChartKey) -> Option<&ChartMap> {
        self.clock += 1;
        let used = self.maps.get_mut(chart)?;
        used.at = self.clock;
        Some(&used.map)
    }

    fn set(&mut self, chart: ChartKey, map: ChartMap, most: usize) {
        self.remove(&chart);
        self.clock += 1;
        self.held += map.committed.len();
        self.maps.insert(chart, Used { map, at: self.clock });
        if self.held > most {
            self.shrink(most);
        }
    }

    fn remove(&mut self, chart: &ChartKey) {
        if let Some(used) = self.maps.remove(chart) {
            self.held -= used.map.committed.len();
        }
    }

    /// Lets go of what was used longest ago, down to three quarters of what is allowed, so that it is seldom done. What an
    /// anchor under way needs stays, and so does the chart used last.
    fn shrink(&mut self, most: usize) {
        let idle = self.maps.iter().filter(|(_, used)| used.map.pending.is_none());
        let mut oldest: Vec<(u64, ChartKey)> = idle.map(|(key, used)| (used.at, *key)).collect();
        oldest.sort_unstable_by_key(|(at, _)| *at);
        oldest.pop();
        for (_, chart) in oldest {
            if self.held <= most / 4 * 3 {
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

    fn maps(most: usize) -> Maps {
        Maps { known: Mutex::default(), most }
    }

    #[test]
    fn maps_stay_bounded_and_the_oldest_go_first() {
        let maps = maps(100);
        for n in 0..20 {
            maps.keep(chart(n), map(n, 30));
            // The first is used again and again, so it stays.
            assert!(maps.get(&chart(0)).is_some());
            assert!(maps.lock().held <= 100);
        }
        assert!(maps.told(&chart(17), &RecordId([3; 16])).is_none());
        let told = maps.told(&chart(19), &RecordId([3; 16])).unwrap();
        assert_eq!(told.root, map(19, 30).committed.root());
        assert_eq!(told.leaf.unwrap().commitment, Hash32([19; 32]));
        assert!(maps.told(&chart(19), &RecordId([99; 16])).unwrap().leaf.is_none());
    }

    #[test]
    fn a_map_is_changed_if_it_was_built() {
        let maps = maps(100);
        maps.keep(chart(0), map(0, 30));
        for n in [0, 1] {
            maps.change(&chart(n), |m| m.committed = map(9, 3).committed);
        }
        assert_eq!(maps.get(&chart(0)).unwrap().committed.len(), 3);
        assert!(maps.get(&chart(1)).is_none());
        assert_eq!(maps.lock().held, 3);
    }

    #[test]
    fn what_an_anchor_under_way_needs_stays() {
        let maps = maps(50);
        maps.keep(chart(0), map(0, 30));
        maps.change(&chart(0), |m| m.pending = Some(map(0, 31).committed));
        for n in 1..9 {
            maps.keep(chart(n), map(n, 30));
        }
        assert!(maps.get(&chart(0)).unwrap().pending.is_some());
    }
}
