//! The foreign records of one session as a search sees them.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    hash::{BuildHasher, RandomState},
    ops::ControlFlow,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use vouchsafe_fhir_search::{Facts, Need, Seen, Term, Universe, terms};
use vouchsafe_types::{AccountId, Hash32, RecordId, TimeMs};

use super::{foreign::NotShown, manifest::ManifestRow};
use crate::fhir::category::Category;

/// Where a foreign record is in the order of a session's universe: the order of writing. It names a custodian and a
/// record, so outside of the gateway it is seen sealed only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForeignKey {
    /// When its custodian wrote the version that is shown.
    pub written: TimeMs,
    /// Whose it is.
    pub custodian: AccountId,
    /// Which it is, at its custodian.
    pub record: RecordId,
}

impl std::fmt::Debug for ForeignKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ForeignKey(..)")
    }
}

/// What is known of a record that was opened and verified: health data, so no Debug.
pub(super) struct Doc {
    pub(super) key: ForeignKey,
    pub(super) row: Arc<ManifestRow>,
    /// What was anchored.
    pub(super) commitment: Hash32,
    /// The id under which it is served.
    pub(super) id: String,
    pub(super) facts: Facts,
    pub(super) category: Category,
    /// True for what belongs to the organisation and is known of only because a permitted record refers to it.
    pub(super) referred: bool,
    /// Does the grant's committed detail admit it?
    pub(super) admitted: bool,
    /// The id by which the custodian's resources name the patient.
    pub(super) patient: Option<String>,
    /// The custodian's records that it refers to.
    pub(super) refers: Vec<RecordId>,
}

impl Doc {
    fn seen(&self) -> Seen<'_, ForeignKey> {
        Seen {
            key: &self.key,
            resource_type: &self.row.resource_type,
            id: &self.id,
            last_updated: i64::try_from(self.key.written.0).unwrap_or(i64::MAX),
            facts: self.facts.as_ref(),
        }
    }

    fn place(&self) -> (&str, &ForeignKey) {
        (&self.row.resource_type, &self.key)
    }
}

/// Everything that a session has verified at one moment, whoever asks. What is in it is not yet permitted to anybody.
#[derive(Default)]
pub(super) struct Snapshot {
    /// By type, then by key.
    docs: Vec<Arc<Doc>>,
    by_record: HashMap<(AccountId, RecordId), u32>,
    by_id: HashMap<String, u32>,
    filed: Filed,
    /// What cannot be shown, and why.
    pub(super) faults: BTreeMap<(AccountId, RecordId), NotShown>,
}

impl Snapshot {
    pub(super) fn new(docs: impl Iterator<Item = Arc<Doc>>, faults: BTreeMap<(AccountId, RecordId), NotShown>) -> Self {
        let mut docs: Vec<_> = docs.collect();
        docs.sort_unstable_by(|a, b| a.place().cmp(&b.place()));
        let by_record = docs.iter().zip(0..).map(|(doc, at)| ((doc.key.custodian, doc.key.record), at)).collect();
        let by_id = docs.iter().zip(0..).map(|(doc, at)| (doc.id.clone(), at)).collect();
        Self { docs, by_record, by_id, filed: Filed::default(), faults }
    }

    /// The documents that a caller may know of: those that `may` permits. What belongs to an organisation must be permitted
    /// too, and a permitted record must lead to it.
    pub(super) fn universe(self: &Arc<Self>, may: impl Fn(&Doc) -> bool) -> ForeignUniverse {
        let mut shown = vec![false; self.docs.len()];
        let mut todo = Vec::new();
        for (at, doc) in self.docs.iter().enumerate() {
            if !doc.referred && may(doc) {
                shown[at] = true;
                todo.push(doc);
            }
        }
        while let Some(doc) = todo.pop() {
            for record in &doc.refers {
                let Some(at) = self.by_record.get(&(doc.key.custodian, *record)) else { continue };
                let at = *at as usize;
                let target = &self.docs[at];
                if !shown[at] && target.referred && may(target) {
                    shown[at] = true;
                    todo.push(target);
                }
            }
        }
        let shown = (0..).zip(shown).filter_map(|(at, is)| is.then_some(at)).collect();
        ForeignUniverse { snapshot: Arc::clone(self), shown }
    }

    /// How many records cannot be shown for other reasons than consent.
    pub(super) fn spoiled(&self) -> usize {
        self.faults.values().filter(|fault| fault.is_told()).count()
    }

    /// True when one of them is not what was anchored.
    pub(super) fn is_forged(&self) -> bool {
        self.faults.values().any(|fault| matches!(fault, NotShown::Integrity(_)))
    }
}

/// Which documents have a term, by keyed hashes; two terms of one hash only cost a second look. Most snapshots are searched
/// once or twice and looking at each document takes a microsecond, so it is made for one that is searched more often, as
/// by a chain, which looks at other documents for each that it considers.
#[derive(Default)]
struct Filed {
    scans: AtomicU32,
    hasher: RandomState,
    by_term: OnceLock<HashMap<u64, Vec<u32>>>,
}

