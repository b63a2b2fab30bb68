//! A session of a doctor of this organisation: its RSA key, what custodians handed over, and what is known of it. All of it
//! is in memory only and goes with the session.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;
use vouchsafe_types::{AccountId, RequestId, RsaJwk, SessionId, TimeMs, ids::RecordId, state::Session};

use super::{
    admission::Admission,
    index::Index,
    manifest::{Manifest, ManifestRow},
};
use crate::seal::{DataKey, GrantKey, KeyWrapping, RsaUnwrap, WrappedKey, WrappedToRsa, device::RsaKey, oaep};

/// What a session holds of records at most; a custodian that hands over more is refused.
const MOST_ROWS: usize = 200_000;

/// Keys and plaintext of a session that was not used for so long leave memory; they come again when it is used.
const UNUSED_MS: u64 = 300_000;

/// So long after its opening a session is waited for: custodians answer within some hundred milliseconds or are away.
const SOON: Duration = Duration::from_secs(1);

/// A session of a doctor of this organisation.
pub struct Live {
    /// The session.
    pub id: SessionId,
    /// The grant it was opened under.
    pub grant: RequestId,
    /// The doctor.
    pub doctor: AccountId,
    /// The patient.
    pub patient: AccountId,
    /// May it write?
    pub write: bool,
    /// How many custodians the patient sealed the grant to, when the wallet said so.
    expected: Option<usize>,
    /// When it was opened here, to find the newest.
    pub(super) since: Instant,
    /// The session's own RSA key; only this process has it.
    key: RsaKey,
    /// What the grant admits, by its committed detail.
    pub(super) admission: Admission,
    pub(super) index: Index,
    held: Mutex<Held>,
    /// Raised by everything that is handed over.
    handed: watch::Sender<u64>,
    /// When it was used last, by the gateway's clock.
    used: AtomicU64,
    over: AtomicBool,
}

/// What all custodians handed over.
#[derive(Default)]
struct Held {
    sources: BTreeMap<AccountId, Source>,
    /// The ids under which the rows are shown.
    ids: HashMap<String, (AccountId, RecordId)>,
}

/// What one custodian handed over.
#[derive(Default)]
struct Source {
    /// How many parts the whole has; 0 until the first came.
    parts: u64,
    came: BTreeSet<u64>,
    /// The grant keys that data keys are wrapped under: one, or one more for each start of the custodian's gateway.
    keys: Vec<Handed>,
    /// Each row with the key that its own data key is wrapped under.
    rows: BTreeMap<RecordId, (usize, Arc<ManifestRow>)>,
}

/// A grant key as it was handed over, and opened while it is in use.
struct Handed {
    wrapped: WrappedToRsa,
    key: Option<Arc<GrantKey>>,
}

/// Why a part of a hand-over is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// The grant key is not wrapped to the session's own key.
    Key,
    /// There are more records than a session holds.
    TooMany,
    /// The session is over.
    Over,
}

/// A row with the custodian that handed it over.
pub(super) type HeldRow = (AccountId, Arc<ManifestRow>);

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Live(..)")
    }
}

