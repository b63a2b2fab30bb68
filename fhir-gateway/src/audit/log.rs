//! The log in memory: which slots are out, which entries wait for the disk, the hashes of all.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use vouchsafe_types::{Count, Hash32, TimeMs};

use super::{
    AuditEntry, NewEntry, Recorded,
    tables::{Slots, Waiting},
};

/// How far the mark runs ahead of what is used: at least, at most.
const WINDOW: (u64, u64) = (16, 8_192);

pub(super) struct Log {
    /// The hash of every entry.
    leaves: Arc<Vec<Hash32>>,
    /// Entries that are not on the disk yet, by index.
    waiting: BTreeMap<u64, Arc<Waiting>>,
    /// The next slot to give out.
    next: u64,
    /// Slots given out that have no entry.
    out: BTreeSet<u64>,
    /// The next slot, as it was when the log was written last.
    before: u64,
    /// How far the mark was ahead when it was set last.
    window: u64,
}

impl Log {
    pub(super) fn new(leaves: Vec<Hash32>, next: u64) -> Self {
        Self {
            leaves: Arc::new(leaves),
            waiting: BTreeMap::new(),
            next,
            out: BTreeSet::new(),
            before: next,
            window: WINDOW.0,
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// The hashes of all entries, shared.
    pub(super) fn leaves(&self) -> Arc<Vec<Hash32>> {
        Arc::clone(&self.leaves)
    }

    /// Gives out a slot below the mark, if there is one; says whether the mark should be raised.
    pub(super) fn give(&mut self, mark: u64) -> (Option<u64>, bool) {
        let left = mark.saturating_sub(self.next);
        if left == 0 {
            return (None, true);
        }
        let number = self.next;
        self.next += 1;
        self.out.insert(number);
        (Some(number), left <= self.window / 2)
    }

    pub(super) fn release(&mut self, slot: u64) {
        self.out.remove(&slot);
    }

    /// Appends an entry for a slot, or for several from this one on.
    pub(super) fn append(&mut self, slot: u64, slots: u64, at: TimeMs, new: NewEntry) -> Recorded {
        let NewEntry { id, event, chart, account, session, caller } = new;
        let index = self.count();
        let entry = AuditEntry {
            index: Count(index),
            slot: Count(slot),
            slots: Count(slots),
            id,
            at,
            chart,
            account,
            session,
            caller,
            event,
        };
        let bytes = entry.bytes();
        let leaf = vouchsafe_types::merkle::log::leaf_hash(&bytes);
        Arc::make_mut(&mut self.leaves).push(leaf);
        self.out.remove(&slot);
        self.waiting.insert(index, Arc::new(Waiting { entry, bytes, leaf }));
        Recorded { id, index, leaf }
    }

    /// What waits for the disk, and which slots are out and where the mark is to be. At the end the mark falls back to what
    /// was given out.
    pub(super) fn for_disk(&mut self, mark: u64, end: bool) -> (Vec<Arc<Waiting>>, Slots) {
        let used = self.next - self.before;
        self.before = self.next;
        self.window = (used * 2).clamp(WINDOW.0, WINDOW.1);
        // The mark never falls while slots below it may be given out.
        let mark = if end { self.next } else { mark.max(self.next + self.window) };
        let slots = Slots { next: self.next, mark, out: self.out.iter().copied().collect() };
        (self.waiting(), slots)
    }

    /// What is not on the disk yet, in its order.
    pub(super) fn waiting(&self) -> Vec<Arc<Waiting>> {
        self.waiting.values().cloned().collect()
    }

    /// Forgets what is on the disk now: every entry below `count`.
    pub(super) fn written(&mut self, count: u64) {
        self.waiting = self.waiting.split_off(&count);
    }
}