/// So many scans look at each document.
const PLAIN_SCANS: u32 = 2;

impl Filed {
    /// The documents that have at least one of the terms of one list of what is needed, the shortest; none when nothing is
    /// needed, or it is not worth it.
    fn with(&self, docs: &[Arc<Doc>], resource_type: &str, need: &Need) -> Option<Vec<u32>> {
        if need.is_empty() || self.scans.fetch_add(1, Ordering::Relaxed) < PLAIN_SCANS {
            return None;
        }
        let by_term = self.by_term.get_or_init(|| self.file(docs));
        let of = |any: &Vec<Term>| -> Vec<u32> {
            let hashes = any.iter().map(|term| self.hash(resource_type, term));
            let mut found: Vec<u32> = hashes.filter_map(|hash| by_term.get(&hash)).flatten().copied().collect();
            found.sort_unstable();
            found.dedup();
            found
        };
        need.iter().map(of).min_by_key(Vec::len)
    }

    fn file(&self, docs: &[Arc<Doc>]) -> HashMap<u64, Vec<u32>> {
        let mut by_term: HashMap<u64, Vec<u32>> = HashMap::new();
        for (at, doc) in (0..).zip(docs) {
            for term in terms(doc.facts.as_ref()) {
                by_term.entry(self.hash(&doc.row.resource_type, &term)).or_default().push(at);
            }
        }
        by_term
    }

    fn hash(&self, resource_type: &str, term: &Term) -> u64 {
        self.hasher.hash_one((resource_type, term))
    }
}

/// The records of other custodians that one caller may know of at one moment, and no other: each was verified against the
/// ledger's head and permitted by policy. Cheap to clone.
#[derive(Clone)]
pub struct ForeignUniverse {
    snapshot: Arc<Snapshot>,
    /// The documents of the snapshot that are in it, ascending.
    shown: Arc<[u32]>,
}

impl ForeignUniverse {
    /// How many records are in it.
    pub fn len(&self) -> usize {
        self.shown.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }

    /// What is known of a record of it.
    pub(super) fn doc(&self, custodian: AccountId, record: RecordId) -> Option<&Arc<Doc>> {
        let at = self.snapshot.by_record.get(&(custodian, record))?;
        self.shown.binary_search(at).ok()?;
        Some(&self.snapshot.docs[*at as usize])
    }

    fn at(&self, at: u32) -> &Arc<Doc> {
        &self.snapshot.docs[at as usize]
    }
}

impl std::fmt::Debug for ForeignUniverse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ForeignUniverse(..)")
    }
}

impl Universe for ForeignUniverse {
    type Key = ForeignKey;
    type Error = Infallible;

