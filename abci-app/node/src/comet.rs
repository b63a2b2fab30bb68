//! CometBFT's data structures as this chain uses them: headers, commits, hashes (CometBFT 0.38,
//! `spec/core/data_structures.md`), so that one verifier serves both engines.

use prost::Message as _;
use serde::{Deserialize, Serialize};
use tendermint::{
    AppHash, Hash, PublicKey, Signature, Time, account,
    block::{Commit, CommitSig, Header, Height, Id, Round, header::Version, parts, signed_header::SignedHeader},
    chain,
    crypto::default::Sha256,
    merkle::simple_hash_from_byte_vectors,
    validator, vote,
};
use tendermint_proto::v0_38;
use vouchsafe_types::{Event, Hash32, TimeMs, genesis::Genesis, jws::Sign};

use crate::{NodeError, ValidatorKey};

/// The block protocol of CometBFT 0.38.
const BLOCK_PROTOCOL: u64 = 11;
/// The version of this application.
pub const APP_VERSION: u64 = 1;
/// The size of a block's parts (`types.BlockPartSizeBytes`).
const PART_BYTES: usize = 65_536;

/// What a block did: the result of each transaction, and what its begin and its end told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The block's time.
    pub time: TimeMs,
    /// Events before the first transaction.
    pub begin: Vec<Event>,
    /// The transactions' results, in their order.
    pub txs: Vec<TxOutcome>,
    /// Events after the last transaction.
    pub end: Vec<Event>,
}

/// What one transaction did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxOutcome {
    /// SHA-256 of its bytes.
    pub hash: Hash32,
    /// 0 when accepted, else the rejection's number.
    pub code: u32,
    /// Deterministic data; hashed.
    pub data: Vec<u8>,
    /// The rejection's facts; for people, not hashed.
    pub log: String,
    /// What it told; empty when rejected.
    pub events: Vec<Event>,
}

impl Outcome {
    /// `LastResultsHash` of the next header: the Merkle root over the deterministic members of each result
    /// (`abci.DeterministicExecTxResult`).
    pub fn results_hash(&self) -> Hash32 {
        let results: Vec<Vec<u8>> = self
            .txs
            .iter()
            .map(|tx| {
                let (code, data) = (tx.code, tx.data.clone().into());
                v0_38::abci::ExecTxResult { code, data, ..Default::default() }.encode_to_vec()
            })
            .collect();
        merkle_root(&results)
    }
}

/// RFC 6962's tree hash as CometBFT takes it.
pub(crate) fn merkle_root(leaves: &[Vec<u8>]) -> Hash32 {
    Hash32(simple_hash_from_byte_vectors::<Sha256>(leaves))
}

const fn sha256(hash: Hash32) -> Hash {
    Hash::Sha256(hash.0)
}

/// Block time as CometBFT writes it.
///
/// # Errors
/// `Comet` for a time after the year 9999.
pub fn comet_time(time: TimeMs) -> Result<Time, NodeError> {
    let seconds = i64::try_from(time.0 / 1000).map_err(|_| NodeError::Comet("time out of range".into()))?;
    let nanos = u32::try_from(time.0 % 1000 * 1_000_000).map_err(|_| NodeError::Comet("time out of range".into()))?;
    Ok(Time::from_unix_timestamp(seconds, nanos)?)
}

/// The milliseconds of a header's time; `None` before 1970.
pub fn time_ms(time: Time) -> Option<TimeMs> {
    u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok().map(TimeMs)
}

/// What stays the same over all headers of a chain.
#[derive(Clone, Debug)]
pub struct Chain {
    id: chain::Id,
    validators: validator::Set,
    consensus_hash: Hash,
}

/// A block with everything that its header says, before it is committed.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Its height.
    pub height: u64,
    /// Its time.
    pub time: TimeMs,
    /// The block before and the commit for it; none for the first.
    pub last: Option<(Id, Commit)>,
    /// The app hash after the block before.
    pub app_hash: Hash32,
    /// The results hash of the block before.
    pub results_hash: Hash32,
    /// Its transactions.
    pub txs: Vec<Vec<u8>>,
}

