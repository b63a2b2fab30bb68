//! Sets of validators, and which of them may speak for the chain.

use serde_json::{Value, json};
use tendermint::{
    PublicKey,
    block::{CommitSig, signed_header::SignedHeader},
    chain,
    crypto::{default::signature::Verifier as Ed25519, signature::Verifier as _},
    validator::{Info, Set},
    vote::{Power, Type, ValidatorIndex, Vote},
};
use tendermint_light_client_verifier::{ProdVerifier, Verdict, types::UntrustedBlockState};

use super::{Trust, VerifyError, check_base64, malformed, read_header};
use crate::{NodeError, comet, proof::ValidatorChange};

/// CometBFT's list of a set, as its `/validators` writes it. Proposer priorities, which change with each block and which no
/// header carries, are 0.
///
/// # Errors
/// `Comet` when the list cannot be written.
pub fn write_validators(set: &Set) -> Result<Value, NodeError> {
    let rows = set.validators().iter().map(|v| {
        let key = serde_json::to_value(v.pub_key).map_err(|e| NodeError::Comet(e.to_string()))?;
        Ok(json!({
            "address": v.address.to_string(),
            "pub_key": key,
            "voting_power": v.power().to_string(),
            "proposer_priority": "0",
        }))
    });
    Ok(Value::Array(rows.collect::<Result<_, NodeError>>()?))
}

/// Reads a list of validators: their keys and powers. What else it says is compared by who needs it to be exact.
///
/// # Errors
/// `Malformed`.
pub fn read_validators(json: &Value) -> Result<Set, VerifyError> {
    let of_form = |e: &dyn std::fmt::Display| malformed("validators", e);
    let rows = json.as_array().ok_or_else(|| of_form(&"not a list"))?;
    let mut infos = Vec::with_capacity(rows.len());
    let mut total = 0_u64;
    for row in rows {
        check_base64("validators", &row["pub_key"]["value"])?;
        let key: PublicKey = serde_json::from_value(row["pub_key"].clone()).map_err(|e| of_form(&e))?;
        let power: u64 = row["voting_power"]
            .as_str()
            .and_then(|p| p.parse().ok())
            .filter(|p| *p > 0)
            .ok_or_else(|| of_form(&"a voting power is no positive number"))?;
        total = total.saturating_add(power);
        infos.push(Info::new(key, Power::try_from(power).map_err(|e| of_form(&e))?));
    }
    // `Set` takes for granted what is checked here.
    if infos.is_empty() || total > Set::MAX_TOTAL_VOTING_POWER {
        return Err(of_form(&"there are none, or they have more power than CometBFT can count"));
    }
    Ok(Set::without_proposer(infos))
}

/// Reads a list of validators that is written exactly as `write_validators` does, because no signature covers the text.
pub(super) fn read_exactly(json: &Value) -> Result<Set, VerifyError> {
    let set = read_validators(json)?;
    let written = write_validators(&set).map_err(|e| malformed("validators", e))?;
    if written == *json { Ok(set) } else { Err(malformed("validators", "not written as CometBFT writes it")) }
}

/// The set that the changes lead to from the genesis document's, and the last change's height (0 without changes).
///
/// Each change is one header that more than two thirds of the set before committed. What a set signs is believed only while
/// no later change is named; a list that leaves one out does not lead to the set that signs after it.
pub(super) fn follow(changes: &[ValidatorChange], trust: &Trust) -> Result<(Set, u64), VerifyError> {
    let mut set = trust.chain.validators().clone();
    let mut height = 0;
    for change in changes {
        let signed = read_header(&change.signed_header)?;
        check_whole(&signed, trust.chain.id(), &set)?;
        let next = read_exactly(&change.validators)?;
        let at = signed.header.height.value();
        if at <= height {
            return Err(VerifyError::Changes { height: at, why: "it is not after the one before" });
        }
        if signed.header.next_validators_hash != next.hash() {
            return Err(VerifyError::Changes { height: at, why: "its header names other validators" });
        }
        if next.hash() == set.hash() {
            return Err(VerifyError::Changes { height: at, why: "it changes nothing" });
        }
        (set, height) = (next, at);
    }
    Ok((set, height))
}

/// Checks that more than two thirds of a set committed a header of a chain.
pub(super) fn check_committed(signed: &SignedHeader, chain: &chain::Id, set: &Set) -> Result<(), VerifyError> {
    let got = &signed.header.chain_id;
    if chain != got {
        return Err(VerifyError::OtherChain { trusted: chain.to_string(), got: got.to_string() });
    }
    if signed.header.validators_hash != set.hash() {
        return Err(VerifyError::OtherValidators);
    }
    let verifier = ProdVerifier::default();
    let block = UntrustedBlockState { signed_header: signed, validators: set, next_validators: None };
    for verdict in [verifier.verify_validator_sets(&block), verifier.verify_commit(&block)] {
        match verdict {
            Verdict::Success => {}
            Verdict::NotEnoughTrust(tally) => return Err(VerifyError::NotCommitted(tally.to_string())),
            Verdict::Invalid(why) => return Err(VerifyError::NotCommitted(why.to_string())),
        }
    }
    Ok(())
}

/// Likewise, and that every vote of the commit is by the validator whose place it has. The verifier stops counting at two
/// thirds; in a proof no bit may be changed unnoticed.
pub(super) fn check_whole(signed: &SignedHeader, chain: &chain::Id, set: &Set) -> Result<(), VerifyError> {
    check_committed(signed, chain, set)?;
    let refuse = |place: usize, why: &str| VerifyError::NotCommitted(format!("vote {place}: {why}"));
    let commit = &signed.commit;
    for (place, (vote, validator)) in commit.signatures.iter().zip(set.validators()).enumerate() {
        let (address, timestamp, signature, block_id) = match vote {
            CommitSig::BlockIdFlagAbsent => continue,
            CommitSig::BlockIdFlagCommit { validator_address, timestamp, signature } => {
                (validator_address, timestamp, signature, Some(commit.block_id))
            }
            CommitSig::BlockIdFlagNil { validator_address, timestamp, signature } => {
                (validator_address, timestamp, signature, None)
            }
        };
        if *address != validator.address {
            return Err(refuse(place, "it is in another validator's place"));
        }
        let signature = signature.as_ref().ok_or_else(|| refuse(place, "it has no signature"))?;
        let vote = Vote {
            vote_type: Type::Precommit,
            height: commit.height,
            round: commit.round,
            block_id,
            timestamp: Some(*timestamp),
            validator_address: *address,
            validator_index: ValidatorIndex::try_from(place).map_err(|_| refuse(place, "there are too many"))?,
            signature: None,
            extension: Vec::new(),
            extension_signature: None,
        };
        let said = vote.into_signable_vec(chain.clone());
        Ed25519.verify(validator.pub_key, &said, signature).map_err(|_| refuse(place, "the signature is wrong"))?;
    }
    Ok(())
}

/// The change that a header is, written for a proof.
pub(super) fn write_change(signed: &SignedHeader, next: &Set) -> Result<ValidatorChange, NodeError> {
    let signed_header = serde_json::to_value(signed).map_err(|e| NodeError::Comet(e.to_string()))?;
    Ok(ValidatorChange { signed_header, validators: write_validators(next)? })
}

/// A header's time as the machine has it.
pub(super) fn time_of(signed: &SignedHeader) -> Result<vouchsafe_types::TimeMs, VerifyError> {
    comet::time_ms(signed.header.time).ok_or_else(|| malformed("signed_header", "a time before 1970"))
}