    fn scan(
        &self,
        resource_type: &str,
        need: &Need,
        after: Option<&ForeignKey>,
        each: &mut dyn FnMut(Seen<'_, ForeignKey>) -> ControlFlow<()>,
    ) -> Result<(), Infallible> {
        let before = |at: &u32| {
            let doc = self.at(*at);
            match doc.row.resource_type.as_str().cmp(resource_type) {
                std::cmp::Ordering::Equal => after.is_some_and(|after| doc.key <= *after),
                other => other.is_lt(),
            }
        };
        let mut show = |at: &u32| {
            let doc = self.at(*at);
            if doc.row.resource_type == resource_type { each(doc.seen()) } else { ControlFlow::Break(()) }
        };
        // Either way it ends when all are shown or `each` has enough.
        let _ = match self.snapshot.filed.with(&self.snapshot.docs, resource_type, need) {
            Some(found) => {
                let shown = found.iter().filter(|at| self.shown.binary_search(at).is_ok());
                shown.skip_while(|at| before(at)).try_for_each(&mut show)
            }
            None => self.shown[self.shown.partition_point(before)..].iter().try_for_each(&mut show),
        };
        Ok(())
    }

    fn get(&self, resource_type: &str, id: &str, each: &mut dyn FnMut(Seen<'_, ForeignKey>)) -> Result<(), Infallible> {
        let shown = self.snapshot.by_id.get(id).filter(|at| self.shown.binary_search(at).is_ok());
        if let Some(doc) = shown.map(|at| self.at(*at)).filter(|doc| doc.row.resource_type == resource_type) {
            each(doc.seen());
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;
    use vouchsafe_fhir_search::{Context, Handling, Limits, Query, extract, run};
    use vouchsafe_types::{Count, Handle};

    use super::*;
    use crate::seal::WrappedKey;

    const CUSTODIAN: AccountId = AccountId([1; 16]);

    fn record(n: u8) -> RecordId {
        RecordId([n; 16])
    }

    /// A document with this number, which refers to those with these.
    pub(in crate::sessions) fn doc(n: u8, resource_type: &str, referred: bool, refers: &[u8]) -> Arc<Doc> {
        let written = TimeMs(u64::from(n));
        let code = if n.is_multiple_of(2) { "even" } else { "odd" };
        let value = json!({ "resourceType": resource_type, "code": { "coding": [{ "code": code }] } });
        let row = ManifestRow {
            handle: Handle([1; 16]),
            record: record(n),
            version: Count(1),
            resource_type: resource_type.to_owned(),
            last_updated: written,
            previous: None,
            cid: String::new(),
            key: WrappedKey::from_bytes([0; 40]),
        };
        Arc::new(Doc {
            key: ForeignKey { written, custodian: CUSTODIAN, record: record(n) },
            row: Arc::new(row),
            commitment: Hash32([n; 32]),
            id: format!("f{n}"),
            facts: extract(resource_type, &value, "http://here.example/fhir"),
            category: Category::Laboratory,
            referred,
            admitted: true,
            patient: None,
            refers: refers.iter().map(|n| record(*n)).collect(),
        })
    }

    fn snapshot(docs: Vec<Arc<Doc>>) -> Arc<Snapshot> {
        Arc::new(Snapshot::new(docs.into_iter(), BTreeMap::new()))
    }

    fn ids(universe: &ForeignUniverse, resource_type: &str, after: Option<&ForeignKey>) -> Vec<String> {
        let mut out = Vec::new();
        let Ok(()) = universe.scan(resource_type, &[], after, &mut |seen| {
            out.push(seen.id.to_owned());
            ControlFlow::Continue(())
        });
        out
    }

    fn has(universe: &ForeignUniverse, resource_type: &str, id: &str) -> bool {
        let mut found = false;
        let Ok(()) = universe.get(resource_type, id, &mut |_| found = true);
        found
    }

    #[test]
    fn what_is_not_permitted_is_in_no_scan_and_behind_no_id() {
        let snapshot = snapshot((1..=6).map(|n| doc(n, "Observation", false, &[])).collect());
        let universe = snapshot.universe(|doc| doc.key.written.0 != 3);
        assert_eq!(ids(&universe, "Observation", None), ["f1", "f2", "f4", "f5", "f6"]);
        assert!(has(&universe, "Observation", "f4"));
        assert!(!has(&universe, "Observation", "f3"), "not permitted");
        assert!(!has(&universe, "Condition", "f4"), "of another type");
        assert!(universe.doc(CUSTODIAN, record(3)).is_none());
        // The place of a record that is not in it is a place all the same: a page goes on behind it.
        let hidden = ForeignKey { written: TimeMs(3), custodian: CUSTODIAN, record: record(3) };
        assert_eq!(ids(&universe, "Observation", Some(&hidden)), ["f4", "f5", "f6"]);
        assert!(ids(&snapshot.universe(|_| false), "Observation", None).is_empty());
    }

    /// A sensitive record that an agent may not see takes with it whom it alone leads to: the clinic's name tells as much.
    #[test]
    fn what_belongs_to_the_organisation_is_known_of_only_through_a_permitted_record() {
        let docs = vec![
            doc(1, "Observation", false, &[11]),
            doc(2, "Observation", false, &[12]),
            doc(11, "PractitionerRole", true, &[13, 99]),
            doc(12, "PractitionerRole", true, &[14]),
            doc(13, "Practitioner", true, &[11]),
            doc(14, "Practitioner", true, &[]),
            doc(15, "Practitioner", true, &[1]),
        ];
        let snapshot = snapshot(docs);
        let universe = snapshot.universe(|doc| doc.key.written.0 != 2);
        assert_eq!(ids(&universe, "PractitionerRole", None), ["f11"]);
        assert_eq!(ids(&universe, "Practitioner", None), ["f13"], "through another of the organisation's own");
        let universe = snapshot.universe(|doc| doc.key.written.0 != 11);
        assert_eq!(ids(&universe, "PractitionerRole", None), ["f12"], "a permit is needed besides");
        assert_eq!(ids(&universe, "Practitioner", None), ["f14"]);
        assert_eq!(universe.len(), 4);
    }

    #[test]
    fn what_is_filed_by_terms_is_found_as_by_looking_at_each() {
        let snapshot = snapshot((1..=100).map(|n| doc(n, "Observation", false, &[])).collect());
        let universe = snapshot.universe(|doc| !doc.key.written.0.is_multiple_of(10));
        let pairs = [("code".to_owned(), "even".to_owned())];
        let context = Context { base: "http://here.example/fhir", now: 0 };
        let query = Query::parse(Some("Observation"), &pairs, &context, Handling::Strict).ok().unwrap();
        let limits = Limits { scanned: 1_000, page: 1_000, included: 0 };
        let mut answers = Vec::new();
        for _ in 0..4 {
            let hits = run(&universe, &query, &limits, None).ok().unwrap();
            answers.push(hits.matches.into_iter().map(|hit| hit.id).collect::<Vec<_>>());
        }
        assert_eq!(answers[0].len(), 40);
        assert!(snapshot.filed.by_term.get().is_some(), "the later ones were answered by terms");
        assert!(answers.iter().all(|answer| *answer == answers[0]));
    }
}