impl Live {
    /// A session that was just opened with the key that its opening names.
    pub(crate) fn new(
        id: SessionId,
        session: &Session,
        key: RsaKey,
        expected: Option<usize>,
        admission: Admission,
    ) -> Self {
        Self {
            id,
            grant: session.grant,
            doctor: session.doctor,
            patient: session.patient,
            write: session.write,
            expected,
            since: Instant::now(),
            key,
            admission,
            index: Index::default(),
            held: Mutex::default(),
            handed: watch::Sender::new(0),
            used: AtomicU64::new(0),
            over: AtomicBool::new(false),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many custodians have not answered yet.
    pub fn missing(&self) -> usize {
        let held = self.held();
        let answered = held.sources.values().filter(|s| s.parts > 0 && s.came.len() as u64 == s.parts).count();
        self.expected.map_or(0, |expected| expected.saturating_sub(answered))
    }

    /// The public half of the session's key.
    pub fn recipient(&self) -> RsaJwk {
        self.key.public()
    }

    /// Waits until every custodian has answered, but only as long as the session is new.
    pub(super) async fn settled(&self) {
        let mut handed = self.handed.subscribe();
        let all = handed.wait_for(|_| self.missing() == 0 || self.is_over());
        // Out of time says that sources are missing, which the answer then tells.
        let _ = tokio::time::timeout_at((self.since + SOON).into(), all).await;
    }

    /// Waits, at most so long, until something more than up to `seen` is handed over.
    pub(super) async fn more(&self, seen: u64, wait: Duration) {
        let mut handed = self.handed.subscribe();
        let _ = tokio::time::timeout(wait, handed.wait_for(|now| *now > seen || self.is_over())).await;
    }

    /// How often something was handed over, and all rows: those of that moment at least.
    pub(super) fn rows(&self) -> (u64, Vec<HeldRow>) {
        // Read before the lock is taken: whoever waits for a hand-over takes the lock while the number is held.
        let generation = self.generation();
        let held = self.held();
        let rows = held.sources.iter().flat_map(|(org, s)| s.rows.values().map(|(_, row)| (*org, Arc::clone(row))));
        (generation, rows.collect())
    }

    /// How often something was handed over.
    pub(super) fn generation(&self) -> u64 {
        *self.handed.borrow()
    }

    /// The row that is shown under an id.
    pub(super) fn find(&self, id: &str) -> Option<HeldRow> {
        let held = self.held();
        let (custodian, record) = held.ids.get(id)?;
        let (_, row) = held.sources.get(custodian)?.rows.get(record)?;
        Some((*custodian, Arc::clone(row)))
    }

    /// Forgets the key of a row whose record was deleted; that there was one stays known, for an answer that says so.
    pub(super) fn forget_key(&self, custodian: &AccountId, record: &RecordId) {
        let mut held = self.held();
        if let Some((_, row)) = held.sources.get_mut(custodian).and_then(|source| source.rows.get_mut(record)) {
            *row = Arc::new(ManifestRow { key: WrappedKey::from_bytes([0; 40]), ..(**row).clone() });
        }
    }

    /// The data key of a row; none when it is wrapped under no grant key of the custodian's, or the session is over. Opening
    /// a grant key, once for all rows of a custodian, takes a millisecond.
    ///
    /// A custodian whose gateway started anew hands the same rows over again under another grant key, at any moment: the row
    /// that is asked about may be the one from before. So the key of the row that is held now is tried first, then the others.
    pub(super) fn data_key(&self, custodian: &AccountId, row: &ManifestRow) -> Option<DataKey> {
        let keys: Vec<_> = {
            let held = self.held();
            let source = held.sources.get(custodian)?;
            let (first, _) = source.rows.get(&row.record)?;
            let mut keys: Vec<_> = source.keys.iter().map(|handed| handed.key.clone()).enumerate().collect();
            keys.sort_by_key(|(at, _)| at != first);
            keys
        };
        keys.into_iter().find_map(|(at, known)| {
            let key = match known {
                Some(key) => key,
                None => self.reopened(custodian, at)?,
            };
            key.unwrap(&row.key).ok()
        })
    }

    /// A grant key that left memory while nobody used it.
    fn reopened(&self, custodian: &AccountId, at: usize) -> Option<Arc<GrantKey>> {
        let wrapped = self.held().sources.get(custodian)?.keys.get(at)?.wrapped.clone();
        let key = Arc::new(oaep::unwrap_with::<GrantKey>(&self.key, &wrapped).ok()?);
        let mut held = self.held();
        let kept = held.sources.get_mut(custodian)?.keys.get_mut(at)?;
        Some(Arc::clone(kept.key.get_or_insert(key)))
    }

    /// Takes a part of a hand-over; `id_of` says under which id a record is shown.
    pub(super) fn take(
        &self,
        from: AccountId,
        manifest: Manifest,
        id_of: impl Fn(&RecordId) -> String,
    ) -> Result<(), NotTaken> {
        let known = self.held().sources.get(&from).is_some_and(|s| s.keys.iter().any(|k| k.wrapped == manifest.key));
        // One RSA operation for each custodian: all parts carry the same wrap.
        let opened = match known {
            true => None,
            false => Some(oaep::unwrap_with::<GrantKey>(&self.key, &manifest.key).map_err(|_| NotTaken::Key)?),
        };
        let ids: Vec<String> = manifest.rows.iter().map(|row| id_of(&row.record)).collect();
        let mut held = self.held();
        if self.is_over() {
            return Err(NotTaken::Over);
        }
        let Held { sources, ids: shown } = &mut *held;
        if sources.values().map(|s| s.rows.len()).sum::<usize>() + manifest.rows.len() > MOST_ROWS {
            return Err(NotTaken::TooMany);
        }
        let source = sources.entry(from).or_default();
        let at = source.keys.iter().position(|k| k.wrapped == manifest.key).unwrap_or(source.keys.len());
        if let Some(key) = opened.filter(|_| at == source.keys.len()) {
            source.keys.push(Handed { wrapped: manifest.key, key: Some(Arc::new(key)) });
        }
        if manifest.part.0 > 0 {
            source.parts = manifest.parts.0;
            source.came.insert(manifest.part.0);
        }
        for (row, id) in manifest.rows.into_iter().zip(ids) {
            // Messages may arrive out of order; an older version never takes the place of a newer one.
            let newer = source.rows.get(&row.record).is_none_or(|(_, have)| have.version <= row.version);
            if newer {
                shown.insert(id, (from, row.record));
                source.rows.insert(row.record, (at, Arc::new(row)));
            }
        }
        drop(held);
        self.handed.send_modify(|n| *n += 1);
        Ok(())
    }

    /// Says that its doctor uses it now.
    pub(super) fn touch(&self, now: TimeMs) {
        self.used.fetch_max(now.0, Ordering::Relaxed);
    }

    /// Says that it is new, unless it was used already.
    pub(super) fn begin(&self, now: TimeMs) {
        // Either way it has a time afterwards.
        let _ = self.used.compare_exchange(0, now.0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// True when nobody used it lately.
    pub(super) fn is_idle(&self, now: TimeMs) -> bool {
        now.0.saturating_sub(self.used.load(Ordering::Relaxed)) >= UNUSED_MS
    }

    /// Lets go of keys and plaintext if nobody used them lately; they are made again from what was handed over.
    pub(super) fn rest(&self, now: TimeMs) {
        if !self.is_idle(now) {
            return;
        }
        for source in self.held().sources.values_mut() {
            source.keys.iter_mut().for_each(|handed| handed.key = None);
        }
        self.index.clear();
    }

    /// Ends it: what it holds goes at once, whoever still waits for something of it.
    pub(super) fn close(&self) {
        self.over.store(true, Ordering::SeqCst);
        *self.held() = Held::default();
        self.index.clear();
        self.handed.send_modify(|n| *n += 1);
    }

    /// True when it was ended here. That it is not over proves nothing: whether it lives is asked of the ledger.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// How many keys and documents are in memory now.
    pub(super) fn in_memory(&self) -> (usize, usize) {
        let keys = self.held().sources.values().flat_map(|s| &s.keys).filter(|k| k.key.is_some()).count();
        (keys, self.index.documents())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use vouchsafe_types::{Count, Handle, state::Generations};

    use super::*;
    use crate::sessions::admission::tests as admission;

    const CUSTODIAN: AccountId = AccountId([1; 16]);

    pub(in crate::sessions) fn live() -> Live {
        let (request, admits) = admission::request();
        let key = RsaKey::generate().unwrap();
        let zero = Count(0);
        let session = Session {
            grant: admission::ID,
            doctor: request.doctor,
            organization: request.organization,
            patient: request.patient,
            opened: request.at,
            expires: request.at,
            write: false,
            rests_on: Generations {
                grant: zero,
                credential: zero,
                affiliation: zero,
                doctor: zero,
                organization: zero,
                patient: zero,
            },
            recipient: RsaUnwrap::public(&key),
            by: request.by,
            ended: None,
        };
        Live::new(SessionId([5; 16]), &session, key, Some(1), admits)
    }

    fn row(n: u16, version: u64, key: WrappedKey) -> ManifestRow {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&n.to_be_bytes());
        ManifestRow {
            handle: Handle([1; 16]),
            record: RecordId(id),
            version: Count(version),
            resource_type: "Observation".to_owned(),
            last_updated: TimeMs(1),
            previous: None,
            cid: String::new(),
            key,
        }
    }

    fn manifest(live: &Live, key: WrappedToRsa, (part, parts): (u64, u64), rows: Vec<ManifestRow>) -> Manifest {
        let (part, parts) = (Count(part), Count(parts));
        let Live { id: session, grant, .. } = *live;
        Manifest { custodian: CUSTODIAN, session, grant, part, parts, height: Count(1), key, rows }
    }

    fn take(live: &Live, manifest: Manifest) -> Result<(), NotTaken> {
        live.take(CUSTODIAN, manifest, |record| format!("f{record}"))
    }

    #[test]
    fn a_hand_over_in_parts_opens_one_key_and_an_old_version_replaces_no_newer_one() {
        let live = live();
        let key = GrantKey::generate();
        let wrap = oaep::wrap_to(&live.recipient(), &key).unwrap();
        let data = || key.wrap(&DataKey::generate());
        for part in 1..=3_u16 {
            let rows = (0..100).map(|n| row(part * 100 + n, 2, data())).collect();
            assert_eq!(live.missing(), 1);
            take(&live, manifest(&live, wrap.clone(), (part.into(), 3), rows)).unwrap();
        }
        assert_eq!(live.missing(), 0);
        assert_eq!(live.rows().1.len(), 300);
        assert_eq!(live.in_memory().0, 1, "one RSA operation for the custodian");
        take(&live, manifest(&live, wrap.clone(), (0, 0), vec![row(100, 1, data()), row(101, 3, data())])).unwrap();
        let version = |n| live.find(&format!("f{}", row(n, 1, data()).record)).unwrap().1.version.0;
        assert_eq!((version(100), version(101)), (2, 3));
        let one = live.find(&format!("f{}", row(100, 1, data()).record)).unwrap().1;
        assert!(live.data_key(&CUSTODIAN, &one).is_some());
        live.forget_key(&CUSTODIAN, &one.record);
        let one = live.find(&format!("f{}", one.record)).unwrap().1;
        assert!(live.data_key(&CUSTODIAN, &one).is_none(), "a deleted record's key is gone");
        let others = oaep::wrap_to(&RsaUnwrap::public(&RsaKey::generate().unwrap()), &key).unwrap();
        assert_eq!(take(&live, manifest(&live, others, (0, 0), Vec::new())), Err(NotTaken::Key));
        let many = (0..u16::MAX).map(|n| row(n, 1, data())).collect::<Vec<_>>();
        let all = || many.iter().cloned().cycle().take(MOST_ROWS).collect();
        assert_eq!(take(&live, manifest(&live, wrap, (0, 0), all())), Err(NotTaken::TooMany));
    }

    /// A custodian that started anew makes the grant ready anew, with another key. What the index holds is still the row from
    /// before; were it not to open, a true record would pass for a forged one.
    #[test]
    fn what_is_handed_over_again_under_another_key_opens_by_either_row() {
        let live = live();
        let data = DataKey::generate();
        let rows: Vec<_> = [(); 2]
            .map(|()| {
                let key = GrantKey::generate();
                let wrap = oaep::wrap_to(&live.recipient(), &key).unwrap();
                let one = row(1, 1, key.wrap(&data));
                take(&live, manifest(&live, wrap, (1, 1), vec![one.clone()])).unwrap();
                one
            })
            .into();
        for one in &rows {
            assert!(live.data_key(&CUSTODIAN, one).is_some());
        }
        assert_eq!(live.in_memory().0, 2);
        let others = row(1, 1, GrantKey::generate().wrap(&data));
        assert!(live.data_key(&CUSTODIAN, &others).is_none(), "wrapped under a key that nobody handed over");
    }

    #[test]
    fn a_session_that_is_over_holds_nothing_and_takes_nothing() {
        let live = live();
        let key = GrantKey::generate();
        let wrap = oaep::wrap_to(&live.recipient(), &key).unwrap();
        let one = row(1, 1, key.wrap(&DataKey::generate()));
        take(&live, manifest(&live, wrap.clone(), (1, 1), vec![one.clone()])).unwrap();
        assert!(live.data_key(&CUSTODIAN, &one).is_some());
        live.close();
        assert!(live.data_key(&CUSTODIAN, &one).is_none());
        assert_eq!((live.in_memory(), live.rows().1.len()), ((0, 0), 0));
        assert_eq!(take(&live, manifest(&live, wrap, (1, 1), vec![one])), Err(NotTaken::Over));
        assert_eq!(live.rows().1.len(), 0);
    }

    #[test]
    fn keys_that_nobody_uses_leave_memory_and_come_again() {
        let live = live();
        let key = GrantKey::generate();
        let one = row(1, 1, key.wrap(&DataKey::generate()));
        let wrap = oaep::wrap_to(&live.recipient(), &key).unwrap();
        live.begin(TimeMs(1_000));
        take(&live, manifest(&live, wrap, (1, 1), vec![one.clone()])).unwrap();
        live.touch(TimeMs(2_000));
        live.rest(TimeMs(1_999 + UNUSED_MS));
        assert_eq!(live.in_memory().0, 1);
        live.rest(TimeMs(2_000 + UNUSED_MS));
        assert_eq!(live.in_memory().0, 0);
        assert!(live.data_key(&CUSTODIAN, &one).is_some());
        assert_eq!(live.in_memory().0, 1);
    }
}
