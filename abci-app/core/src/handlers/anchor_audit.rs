//! `vouchsafe/audit`: an organisation anchors its audit log. It need not be verified: one that was suspended still
//! owes the account of what it did.

use vouchsafe_types::{AccountId, Code, Count, Event, TimeMs, state::AuditHead, tx::AnchorAudit};

use super::{Handler, View};
use crate::{Delta, Outcome, StateRead, Verdict, read::Read};

/// The most entries that a log can have, so that the count stays exact in JSON.
const MAX_COUNT: u64 = (1 << 53) - 1;

/// A log that grew.
pub(crate) struct Facts {
    organization: AccountId,
    head: AuditHead,
}

impl Handler for AnchorAudit {
    type Facts = Facts;

    fn validate<S: StateRead>(&self, view: &View<'_, S>) -> Verdict<Facts> {
        let organization = view.actor.id();
        if !view.actor.account.role.is_organization() {
            return Code::NotAllowed.refuse(format!("{organization} is not an organisation"));
        }
        if self.last < self.first {
            return Code::BadAnchor.refuse(format!("last {} is before first {}", self.last, self.first));
        }
        if self.last.0 >= MAX_COUNT {
            return Code::TooLarge.refuse(format!("last {} leaves no exact count", self.last));
        }
        let held = view.state.audit(&organization);
        let (count, old) = held.map_or((Count(0), None), |h| (h.count, Some(h.root)));
        if self.first != count || self.old != old {
            return Code::StaleHead.refuse(format!(
                "from {} after {:?}, the ledger holds {count} entries under {old:?}",
                self.first, self.old
            ));
        }
        Ok(Facts { organization, head: AuditHead { count: self.last.next(), root: self.new } })
    }

    fn execute(facts: Facts, _now: TimeMs) -> Outcome {
        let Facts { organization, head } = facts;
        let mut delta = Delta::default();
        delta.put_audit(&organization, &head);
        (delta, vec![Event::AuditAnchored { organization, count: head.count.0 }])
    }
}
