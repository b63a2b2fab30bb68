//! The audit log: a slot is durable before anything is disclosed, entries only grow, and the ledger holds their root.
//!
//! Slots are reserved ahead, some at a time, so that a read does not wait for the disk: below the durable mark every number
//! counts as given out. After a crash each number below the mark that has no entry reads "possibly disclosed". The mark
//! runs ahead of what was lately used by a little, so that a crash of an idle gateway casts little doubt.
//!
//! **Architecture invariant:** audit ⊇ disclosures. Whoever opens a record reserves a slot first.

mod anchor;
mod entry;
mod flush;
mod log;
mod slot;
mod tables;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, watch};
use vouchsafe_types::{AccountId, RecordId};

pub use entry::{About, AuditEntry, AuditProof, AuditQuery, EventText, NewEntry, Recorded};
pub use slot::Slot;

use crate::{
    fhir::audit::{Audit as Event, AuditKind, render_text},
    foundation::Foundation,
    store::StoreError,
};
use log::Log;

/// How often the log is anchored.
const ANCHOR_EVERY: Duration = Duration::from_secs(5);

/// Why the audit log did not do it. Then nothing may be disclosed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AuditError {
    /// The database or the ledger is away.
    #[error("the audit log: {0}")]
    Unavailable(String),
    /// What is stored is not what was anchored.
    #[error("the audit log was altered: {0}")]
    Altered(String),
}

