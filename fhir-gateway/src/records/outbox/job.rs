//! A submission that waits, and which of those that wait go together.

use std::collections::{HashSet, VecDeque};

use bytes::Bytes;
use tokio::sync::oneshot;
use vouchsafe_fhir_search::{Facts, FactsBuilder, extract};
use vouchsafe_types::{Hash32, RecordId, SessionId, state::Params};

use super::room::Place;
use crate::{
    fhir::{
        category::{Category, categorize},
        date::{DateRange, clinical_date},
    },
    records::{Act, ActKind, Actor, Condition, Idempotency, Records, SubmitError, Written},
};

/// One anchor takes so many bytes of records, so that memory stays bounded.
const GROUP_BYTES: usize = 32 << 20;

/// An act, its facts drawn out of it, so that what was parsed need not wait.
pub(super) struct Draft {
    pub(super) id: RecordId,
    pub(super) kind: ActKind,
    pub(super) resource_type: String,
    pub(super) chart: RecordId,
    pub(super) sealed_form: Bytes,
    /// Its category for consent, and when what it tells of happened; none of a deletion.
    pub(super) admitted_by: Option<(Category, Option<DateRange>)>,
    /// What it can be found by; of a deletion, nothing.
    pub(super) found_by: Facts,
}

impl Draft {
    pub(super) fn of(act: Act, base: &str) -> Self {
        let Act { id, kind, resource_type, chart, sealed_form, value } = act;
        let (admitted_by, found_by) = match kind {
            ActKind::Delete { .. } => (None, FactsBuilder::default().finish()),
            _ => {
                let admitted_by = (categorize(&resource_type, &value), clinical_date(&resource_type, &value));
                (Some(admitted_by), extract(&resource_type, &value, base))
            }
        };
        Self { id, kind, resource_type, chart, sealed_form, admitted_by, found_by }
    }

    /// True when it is the first version of a Patient whose chart is itself.
    pub(super) fn opens_chart(&self) -> bool {
        self.kind == ActKind::Create && self.resource_type == "Patient" && self.id == self.chart
    }
}

/// What a caller gets.
pub(super) type Answer = Result<Vec<Written>, SubmitError>;

/// A submission that waits.
pub(super) struct Job {
    pub(super) drafts: Vec<Draft>,
    pub(super) conditions: Vec<Condition>,
    /// Where conditions are looked for; none when there are none.
    pub(super) finder: Option<Records>,
    pub(super) once: Option<Idempotency>,
    /// What is kept with the key.
    pub(super) note: String,
    pub(super) session: Option<SessionId>,
    pub(super) by: Actor,
    pub(super) done: oneshot::Sender<Answer>,
    /// Its place in the room, until it is answered.
    pub(super) _place: Place,
}

impl Job {
    pub(super) fn answer(self, answer: Answer) {
        // Who asked may have gone; what was written is written all the same.
        let _ = self.done.send(answer);
    }

    pub(super) fn bytes(&self) -> usize {
        self.drafts.iter().map(|draft| draft.sealed_form.len()).sum()
    }

    fn charts(&self) -> impl Iterator<Item = RecordId> {
        self.drafts.iter().map(|draft| draft.chart)
    }
}

/// What a group that is not settled yet takes hold of: whoever needs any of it waits.
#[derive(Default)]
pub(super) struct Held {
    records: HashSet<RecordId>,
    keys: HashSet<Hash32>,
    /// Charts that it opens.
    charts: HashSet<RecordId>,
}

impl Held {
    pub(super) fn by<'a>(jobs: impl Iterator<Item = &'a Job>) -> Self {
        let mut held = Self::default();
        jobs.for_each(|job| held.take(job));
        held
    }

    fn take(&mut self, job: &Job) {
        self.records.extend(job.drafts.iter().map(|draft| draft.id));
        self.keys.extend(job.once.map(|once| once.key));
        self.charts.extend(job.drafts.iter().filter(|draft| draft.opens_chart()).map(|draft| draft.chart));
    }

    fn wanted_by(&self, job: &Job) -> bool {
        job.drafts.iter().any(|draft| self.records.contains(&draft.id) || self.charts.contains(&draft.chart))
            || job.once.is_some_and(|once| self.keys.contains(&once.key))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.keys.is_empty()
    }
}

/// Takes the first submission and all that may share its anchor, in their order: of the same session, each record and each
/// idempotency key once, within the ledger's limits. What must wait, and everything that is about the same after it, stays in
/// the queue. A submission with conditions is judged against everything before it, so it is the first of its group, and waits
/// for the group under way.
pub(super) fn take_group(waiting: &mut VecDeque<Job>, params: &Params, under_way: &Held) -> Vec<Job> {
    // Who was first in the queue and waits for the group under way is not overtaken by yet another group.
    if waiting.front().is_some_and(|job| !job.conditions.is_empty()) && !under_way.is_empty() {
        return Vec::new();
    }
    let max_leaves = usize::try_from(params.max_leaves.0).unwrap_or(usize::MAX);
    let max_heads = usize::try_from(params.max_heads.0).unwrap_or(usize::MAX);
    let mut group: Vec<Job> = Vec::new();
    let (mut leaves, mut bytes) = (0, 0);
    let mut charts = HashSet::new();
    // What the group, or a submission that waits, takes hold of.
    let mut held = Held::default();
    let mut left = VecDeque::new();
    for job in waiting.drain(..) {
        let full = leaves + job.drafts.len() > max_leaves || (bytes >= GROUP_BYTES && !group.is_empty());
        let heads = charts.len() + job.charts().filter(|chart| !charts.contains(chart)).collect::<HashSet<_>>().len();
        let other_session = group.first().is_some_and(|first| first.session != job.session);
        let first = group.is_empty() && under_way.is_empty();
        let judged_alone = !first && !job.conditions.is_empty();
        let waits = full
            || other_session
            || judged_alone
            || heads > max_heads
            || held.wanted_by(&job)
            || under_way.wanted_by(&job);
        held.take(&job);
        if waits {
            left.push_back(job);
            continue;
        }
        charts.extend(job.charts());
        leaves += job.drafts.len();
        bytes += job.bytes();
        group.push(job);
    }
    *waiting = left;
    group
}