/// A block and the commit for it.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// The block's id, which the next header names.
    pub id: Id,
    /// The commit, which the next block carries.
    pub commit: Commit,
    /// The block, protobuf.
    pub block_bytes: Vec<u8>,
    /// The commit, protobuf.
    pub commit_bytes: Vec<u8>,
}

impl Chain {
    /// The chain that a genesis document begins.
    ///
    /// # Errors
    /// `Comet` when a name, key or power is not of CometBFT's form.
    pub fn new(genesis: &Genesis) -> Result<Self, NodeError> {
        let body = &genesis.body;
        let infos = body.validators.iter().map(|v| {
            let key = PublicKey::from_raw_ed25519(v.ed25519.bytes())
                .ok_or_else(|| NodeError::Comet("a validator's key is no Ed25519 key".into()))?;
            Ok(validator::Info::new(key, vote::Power::try_from(v.power.0)?))
        });
        let infos = infos.collect::<Result<Vec<_>, NodeError>>()?;
        let total = body.validators.iter().try_fold(0u64, |sum, v| sum.checked_add(v.power.0));
        if total.is_none_or(|t| t > validator::Set::MAX_TOTAL_VOTING_POWER) {
            return Err(NodeError::Comet("the validators have more power than CometBFT can count".into()));
        }
        let max_bytes = i64::try_from(body.params.max_block_bytes.0)
            .map_err(|_| NodeError::Comet("max_block_bytes is out of range".into()))?;
        let hashed = v0_38::types::HashedParams { block_max_bytes: max_bytes, block_max_gas: -1 };
        Ok(Self {
            id: body.chain_id().try_into()?,
            validators: validator::Set::without_proposer(infos),
            consensus_hash: sha256(vouchsafe_types::jws::hash_of(&hashed.encode_to_vec())),
        })
    }

    /// The chain's id.
    pub const fn id(&self) -> &chain::Id {
        &self.id
    }

    /// The validators.
    pub const fn validators(&self) -> &validator::Set {
        &self.validators
    }

    /// Makes the header, the block and the commit with the one validator's precommit.
    ///
    /// # Errors
    /// `Comet` when a value is not of CometBFT's form.
    pub fn seal(&self, key: &ValidatorKey, draft: Draft) -> Result<Sealed, NodeError> {
        let header = self.header(&draft, proposer(key)?)?;
        let last_commit = draft.last.map(|(_, commit)| commit);
        let block = v0_38::types::Block {
            header: Some(header.clone().into()),
            data: Some(v0_38::types::Data { txs: draft.txs }),
            evidence: Some(v0_38::types::EvidenceList::default()),
            // CometBFT's first block carries an empty commit, not none.
            last_commit: Some(last_commit.unwrap_or_default().into()),
        };
        let block_bytes = block.encode_to_vec();
        let id = block_id(&header, &block_bytes)?;
        let commit = self.precommit(key, &header, id)?;
        let commit_bytes = v0_38::types::Commit::from(commit.clone()).encode_to_vec();
        Ok(Sealed { id, commit, block_bytes, commit_bytes })
    }

    fn header(&self, draft: &Draft, proposer: account::Id) -> Result<Header, NodeError> {
        Ok(Header {
            version: Version { block: BLOCK_PROTOCOL, app: APP_VERSION },
            chain_id: self.id.clone(),
            height: Height::try_from(draft.height)?,
            time: comet_time(draft.time)?,
            last_block_id: draft.last.as_ref().map(|(id, _)| *id),
            last_commit_hash: Some(commit_hash(draft.last.as_ref().map(|(_, commit)| commit))),
            data_hash: Some(sha256(data_hash(&draft.txs))),
            validators_hash: self.validators.hash(),
            next_validators_hash: self.validators.hash(),
            consensus_hash: self.consensus_hash,
            app_hash: AppHash::try_from(draft.app_hash.0.to_vec())?,
            last_results_hash: Some(sha256(draft.results_hash)),
            evidence_hash: Some(sha256(merkle_root(&[]))),
            proposer_address: proposer,
        })
    }

