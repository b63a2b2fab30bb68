//! A block's begin and end.

use vouchsafe_types::{Event, keys};

use crate::{
    BlockContext, Delta, StateRead,
    queues::{self, Deadline},
    read::Read,
};

/// How many deadlines one block tells.
pub(crate) const DEADLINES_PER_BLOCK: usize = 256;

/// How many past minutes of nonces one block drops. A block's transactions expire in at most eleven different
/// minutes, so that dropping keeps up with recording.
pub(crate) const MINUTES_PER_BLOCK: usize = 16;

/// What happens before a block's transactions: nothing in this version of the rules, because what ends does so by
/// comparison with the block's time. Both drivers call it, so that a later version of the rules may begin at a height.
pub fn begin_block(_s: &impl StateRead, _ctx: &BlockContext) -> (Delta, Vec<Event>) {
    (Delta::default(), Vec::new())
}

/// What happens after a block's transactions: deadlines that passed are told, and past minutes of nonces are dropped.
/// An empty block touches flat rows alone, so that it leaves the root as it was.
pub fn end_block(s: &impl StateRead, ctx: &BlockContext) -> (Delta, Vec<Event>) {
    let (mut delta, events) = tell_deadlines(s, ctx);
    if ctx.txs > 0 {
        delta.extend(drop_nonces(s, ctx));
    }
    (delta, events)
}

fn tell_deadlines(state: &impl StateRead, block: &BlockContext) -> (Delta, Vec<Event>) {
    let (from, to) = Deadline::due(block.time);
    let mut delta = Delta::default();
    let mut events = Vec::new();
    for (row, _) in state.scan_flat(&from, &to, DEADLINES_PER_BLOCK) {
        events.extend(Deadline::parse(&row).and_then(|deadline| passed(state, deadline)));
        delta.flat.insert(row, None);
    }
    (delta, events)
}

/// What a deadline tells, unless what it was for ended before.
fn passed(state: &impl StateRead, deadline: Deadline) -> Option<Event> {
    match deadline {
        Deadline::Answer(_, request) => {
            state.request(&request)?.decision.is_none().then_some(Event::RequestLapsed { request })
        }
        Deadline::Grant(_, request) => {
            let decision = state.request(&request)?.decision?;
            (decision.granted.is_some() && decision.revoked.is_none()).then_some(Event::GrantExpired { request })
        }
        Deadline::Session(_, session) => {
            state.session(&session)?.ended.is_none().then_some(Event::SessionExpired { session })
        }
    }
}

/// A nonce whose minute is over belongs to transactions that have expired, which are refused without it.
fn drop_nonces(state: &impl StateRead, block: &BlockContext) -> Delta {
    let mut delta = Delta::default();
    let mut overlay = crate::Overlay::new(state);
    for _ in 0..MINUTES_PER_BLOCK {
        let Some(minute) = queues::oldest_nonce_minute(&overlay, block.time.minute()) else { break };
        let (from, to) = queues::nonce_minute(minute);
        let mut dropped = Delta::default();
        dropped.merkle.insert(keys::nonces(minute), None);
        dropped.flat.extend(state.scan_flat(&from, &to, usize::MAX).into_iter().map(|(row, _)| (row, None)));
        overlay.push(dropped);
    }
    delta.extend(overlay.into_delta());
    delta
}
