//! `vouchsafe/anchor`: a custodian anchors record versions and moves the heads of the charts touched. The leaves are
//! not kept in the state; they stay in the block, and verifiers check them against the roots.

use vouchsafe_types::{
    AccountId, Code, Event, SessionId, TimeMs,
    state::{Head, HeadMove, Params},
    tx::Anchor,
};

use super::{Handler, View};
use crate::{Delta, Outcome, StateRead, Verdict, read::Read, rules};

/// Moves from the heads that the ledger holds.
pub(crate) struct Facts {
    custodian: AccountId,
    heads: Vec<HeadMove>,
    leaves: u32,
    session: Option<SessionId>,
}

impl Handler for Anchor {
    type Facts = Facts;

    fn validate<S: StateRead>(&self, view: &View<'_, S>) -> Verdict<Facts> {
        let custodian = view.actor.id();
        rules::verified_organization(view.state, &view.actor, view.now())?;
        let leaves = sizes(self, &view.params)?;
        if let Some(id) = &self.session {
            uploads(view, id)?;
        }
        for head in &self.heads {
            follows(view.state.head(&custodian, &head.handle).as_ref(), head)?;
        }
        Ok(Facts { custodian, heads: self.heads.clone(), leaves, session: self.session })
    }

    fn execute(facts: Facts, _now: TimeMs) -> Outcome {
        let Facts { custodian, heads, leaves, session } = facts;
        let mut delta = Delta::default();
        for head in &heads {
            delta.put_head(&custodian, &head.handle, &Head { seq: head.seq, root: head.new });
        }
        let handles = heads.iter().map(|head| head.handle).collect();
        (delta, vec![Event::Anchored { custodian, handles, leaves, session }])
    }
}

fn sizes(anchor: &Anchor, params: &Params) -> Verdict<u32> {
    let (leaves, heads) = (anchor.leaves.len(), anchor.heads.len());
    if leaves as u64 > params.max_leaves.0 || heads as u64 > params.max_heads.0 {
        let Params { max_leaves, max_heads, .. } = params;
        return Code::TooLarge.refuse(format!("{leaves} leaves, {heads} heads; at most {max_leaves} and {max_heads}"));
    }
    if leaves == 0 || heads == 0 {
        return Code::BadAnchor.refuse("an anchor has a leaf and a head");
    }
    if !anchor.heads.windows(2).all(|w| w[0].handle < w[1].handle) {
        return Code::BadAnchor.refuse("handles must ascend, each once");
    }
    u32::try_from(leaves).or_else(|_| Code::TooLarge.refuse(format!("{leaves} leaves")))
}

/// That a doctor of this organisation may upload in the session.
fn uploads<S: StateRead>(view: &View<'_, S>, id: &SessionId) -> Verdict<()> {
    let Some(session) = view.state.session(id) else {
        return Code::NotFound.refuse(format!("there is no session {id}"));
    };
    if session.organization != view.actor.id() {
        return Code::NotAllowed.refuse(format!("session {id} is of {}", session.organization));
    }
    rules::live(view.state, &session, view.now())?;
    if !session.write {
        return Code::ReadOnly.refuse(format!("session {id} may not write"));
    }
    Ok(())
}

/// Compare and swap.
fn follows(held: Option<&Head>, head: &HeadMove) -> Verdict<()> {
    let (old, seq) = held.map_or((None, 1), |h| (Some(h.root), h.seq.0 + 1));
    if head.old != old || head.seq.0 != seq {
        return Code::StaleHead.refuse(format!(
            "chart {}: move {} from {:?}, the ledger expects move {seq} from {old:?}",
            head.handle, head.seq, head.old
        ));
    }
    Ok(())
}
