//! Submissions that share one anchor.

use serde::{Deserialize, Serialize};
use vouchsafe_fhir_search::Facts;
use vouchsafe_types::{Handle, merkle::RecordMap, state::HeadMove};

use super::{GROUPS, job::Job, once::Kept};
use crate::{
    records::{RecordRow, SubmitError, WriteError, Written, charts::Opening},
    seal::Sealed,
    store::{StoreError, WriteBatch, from_json},
};

/// One version as it lies in the outbox.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pending {
    pub(super) row: RecordRow,
    /// The directory's entry, signed.
    pub(super) jws: String,
    /// What it can be found by; of a deletion, nothing.
    #[serde(with = "compact")]
    pub(super) facts: Facts,
}

/// Facts as base64url of their compact form.
mod compact {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use vouchsafe_fhir_search::Facts;
    use vouchsafe_types::b64;

    pub(super) fn serialize<S: Serializer>(facts: &Facts, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&b64::encode(facts.bytes()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Facts, D::Error> {
        let bytes = b64::decode(&String::deserialize(d)?);
        bytes.map(Facts::from_bytes).ok_or_else(|| D::Error::custom("facts are base64url"))
    }
}

/// A group as it lies in the outbox.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lying {
    /// The signed transaction; submitted again after a crash, it is the same act.
    pub(super) tx: String,
    /// The heads that it moves.
    pub(super) moves: Vec<HeadMove>,
    pub(super) items: Vec<Pending>,
    /// Charts that come with it.
    pub(super) opened: Vec<Opening>,
    /// Idempotency keys that come with it.
    pub(super) once: Vec<Kept>,
}

/// A submission of a group, and which of its versions are its own.
pub(super) struct Part {
    pub(super) job: Job,
    pub(super) first: usize,
}

/// Submissions that share one anchor.
pub(super) struct Group {
    /// Its number in the outbox, where groups lie in the order in which they build on each other.
    pub(super) number: u64,
    pub(super) lying: Lying,
    /// The blobs, in the order of the items; none after a restart.
    pub(super) blobs: Vec<Sealed>,
    /// The maps of the charts touched, as they become; none after a restart, when they are built from the entries.
    pub(super) maps: Vec<(Handle, RecordMap)>,
    /// Who waits; nobody after a restart.
    pub(super) parts: Vec<Part>,
    /// True once its anchor was handed to the ledger, and its maps named as those under way.
    pub(super) submitted: bool,
    /// Up to which mark the block store holds what this group and those before put there.
    pub(super) mark: Option<u64>,
}

impl Group {
    /// What a crash left.
    pub(super) fn left(number: u64, value: &[u8]) -> Result<Self, StoreError> {
        let lying = from_json(GROUPS, value)?;
        Ok(Self { number, lying, blobs: Vec::new(), maps: Vec::new(), parts: Vec::new(), submitted: false, mark: None })
    }

    /// The batch that puts the group into the outbox.
    pub(super) fn to_outbox(&self) -> WriteBatch {
        let mut batch = WriteBatch::new();
        batch.put_json(GROUPS, self.number.to_be_bytes(), &self.lying);
        batch
    }

    /// Adds the group's removal from the outbox to a batch.
    pub(super) fn out_of_outbox(&self, batch: &mut WriteBatch) {
        batch.remove(GROUPS, self.number.to_be_bytes());
    }

    /// Tells every caller the same.
    pub(super) fn refuse(&mut self, error: &WriteError) {
        for part in self.parts.drain(..) {
            part.job.answer(Err(SubmitError::Whole(error.clone())));
        }
    }

    /// Tells every caller what was written.
    pub(super) fn answer(self, rows: &[RecordRow]) {
        for Part { job, first } in self.parts {
            let written = rows[first..first + job.drafts.len()].iter();
            let written = written.map(|row| Written::of(row.clone(), false)).collect();
            job.answer(Ok(written));
        }
    }
}
