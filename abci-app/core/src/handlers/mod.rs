//! One file per transaction. `validate` reads the state and returns facts or a rejection; `execute` gets the facts
//! alone, so that nothing changes that was not judged.

use vouchsafe_types::{TimeMs, state::Params};

use crate::{BlockContext, Outcome, StateRead, Verdict, admission::Actor};

mod add_credential;
mod add_device;
mod affiliate;
mod anchor;
mod anchor_audit;
mod ask;
mod decide;
mod end;
mod end_affiliation;
mod end_key;
mod judge;
mod mandate;
mod open;
mod register;
mod revoke;
mod set_endpoint;

/// What a transaction is judged against.
pub(crate) struct View<'a, S> {
    /// The state before it.
    pub(crate) state: &'a S,
    /// Its block.
    pub(crate) block: &'a BlockContext,
    /// The chain's parameters.
    pub(crate) params: Params,
    /// Who signed.
    pub(crate) actor: Actor,
}

impl<S> View<'_, S> {
    /// The block's time, the only one there is.
    pub(crate) const fn now(&self) -> TimeMs {
        self.block.time
    }
}

/// A transaction's two halves.
pub(crate) trait Handler {
    /// What `validate` found and `execute` writes.
    type Facts;

    /// Judges; changes nothing.
    fn validate<S: StateRead>(&self, view: &View<'_, S>) -> Verdict<Self::Facts>;

    /// Says what changes and what is told; can refuse nothing and reads nothing.
    fn execute(facts: Self::Facts, now: TimeMs) -> Outcome;
}

/// Judges and executes.
pub(crate) fn run<H: Handler, S: StateRead>(handler: &H, view: &View<'_, S>) -> Verdict<Outcome> {
    Ok(H::execute(handler.validate(view)?, view.now()))
}
