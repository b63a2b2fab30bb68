//! Following a chain whose validators change, and proving to those who were not there.

use std::time::Duration;

use ed25519_consensus::SigningKey;
use tendermint::{
    Hash, PublicKey, Signature, Time,
    block::{Commit, CommitSig, Header, Height, Id, Round, parts, signed_header::SignedHeader},
    validator::{Info, Set},
    vote::{Power, Type, ValidatorIndex, Vote},
};
use vouchsafe_node::{
    LedgerProof, ValidatorChange,
    comet::{comet_time, time_ms},
    verify::{LightClient, LightError, Options, Trust, VerifyError, verify_proof, write_validators},
};
use vouchsafe_types::{OkpJwk, TimeMs, genesis::Validator, time::Count};

use crate::consortium::{BEGIN, Consortium, SeedKey};

/// Validators with their keys: (seed, power) each.
struct Keys(Vec<(SigningKey, Info)>);

impl Keys {
    fn new(members: &[(u8, u64)]) -> Self {
        let one = |(seed, power): &(u8, u64)| {
            let key = SigningKey::from([*seed; 32]);
            let public = PublicKey::from_raw_ed25519(&key.verification_key().to_bytes()).unwrap();
            (key, Info::new(public, Power::try_from(*power).unwrap()))
        };
        Self(members.iter().map(one).collect())
    }

    fn set(&self) -> Set {
        Set::without_proposer(self.0.iter().map(|(_, info)| info.clone()).collect())
    }

    fn key_of(&self, info: &Info) -> &SigningKey {
        &self.0.iter().find(|(_, i)| i.address == info.address).unwrap().0
    }
}

/// How a validator voted.
#[derive(Clone, Copy, PartialEq)]
enum Voted {
    For,
    Nil,
    Not,
    /// For, with a signature of another key.
    Badly,
}

/// A chain that exists only in its headers, over the state of an embedded one.
struct Simulated {
    consortium: Consortium,
    present: LedgerProof,
    pattern: Header,
}

impl Simulated {
    /// A chain that begins with these validators.
    async fn new(validators: &Keys) -> Self {
        let mut consortium = Consortium::new("light");
        let ledger = consortium.open().unwrap();
        for n in 0..3 {
            ledger.submit(consortium.anchor(n)).await.unwrap();
        }
        let present = ledger.prove(&[consortium.head_key(1)]).await.unwrap().remove(0);
        ledger.stop().await;
        let body = &mut consortium.genesis.body;
        body.validators = validators
            .set()
            .validators()
            .iter()
            .map(|v| Validator {
                ed25519: OkpJwk::new(v.pub_key.ed25519().unwrap().as_bytes().try_into().unwrap()),
                power: Count(v.power()),
            })
            .collect();
        let keys: [&SeedKey; 2] = [&consortium.authority, &consortium.hospital];
        let body = &consortium.genesis.body;
        let sign = |f: &vouchsafe_types::genesis::Founder| {
            body.endorse(*keys.iter().find(|k| k.account() == f.account).unwrap())
        };
        consortium.genesis.signatures = body.founders.iter().map(sign).collect();
        let signed: SignedHeader = serde_json::from_value(present.signed_header.clone()).unwrap();
        let mut pattern = signed.header;
        pattern.chain_id = consortium.chain().parse().unwrap();
        Self { consortium, present, pattern }
    }

    fn trust(&self) -> Trust {
        let genesis = &self.consortium.genesis;
        Trust::new(genesis, genesis.body.digest()).unwrap()
    }

    fn client(&self) -> LightClient {
        LightClient::new(self.trust(), Options::default())
    }

    fn time(height: u64) -> Time {
        comet_time(TimeMs(BEGIN.0 + height * 1000)).unwrap()
    }

    /// The header at a height that `by` commit and that names `next`; `votes` beyond the list are `For`.
    fn header(&self, height: u64, by: &Keys, next: &Keys, votes: &[Voted]) -> SignedHeader {
        let set = by.set();
        let header = Header {
            height: Height::try_from(height).unwrap(),
            time: Self::time(height),
            validators_hash: set.hash(),
            next_validators_hash: next.set().hash(),
            proposer_address: set.validators()[0].address,
            ..self.pattern.clone()
        };
        commit(header, by, votes)
    }

    /// The embedded chain's proof, under a header of these validators.
    fn proof(&self, by: &Keys, next: &Keys, votes: &[Voted], changes: Vec<ValidatorChange>) -> LedgerProof {
        let signed = self.header(self.present.height + 1, by, next, votes);
        LedgerProof {
            signed_header: serde_json::to_value(signed).unwrap(),
            validators: write_validators(&by.set()).unwrap(),
            changes,
            ..self.present.clone()
        }
    }
}

