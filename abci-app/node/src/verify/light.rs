//! The light client: follows a chain by its headers, trusting nothing but a genesis document.
//!
//! It is pure: headers, sets and the time are handed to it. It goes from header to header while the validators stay the same,
//! and change by change when they do not, so that what it believes can always be shown to somebody else by the headers of
//! the changes. Each header needs more than two thirds of the known set: that is stricter than the rule by which light clients
//! skip (a third of the set before, which may be a set that was voted out since), and the skip is not needed, because a
//! change is found by bisection over `validators_hash` in as many steps.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tendermint::{block::signed_header::SignedHeader, validator::Set};
use tendermint_light_client_verifier::{
    ProdVerifier, Verdict, Verifier as _,
    errors::VerificationErrorDetail,
    options::Options as CometOptions,
    types::{TrustThreshold, TrustedBlockState, UntrustedBlockState},
};
use vouchsafe_types::TimeMs;

use super::{Trust, VerifyError, check_whole, read_header, time_of, validators};
use crate::{NodeError, comet, proof::ValidatorChange};

/// How a light client bounds what it believes by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// For how long validators answer for a header: those who left longer ago can no longer be held to what they signed.
    pub trusting_period: Duration,
    /// How far the own clock may be behind.
    pub clock_drift: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { trusting_period: Duration::from_secs(14 * 24 * 3600), clock_drift: Duration::from_secs(10) }
    }
}

/// Why a header is not believed.
#[derive(Debug, thiserror::Error)]
pub enum LightError {
    /// The validators changed on the way to this header: the headers of the changes must be followed first.
    #[error("the header at {height} is of other validators than those known: a change was skipped")]
    Skipped {
        /// The header's height.
        height: u64,
    },
    /// The header names validators for the next height that did not come with it.
    #[error("the header at {height} changes the validators, and the set that follows was not brought")]
    NextMissing {
        /// The header's height.
        height: u64,
    },
    /// The newest header believed is older than the trusting period.
    #[error("the newest header believed is older than the trusting period")]
    Expired,
    /// The header is not newer than the one believed.
    #[error("the header at {got} is not after {head}")]
    NotNewer {
        /// The newest header believed.
        head: u64,
        /// The header's height.
        got: u64,
    },
    /// The header does not hold.
    #[error(transparent)]
    Invalid(#[from] VerifyError),
}

/// What a light client keeps over a restart. It is checked again when it is read: a file is no proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The changes of the validators so far.
    pub changes: Vec<ValidatorChange>,
    /// The newest header believed.
    pub signed_header: Value,
}

/// A light client.
#[derive(Clone, Debug)]
pub struct LightClient {
    trust: Trust,
    options: Options,
    /// The newest header believed; none before the first.
    head: Option<SignedHeader>,
    /// Who commits the next height.
    validators: Set,
    changes: Vec<ValidatorChange>,
}

impl LightClient {
    /// Begins at the genesis document.
    pub fn new(trust: Trust, options: Options) -> Self {
        let validators = trust.chain.validators().clone();
        Self { trust, options, head: None, validators, changes: Vec::new() }
    }