impl From<StoreError> for AuditError {
    fn from(e: StoreError) -> Self {
        match e {
            StoreError::Spoiled { .. } | StoreError::Form { .. } => Self::Altered(e.to_string()),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

/// The audit log of this organisation. Cheap to clone.
#[derive(Clone)]
pub struct Audit {
    inner: Arc<Inner>,
}

struct Inner {
    ground: Foundation,
    log: Mutex<Log>,
    /// What is on the disk.
    progress: watch::Sender<Progress>,
    /// Something is to be written, soon.
    wake: Notify,
    /// Somebody waits for it.
    urgent: Notify,
    /// Held while the log is anchored.
    anchoring: tokio::sync::Mutex<anchor::Anchored>,
    stopping: watch::Sender<bool>,
}

/// What is on the disk.
#[derive(Clone, Debug, Default)]
struct Progress {
    /// Slots below are reserved.
    mark: u64,
    /// Entries below are written.
    written: u64,
    /// Why the last attempt failed; none when it did not.
    failure: Option<String>,
    /// True once the writer has ended.
    ended: bool,
}

impl Inner {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Audit {
    /// Reads the log, compares it with its anchor on the ledger, says of slots that a crash lost that they were possibly
    /// disclosed, and starts writing.
    ///
    /// # Errors
    /// `Altered` when the log is not what the ledger holds; `Unavailable`.
    pub async fn open(ground: Foundation) -> Result<Self, AuditError> {
        let (leaves, slots) = tables::load(&ground.db)?;
        let anchored = anchor::Anchored::check(&ground, &leaves).await?;
        let written = leaves.len() as u64;
        let mut log = Log::new(leaves, slots.mark);
        if let Some(lost) = slots.lost() {
            let entry = possibly_disclosed(&ground, About::default(), lost.1);
            log.append(lost.0, lost.1, ground.now(), entry);
        }
        let inner = Inner {
            ground,
            log: Mutex::new(log),
            progress: watch::Sender::new(Progress { mark: slots.mark, written, ..Progress::default() }),
            wake: Notify::new(),
            urgent: Notify::new(),
            anchoring: tokio::sync::Mutex::new(anchored),
            stopping: watch::Sender::new(false),
        };
        let audit = Self { inner: Arc::new(inner) };
        tokio::spawn(flush::run(Arc::clone(&audit.inner)));
        tokio::spawn(anchor::run(audit.clone()));
        audit.inner.wake.notify_one();
        Ok(audit)
    }

    /// Reserves a slot; it is durable on return. Comes before the opening of a record.
    ///
    /// # Errors
    /// When the database cannot write; then nothing may be opened.
    pub async fn reserve(&self) -> Result<Slot, AuditError> {
        let mut progress = self.inner.progress.subscribe();
        loop {
            let now = progress.borrow_and_update().clone();
            if now.ended {
                return Err(AuditError::Unavailable("the gateway is stopping".into()));
            }
            let (given, low) = self.inner.log().give(now.mark);
            if low {
                self.inner.urgent.notify_one();
            }
            if let Some(number) = given {
                return Ok(Slot::new(Arc::clone(&self.inner), number));
            }
            if let Some(failure) = now.failure {
                return Err(AuditError::Unavailable(failure));
            }
            if progress.changed().await.is_err() {
                return Err(AuditError::Unavailable("the gateway is stopping".into()));
            }
        }
    }

    /// Fills a slot with its entry, which becomes durable within 50 ms.
    pub fn record(&self, slot: Slot, entry: NewEntry) -> Recorded {
        let recorded = self.inner.log().append(slot.settle(), 1, self.inner.ground.now(), entry);
        self.inner.wake.notify_one();
        recorded
    }

    /// Waits until the entry of this index is durable.
    ///
    /// # Errors
    /// When the database cannot write.
    pub async fn durable(&self, index: u64) -> Result<(), AuditError> {
        let mut progress = self.inner.progress.subscribe();
        self.inner.urgent.notify_one();
        let seen = progress.wait_for(|p| p.written > index || p.failure.is_some() || p.ended).await;
        match seen.as_deref() {
            Ok(p) if p.written > index => Ok(()),
            Ok(Progress { failure: Some(failure), .. }) => Err(AuditError::Unavailable(failure.clone())),
            _ => Err(AuditError::Unavailable("the gateway is stopping".into())),
        }
    }

    /// Makes everything recorded so far durable and anchors it.
    ///
    /// # Errors
    /// When the database or the ledger is away; `Altered` when the ledger holds another root.
    pub async fn flush(&self) -> Result<(), AuditError> {
        let count = self.inner.log().count();
        if count > 0 {
            self.durable(count - 1).await?;
        }
        anchor::anchor(&self.inner).await
    }

    /// Writes what waits, gives back the slots that nobody used, and ends.
    pub async fn stop(&self) {
        self.inner.stopping.send_replace(true);
        // An error means that the writer is gone, which is what is waited for.
        let _ = self.inner.progress.subscribe().wait_for(|p| p.ended).await;
    }

    /// The entries that a query asks for, the newest first. Reading them is itself to be audited, by the caller.
    ///
    /// # Errors
    /// When the database cannot be read, or an entry was altered.
    pub fn search(&self, query: &AuditQuery) -> Result<Vec<AuditEntry>, AuditError> {
        // What waits is looked at before the disk: an entry that moves in between is found twice, never missed.
        let (leaves, waiting) = {
            let log = self.inner.log();
            (log.leaves(), log.waiting())
        };
        let mut found: Vec<AuditEntry> =
            waiting.iter().rev().filter(|w| query.matches(&w.entry)).map(|w| w.entry.clone()).collect();
        let oldest = found.last().map(|entry| entry.index);
        let stored = tables::search(&self.inner.ground.db, &leaves, query)?;
        found.extend(stored.into_iter().filter(|entry| oldest.is_none_or(|oldest| entry.index < oldest)));
        found.truncate(query.limit.unwrap_or(usize::MAX));
        Ok(found)
    }

    /// The entry with this id.
    ///
    /// # Errors
    /// When the database cannot be read, or the entry was altered.
    pub fn by_id(&self, id: &RecordId) -> Result<Option<AuditEntry>, AuditError> {
        let waiting = self.inner.log().waiting();
        if let Some(found) = waiting.iter().find(|w| w.entry.id == *id) {
            return Ok(Some(found.entry.clone()));
        }
        Ok(tables::by_id(&self.inner.ground.db, || self.inner.log().leaves(), id)?.map(|(entry, _)| entry))
    }

    /// Shows that an entry is in the log whose root the ledger holds; none when there is no such entry, or it is not
    /// anchored yet.
    ///
    /// # Errors
    /// When the database or the ledger is away.
    pub async fn proof(&self, id: &RecordId) -> Result<Option<AuditProof>, AuditError> {
        anchor::proof(&self.inner, id).await
    }

    /// Records, durably, that something is not what was anchored.
    pub(crate) async fn integrity_fault(&self, about: About, what: String) -> Result<(), AuditError> {
        let ground = &self.inner.ground;
        let slot = self.reserve().await?;
        let recorded = self.record(slot, entry(ground, about, AuditKind::Denial, "integrity", &[what]));
        self.durable(recorded.index).await
    }
}

/// What is said of slots that have no entry.
fn possibly_disclosed(ground: &Foundation, about: About, slots: u64) -> NewEntry {
    let said =
        if slots == 1 { "possibly disclosed".into() } else { format!("possibly disclosed: at most {slots} times") };
    entry(ground, about, AuditKind::Disclosure, &said, &[])
}

/// An entry that the log itself makes.
fn entry(ground: &Foundation, about: About, kind: AuditKind, outcome: &str, what: &[String]) -> NewEntry {
    let source = organization(&ground.org);
    let id = Foundation::new_id();
    let event = Event {
        kind,
        at: ground.now(),
        success: false,
        outcome: Some(outcome),
        user: None,
        client: "gateway",
        address: None,
        source: &source,
        base: &source,
        patient: None,
        what,
        query: None,
        purpose: &[],
        request_id: "-",
        grant: None,
        session: None,
        height: Some(ground.ledger.head().height),
    };
    let event = EventText::new(render_text(&id.to_string(), &event));
    let About { chart, account, session, caller } = about;
    NewEntry { id, event, chart, account, session, caller }
}

fn organization(org: &AccountId) -> String {
    format!("Organization?identifier={}|{org}", crate::fhir::systems::ACCOUNT)
}

#[cfg(test)]
mod tests;