fn commit(header: Header, by: &Keys, votes: &[Voted]) -> SignedHeader {
    let id = Id { hash: header.hash(), part_set_header: parts::Header::new(1, Hash::Sha256([7; 32])).unwrap() };
    let set = by.set();
    let signatures = set.validators().iter().enumerate().map(|(place, info)| {
        let voted = votes.get(place).copied().unwrap_or(Voted::For);
        if voted == Voted::Not {
            return CommitSig::BlockIdFlagAbsent;
        }
        let vote = Vote {
            vote_type: Type::Precommit,
            height: header.height,
            round: Round::default(),
            block_id: (voted != Voted::Nil).then_some(id),
            timestamp: Some(header.time),
            validator_address: info.address,
            validator_index: ValidatorIndex::try_from(place).unwrap(),
            signature: None,
            extension: Vec::new(),
            extension_signature: None,
        };
        let other = SigningKey::from([99; 32]);
        let key = if voted == Voted::Badly { &other } else { by.key_of(info) };
        let signature = key.sign(&vote.into_signable_vec(header.chain_id.clone())).to_bytes();
        let (validator_address, timestamp) = (info.address, header.time);
        let signature = Signature::new(signature).unwrap();
        if voted == Voted::Nil {
            CommitSig::BlockIdFlagNil { validator_address, timestamp, signature }
        } else {
            CommitSig::BlockIdFlagCommit { validator_address, timestamp, signature }
        }
    });
    let signatures = signatures.collect();
    let commit = Commit { height: header.height, round: Round::default(), block_id: id, signatures };
    SignedHeader::new(header, commit).unwrap()
}

fn change(signed: &SignedHeader, next: &Keys) -> ValidatorChange {
    ValidatorChange {
        signed_header: serde_json::to_value(signed).unwrap(),
        validators: write_validators(&next.set()).unwrap(),
    }
}

fn now(height: u64) -> TimeMs {
    time_ms(Simulated::time(height)).unwrap()
}

fn four() -> Keys {
    Keys::new(&[(11, 10), (12, 10), (13, 10), (14, 10)])
}

/// One of the four replaced.
fn changed() -> Keys {
    Keys::new(&[(11, 10), (12, 10), (13, 10), (15, 10)])
}

/// Nobody of the first four is left.
fn others() -> Keys {
    Keys::new(&[(15, 10), (16, 7), (17, 7)])
}

#[tokio::test]
async fn headers_are_believed_by_more_than_two_thirds_of_the_power() {
    use Voted::{Badly, For, Nil, Not};
    let (four, uneven) = (four(), Keys::new(&[(11, 34), (12, 33), (13, 33)]));
    let chain = Simulated::new(&four).await;
    let takes = |votes: &[Voted]| chain.client().advance(chain.header(5, &four, &four, votes), None, now(5));
    for votes in [vec![], vec![Not], vec![For, For, For, Nil], vec![Nil, For]] {
        assert_eq!(takes(&votes).unwrap(), now(5));
    }
    for votes in [vec![Not, Not], vec![Nil, Not], vec![Nil, Nil, Nil, Nil], vec![Not, Not, Not, Not]] {
        assert!(matches!(takes(&votes), Err(LightError::Invalid(VerifyError::NotCommitted(_)))));
    }
    // Three others are enough, and still no vote may be forged: what is handed on holds to the last bit.
    for votes in [vec![Badly], vec![For, For, For, Badly]] {
        assert!(matches!(takes(&votes), Err(LightError::Invalid(VerifyError::NotCommitted(_)))));
    }
    let chain = Simulated::new(&uneven).await;
    let takes =
        |votes: &[Voted]| chain.client().advance(chain.header(5, &uneven, &uneven, votes), None, now(5)).is_ok();
    assert!(takes(&[For, For, Not]), "67 of 100");
    assert!(!takes(&[Not, For, For]), "66 of 100 are not more than two thirds");
}

