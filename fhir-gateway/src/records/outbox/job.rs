//! A write that waits, and which of those that wait go together.

use std::collections::{HashSet, VecDeque};

use tokio::sync::oneshot;
use vouchsafe_types::{Handle, RecordId, state::Params};

use super::super::{RecordRow, Write, WriteError};

/// One anchor takes so many bytes of records, so that memory stays bounded.
const GROUP_BYTES: usize = 32 << 20;

/// What kind of write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::records) enum Kind {
    /// The first version of a record.
    Create,
    /// The next one, if the latest is the one named.
    Update { if_match: Option<u64> },
}

pub(super) struct Job {
    pub(super) id: RecordId,
    pub(super) kind: Kind,
    pub(super) write: Write,
    pub(super) done: oneshot::Sender<Result<RecordRow, WriteError>>,
}

impl Job {
    pub(super) fn answer(self, result: Result<RecordRow, WriteError>) {
        // Who asked may have gone; what was written is written all the same.
        let _ = self.done.send(result);
    }
}

/// Takes the first job and all that may share its anchor, in their order: of the same session, each record once, within the
/// ledger's limits. What must wait, and everything for the same record after it, stays in the queue.
pub(super) fn take_group(
    waiting: &mut VecDeque<Job>,
    params: &Params,
    handle_of: impl Fn(&RecordId) -> Option<Handle>,
) -> Vec<Job> {
    let max_leaves = usize::try_from(params.max_leaves.0).unwrap_or(usize::MAX);
    let max_heads = usize::try_from(params.max_heads.0).unwrap_or(usize::MAX);
    let session = waiting.front().and_then(|job| job.write.session);
    let (mut group, mut bytes) = (Vec::new(), 0);
    let (mut records, mut handles) = (HashSet::new(), HashSet::new());
    let mut left = VecDeque::new();
    for job in waiting.drain(..) {
        let handle = handle_of(&job.write.chart);
        let another_head = !handles.contains(&handle) && handles.len() >= max_heads;
        let full = group.len() >= max_leaves || (bytes >= GROUP_BYTES && !group.is_empty()) || another_head;
        // A record met before is in the group, or waits; either way this one comes after it.
        if !records.insert(job.id) || full || job.write.session != session {
            left.push_back(job);
            continue;
        }
        handles.insert(handle);
        bytes += job.write.sealed_form.len();
        group.push(job);
    }
    *waiting = left;
    group
}