    fn precommit(&self, key: &ValidatorKey, header: &Header, id: Id) -> Result<Commit, NodeError> {
        let vote = vote::Vote {
            vote_type: vote::Type::Precommit,
            height: header.height,
            round: Round::default(),
            block_id: Some(id),
            timestamp: Some(header.time),
            validator_address: header.proposer_address,
            validator_index: vote::ValidatorIndex::try_from(0u32)?,
            signature: None,
            extension: Vec::new(),
            extension_signature: None,
        };
        let signature = Signature::new(key.sign(&vote.into_signable_vec(self.id.clone())))?;
        let signatures = vec![CommitSig::BlockIdFlagCommit {
            validator_address: header.proposer_address,
            timestamp: header.time,
            signature,
        }];
        Ok(Commit { height: header.height, round: Round::default(), block_id: id, signatures })
    }
}

/// The address of a validator key.
fn proposer(key: &ValidatorKey) -> Result<account::Id, NodeError> {
    let public = PublicKey::from_raw_ed25519(key.public().bytes())
        .ok_or_else(|| NodeError::Comet("the validator's key is no Ed25519 key".into()))?;
    Ok(account::Id::from(public))
}

/// `Commit.Hash`: the Merkle root over its signatures.
fn commit_hash(commit: Option<&Commit>) -> Hash {
    let signatures = commit.map(|c| c.signatures.clone()).unwrap_or_default();
    let leaves: Vec<Vec<u8>> =
        signatures.into_iter().map(|s| v0_38::types::CommitSig::from(s).encode_to_vec()).collect();
    sha256(merkle_root(&leaves))
}

/// The id of a block: its header's hash, and the Merkle root over its parts.
fn block_id(header: &Header, block_bytes: &[u8]) -> Result<Id, NodeError> {
    let chunks: Vec<Vec<u8>> = block_bytes.chunks(PART_BYTES).map(<[u8]>::to_vec).collect();
    let total = u32::try_from(chunks.len()).map_err(|_| NodeError::Comet("a block of too many parts".into()))?;
    Ok(Id { hash: header.hash(), part_set_header: parts::Header::new(total, sha256(merkle_root(&chunks)))? })
}

/// A block out of the log, its commit beside it, every hash that they hold recomputed.
#[derive(Clone, Debug)]
pub struct Unsealed {
    /// The header with its commit.
    pub signed: SignedHeader,
    /// The block's id.
    pub id: Id,
    /// The transactions.
    pub txs: Vec<Vec<u8>>,
}

/// Reads a block and its commit, and checks that the id committed is the block's, the data hash its transactions' and
/// the last commit's hash that of the one it carries. Signatures are `verify`'s.
///
/// # Errors
/// `Comet` with what does not fit.
pub fn unseal(block_bytes: &[u8], commit_bytes: &[u8]) -> Result<Unsealed, NodeError> {
    let unreadable = |e: &dyn std::fmt::Display| NodeError::Comet(format!("not readable: {e}"));
    let block = v0_38::types::Block::decode(block_bytes).map_err(|e| unreadable(&e))?;
    let commit = v0_38::types::Commit::decode(commit_bytes).map_err(|e| unreadable(&e))?;
    let commit = Commit::try_from(commit)?;
    let header = Header::try_from(block.header.ok_or_else(|| unreadable(&"no header"))?)?;
    let txs = block.data.unwrap_or_default().txs;
    let id = block_id(&header, block_bytes)?;
    if commit.block_id != id {
        return Err(NodeError::Comet("the commit is for another block".into()));
    }
    if header.data_hash != Some(sha256(data_hash(&txs))) {
        return Err(NodeError::Comet("the header is of other transactions".into()));
    }
    let last: Vec<Vec<u8>> =
        block.last_commit.unwrap_or_default().signatures.iter().map(|s| s.encode_to_vec()).collect();
    if header.last_commit_hash != Some(sha256(merkle_root(&last))) {
        return Err(NodeError::Comet("the header is of another last commit".into()));
    }
    Ok(Unsealed { signed: SignedHeader::new(header, commit)?, id, txs })
}

/// `DataHash` of a block's header: the Merkle root over the hashes of its transactions.
pub fn data_hash(txs: &[Vec<u8>]) -> Hash32 {
    let hashes: Vec<Vec<u8>> = txs.iter().map(|tx| vouchsafe_types::jws::hash_of(tx).0.to_vec()).collect();
    merkle_root(&hashes)
}