#[tokio::test]
async fn changes_of_the_validators_are_followed_and_skipped_ones_refused() {
    let (four, changed, others) = (four(), changed(), others());
    let chain = Simulated::new(&four).await;
    let mut client = chain.client();
    client.advance(chain.header(3, &four, &four, &[]), None, now(3)).unwrap();
    // Three of four stay, far more than a third: even so the change itself must be shown.
    let after = chain.header(9, &changed, &changed, &[]);
    assert!(matches!(client.advance(after.clone(), None, now(9)), Err(LightError::Skipped { height: 9 })));
    let at = chain.header(7, &four, &changed, &[]);
    assert!(matches!(client.advance(at.clone(), None, now(9)), Err(LightError::NextMissing { height: 7 })));
    let lied = client.advance(at.clone(), Some(others.set()), now(9));
    assert!(matches!(lied, Err(LightError::Invalid(VerifyError::NotCommitted(_)))), "{lied:?}");
    assert_eq!((client.height(), client.changes().len()), (3, 0), "what was refused changed nothing");
    client.advance(at, Some(changed.set()), now(9)).unwrap();
    client.advance(after, None, now(9)).unwrap();
    // Those who left commit no more.
    let old = client.advance(chain.header(10, &four, &four, &[]), None, now(10));
    assert!(matches!(old, Err(LightError::Skipped { height: 10 })), "{old:?}");
    client.advance(chain.header(10, &changed, &others, &[]), Some(others.set()), now(10)).unwrap();
    client.advance(chain.header(11, &others, &others, &[]), None, now(11)).unwrap();
    assert_eq!((client.height(), client.changes().len()), (11, 2));
    let back = client.advance(chain.header(11, &others, &others, &[]), None, now(11));
    assert!(matches!(back, Err(LightError::NotNewer { head: 11, got: 11 })), "{back:?}");
}

#[tokio::test]
async fn a_header_of_another_chain_or_from_the_future_is_not_believed() {
    let four = four();
    let chain = Simulated::new(&four).await;
    let mut client = chain.client();
    let elsewhere = Header { chain_id: "elsewhere-1".parse().unwrap(), ..chain.header(3, &four, &four, &[]).header };
    let got = client.advance(commit(elsewhere, &four, &[]), None, now(3));
    assert!(matches!(got, Err(LightError::Invalid(VerifyError::OtherChain { .. }))), "{got:?}");
    // The first header and those after it alike: ten seconds of drift, not eleven.
    for height in [20, 40] {
        let future = client.advance(chain.header(height, &four, &four, &[]), None, now(height - 11));
        assert!(matches!(future, Err(LightError::Invalid(VerifyError::NotCommitted(_)))), "{future:?}");
        client.advance(chain.header(height, &four, &four, &[]), None, now(height - 9)).unwrap();
    }
    // Time goes forward with the height.
    let mut early = chain.header(41, &four, &four, &[]).header;
    early.time = Simulated::time(39);
    let got = client.advance(commit(early, &four, &[]), None, now(41));
    assert!(matches!(got, Err(LightError::Invalid(VerifyError::NotCommitted(_)))), "{got:?}");
}

#[tokio::test]
async fn what_was_believed_too_long_ago_vouches_for_nothing() {
    let four = four();
    let chain = Simulated::new(&four).await;
    let options = Options { trusting_period: Duration::from_secs(100), ..Options::default() };
    let mut client = LightClient::new(chain.trust(), options);
    client.advance(chain.header(1, &four, &four, &[]), None, now(1)).unwrap();
    let late = client.advance(chain.header(102, &four, &four, &[]), None, now(102));
    assert!(matches!(late, Err(LightError::Expired)), "{late:?}");
    client.advance(chain.header(100, &four, &four, &[]), None, now(100)).unwrap();
    client.advance(chain.header(102, &four, &four, &[]), None, now(102)).unwrap();
}

#[tokio::test]
async fn a_checkpoint_goes_on_only_when_it_holds() {
    let (four, changed) = (four(), changed());
    let chain = Simulated::new(&four).await;
    let mut client = chain.client();
    assert_eq!(client.checkpoint().unwrap(), None);
    client.advance(chain.header(7, &four, &changed, &[]), Some(changed.set()), now(7)).unwrap();
    let at_change = client.checkpoint().unwrap().unwrap();
    client.advance(chain.header(8, &changed, &changed, &[]), None, now(8)).unwrap();
    let kept = client.checkpoint().unwrap().unwrap();
    let resume = |kept| LightClient::resume(chain.trust(), Options::default(), kept);
    for kept in [&at_change, &kept] {
        let mut back = resume(kept.clone()).unwrap();
        back.advance(chain.header(9, &changed, &changed, &[]), None, now(9)).unwrap();
    }
    let mut forged = kept.clone();
    forged.changes.clear();
    assert!(matches!(resume(forged), Err(LightError::Invalid(VerifyError::OtherValidators))));
    let mut forged = kept.clone();
    forged.signed_header = serde_json::to_value(chain.header(8, &others(), &others(), &[])).unwrap();
    assert!(matches!(resume(forged), Err(LightError::Invalid(VerifyError::OtherValidators))));
    let mut forged = kept;
    forged.signed_header = serde_json::to_value(chain.header(6, &four, &four, &[])).unwrap();
    assert!(matches!(resume(forged), Err(LightError::Invalid(VerifyError::Changes { height: 6, .. }))));
}