    /// Goes on where another one was, when that holds against the genesis document.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn resume(trust: Trust, options: Options, checkpoint: Checkpoint) -> Result<Self, LightError> {
        let (validators, changed) = validators::follow(&checkpoint.changes, &trust)?;
        let head = read_header(&checkpoint.signed_header)?;
        let at = head.header.height.value();
        if at > changed {
            check_whole(&head, trust.chain.id(), &validators)?;
        } else if checkpoint.changes.last().is_none_or(|change| change.signed_header != checkpoint.signed_header) {
            return Err(VerifyError::Changes { height: at, why: "it is after the newest header" }.into());
        }
        Ok(Self { trust, options, head: Some(head), validators, changes: checkpoint.changes })
    }

    /// What to keep; none before the first header.
    ///
    /// # Errors
    /// `Comet` when it cannot be written.
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>, NodeError> {
        let Some(head) = &self.head else { return Ok(None) };
        let signed_header = serde_json::to_value(head).map_err(|e| NodeError::Comet(e.to_string()))?;
        Ok(Some(Checkpoint { changes: self.changes.clone(), signed_header }))
    }

    /// What is trusted.
    pub const fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The newest header believed.
    pub const fn head(&self) -> Option<&SignedHeader> {
        self.head.as_ref()
    }

    /// Its height; 0 before the first.
    pub fn height(&self) -> u64 {
        self.head.as_ref().map_or(0, |head| head.header.height.value())
    }

    /// Who commits the next height.
    pub const fn validators(&self) -> &Set {
        &self.validators
    }

    /// The changes of the validators so far, as a proof carries them.
    pub fn changes(&self) -> &[ValidatorChange] {
        &self.changes
    }

    /// Those who commit this header, and how many of the changes came before it; none when it is of neither the newest set nor
    /// the one before.
    pub fn committers(&self, signed: &SignedHeader) -> Option<(usize, Set)> {
        let hash = signed.header.validators_hash;
        let count = self.changes.len();
        if hash == self.validators.hash() {
            return Some((count, self.validators.clone()));
        }
        let before = count.checked_sub(1)?;
        let set = match before.checked_sub(1) {
            None => self.trust.chain.validators().clone(),
            Some(last) => validators::read_validators(&self.changes[last].validators).ok()?,
        };
        (hash == set.hash()).then_some((before, set))
    }

    /// Whether this header is to be believed by those who commit now, and, when it changes them, by whom it is followed.
    /// `next` is needed only then. `now` is the own clock.
    ///
    /// # Errors
    /// A `LightError`; nothing is then changed.
    pub fn advance(&mut self, signed: SignedHeader, next: Option<Set>, now: TimeMs) -> Result<TimeMs, LightError> {
        let header = &signed.header;
        let (head, got) = (self.height(), header.height.value());
        if got <= head {
            return Err(LightError::NotNewer { head, got });
        }
        if header.validators_hash != self.validators.hash() {
            return Err(LightError::Skipped { height: got });
        }
        let changes = header.next_validators_hash != header.validators_hash;
        let next = match (changes, next) {
            (false, _) => self.validators.clone(),
            (true, Some(next)) => next,
            (true, None) => return Err(LightError::NextMissing { height: got }),
        };
        self.check(&signed, &next, now)?;
        let time = time_of(&signed)?;
        if changes {
            let change = validators::write_change(&signed, &next);
            self.changes.push(change.map_err(|e| super::malformed("validators", e))?);
        }
        (self.head, self.validators) = (Some(signed), next);
        Ok(time)
    }

    fn check(&self, signed: &SignedHeader, next: &Set, now: TimeMs) -> Result<(), LightError> {
        let of_form = |e: NodeError| super::malformed("the own clock", e);
        let now = comet::comet_time(now).map_err(of_form)?;
        // What this client hands on must hold for whoever reads it to the last bit.
        check_whole(signed, self.trust.chain.id(), &self.validators)?;
        let untrusted =
            UntrustedBlockState { signed_header: signed, validators: &self.validators, next_validators: Some(next) };
        let verifier = ProdVerifier::default();
        let options = CometOptions {
            trust_threshold: TrustThreshold::TWO_THIRDS,
            trusting_period: self.options.trusting_period,
            clock_drift: self.options.clock_drift,
        };
        let verdict = match &self.head {
            Some(head) => verifier.verify_update_header(
                untrusted,
                TrustedBlockState {
                    chain_id: self.trust.chain.id(),
                    header_time: head.header.time,
                    height: head.header.height,
                    next_validators: &self.validators,
                    next_validators_hash: self.validators.hash(),
                },
                &options,
                now,
            ),
            // The first header after the genesis document, whose age nothing but the document bounds.
            None => match verifier.verify_validator_sets(&untrusted) {
                Verdict::Success => verifier.check_header_is_from_past(&untrusted, &options, now),
                other => other,
            },
        };
        match verdict {
            Verdict::Success => Ok(()),
            Verdict::Invalid(VerificationErrorDetail::NotWithinTrustPeriod(_)) => Err(LightError::Expired),
            Verdict::Invalid(why) => Err(VerifyError::NotCommitted(why.to_string()).into()),
            Verdict::NotEnoughTrust(tally) => Err(VerifyError::NotCommitted(tally.to_string()).into()),
        }
    }
}