#[tokio::test]
async fn a_third_party_follows_the_changes_of_a_proof_from_the_genesis_on() {
    let (four, changed, others) = (four(), changed(), others());
    let chain = Simulated::new(&four).await;
    let height = chain.present.height;
    assert!(height >= 2, "the header of the first height is of another form");
    let trust = chain.trust();
    verify_proof(&chain.proof(&four, &four, &[], vec![]), &trust).unwrap();
    // A header may itself name other validators for the next height.
    verify_proof(&chain.proof(&four, &others, &[], vec![]), &trust).unwrap();
    let first = change(&chain.header(height, &four, &changed, &[]), &changed);
    verify_proof(&chain.proof(&changed, &changed, &[], vec![first.clone()]), &trust).unwrap();

    let refused = |proof: LedgerProof| verify_proof(&proof, &trust).unwrap_err();
    let skipped = refused(chain.proof(&changed, &changed, &[], vec![]));
    assert!(matches!(skipped, VerifyError::OtherValidators), "{skipped}");
    let unsigned = refused(chain.proof(&changed, &changed, &[Voted::Not, Voted::Not], vec![first.clone()]));
    assert!(matches!(unsigned, VerifyError::NotCommitted(_)), "{unsigned}");
    let left = refused(chain.proof(&four, &four, &[], vec![first.clone()]));
    assert!(matches!(left, VerifyError::OtherValidators), "those who left: {left}");
    let weak = change(&chain.header(height, &four, &others, &[Voted::Not, Voted::Not]), &others);
    let weak = refused(chain.proof(&others, &others, &[], vec![weak]));
    assert!(matches!(weak, VerifyError::NotCommitted(_)), "{weak}");
    let forged = change(&chain.header(height, &others, &others, &[]), &others);
    let forged = refused(chain.proof(&others, &others, &[], vec![forged]));
    assert!(matches!(forged, VerifyError::OtherValidators), "a set that appoints itself: {forged}");
    let other = change(&chain.header(height, &four, &changed, &[]), &others);
    let other = refused(chain.proof(&others, &others, &[], vec![other]));
    assert!(matches!(other, VerifyError::Changes { .. }), "not the set that the header names: {other}");
    let idle = change(&chain.header(height, &four, &four, &[]), &four);
    let idle = refused(chain.proof(&four, &four, &[], vec![idle]));
    assert!(matches!(idle, VerifyError::Changes { .. }), "a change that is none: {idle}");
    let after = change(&chain.header(height + 1, &four, &changed, &[]), &changed);
    let after = refused(chain.proof(&changed, &changed, &[], vec![after]));
    assert!(matches!(after, VerifyError::Changes { .. }), "a change after what is proved: {after}");
    let twice = change(&chain.header(height, &changed, &others, &[]), &others);
    let twice = refused(chain.proof(&others, &others, &[], vec![first, twice]));
    assert!(matches!(twice, VerifyError::Changes { .. }), "two at one height: {twice}");
}

/// Every bit of every text and number of the changes, and of a commit with four signatures.
#[tokio::test]
async fn no_bit_of_a_change_can_be_flipped() {
    let (four, changed) = (four(), changed());
    let chain = Simulated::new(&four).await;
    let first = change(&chain.header(chain.present.height, &four, &changed, &[]), &changed);
    let whole = serde_json::to_value(chain.proof(&changed, &changed, &[], vec![first])).unwrap();
    let trust = chain.trust();
    let mut flips = 0;
    for member in ["changes", "signed_header"] {
        let text = serde_json::to_vec(&whole[member]).unwrap();
        // One bit of each byte: which one, the place decides. All of them take minutes.
        for place in 0..text.len() {
            let mut bytes = text.clone();
            bytes[place] ^= 1 << (place % 7);
            let Ok(altered) = serde_json::from_slice::<serde_json::Value>(&bytes) else { continue };
            let mut forged = whole.clone();
            forged[member] = altered;
            let Ok(forged) = serde_json::from_value::<LedgerProof>(forged) else { continue };
            flips += 1;
            assert!(verify_proof(&forged, &trust).is_err(), "{} is accepted", String::from_utf8_lossy(&bytes));
        }
    }
    assert!(flips > 2000, "only {flips} flips gave JSON again");
}
