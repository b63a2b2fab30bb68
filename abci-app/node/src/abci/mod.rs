//! ABCI 0.38 over sockets: the engine asks, an [`Application`] answers, [`Server`] stands between
//! (<https://docs.cometbft.com/v0.38/spec/abci/>).
//!
//! # Invariants
//! - A fault in `Query` or `CheckTx` is an answer with a code; it ends neither a connection nor the process.
//! - A fault in anything that decides about blocks is told to the engine as an exception and to whoever runs the
//!   server, and nothing is answered after it: a node that is wrong is worse than a node that stands.
//! - Memory grows with what a peer has sent, never with what it says that it will send.

mod codec;
mod dispatch;
mod events;
mod query;
mod server;
mod vouchsafe;

use std::fmt;

use prost::bytes::Bytes;
use tendermint_proto::v0_38::abci::{
    RequestApplySnapshotChunk, RequestCheckTx, RequestCommit, RequestExtendVote, RequestFinalizeBlock, RequestInfo,
    RequestInitChain, RequestListSnapshots, RequestLoadSnapshotChunk, RequestOfferSnapshot, RequestPrepareProposal,
    RequestProcessProposal, RequestQuery, RequestVerifyVoteExtension, ResponseApplySnapshotChunk, ResponseCheckTx,
    ResponseCommit, ResponseExtendVote, ResponseFinalizeBlock, ResponseInfo, ResponseInitChain, ResponseListSnapshots,
    ResponseLoadSnapshotChunk, ResponseOfferSnapshot, ResponsePrepareProposal, ResponseProcessProposal, ResponseQuery,
    ResponseVerifyVoteExtension, response_apply_snapshot_chunk, response_offer_snapshot, response_process_proposal,
    response_verify_vote_extension,
};

pub use codec::MAX_MESSAGE;
pub use dispatch::{CODESPACE, INTERNAL};
pub use events::{EVENT_JSON, EVENT_PREFIX, MISBEHAVIOUR};
pub use query::{BAD_KEY, NO_SUCH_HEIGHT, PROOF_TYPE, PRUNED, UNKNOWN_PATH};
pub use server::{Address, Server, Serving};
pub use vouchsafe::{BUSY, REJECTIONS, VouchsafeAbci};

/// *We failed*: why this node cannot answer. Invalid input is never a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(String);

impl Fault {
    /// A fault with a word for the operator.
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

impl From<crate::NodeError> for Fault {
    fn from(e: crate::NodeError) -> Self {
        Self(e.to_string())
    }
}

/// What an application answers.
pub type Answer<T> = Result<T, Fault>;

/// What an engine drives. Each method's default is that of an application which accepts everything and keeps nothing;
/// `Echo` and `Flush` are the server's own.
///
/// CometBFT opens four connections (consensus, mempool, query, snapshot); the requests of one come in order, those of
/// different ones at the same time.
pub trait Application: Send + Sync + 'static {
    /// Where the application stands, asked when the engine starts.
    ///
    /// # Errors
    /// A fault stops the node.
    fn info(&self, _request: RequestInfo) -> Answer<ResponseInfo> {
        Ok(ResponseInfo::default())
    }

    /// Reads the state.
    ///
    /// # Errors
    /// A fault is answered by a code.
    fn query(&self, _request: RequestQuery) -> Answer<ResponseQuery> {
        Ok(ResponseQuery::default())
    }

    /// Whether a transaction may wait in the mempool.
    ///
    /// # Errors
    /// A fault is answered by a code.
    fn check_tx(&self, _request: RequestCheckTx) -> Answer<ResponseCheckTx> {
        Ok(ResponseCheckTx::default())
    }

    /// Told which transactions `check_tx` will be asked about next: an application may do together what is cheaper
    /// together. The default does nothing; a fault here is met again in `check_tx`.
    fn check_txs_ahead(&self, _txs: &[Bytes]) {}

    /// Begins the chain.
    ///
    /// # Errors
    /// A fault stops the node.
    fn init_chain(&self, _request: RequestInitChain) -> Answer<ResponseInitChain> {
        Ok(ResponseInitChain::default())
    }

    /// Chooses the transactions of this node's own proposal. The default takes them in their order up to the limit.
    ///
    /// # Errors
    /// A fault stops the node.
    fn prepare_proposal(&self, request: RequestPrepareProposal) -> Answer<ResponsePrepareProposal> {
        let mut room = u64::try_from(request.max_tx_bytes).unwrap_or(0);
        let fits = |tx: &Bytes| room.checked_sub(tx.len() as u64).inspect(|left| room = *left).is_some();
        Ok(ResponsePrepareProposal { txs: request.txs.into_iter().take_while(fits).collect() })
    }

    /// Whether another's proposal may be voted for.
    ///
    /// # Errors
    /// A fault stops the node.
    fn process_proposal(&self, _request: RequestProcessProposal) -> Answer<ResponseProcessProposal> {
        Ok(ResponseProcessProposal { status: response_process_proposal::ProposalStatus::Accept.into() })
    }

    /// Computes a decided block. The default gives every transaction the code 0.
    ///
    /// # Errors
    /// A fault stops the node.
    fn finalize_block(&self, request: RequestFinalizeBlock) -> Answer<ResponseFinalizeBlock> {
        let tx_results = request.txs.iter().map(|_| Default::default()).collect();
        Ok(ResponseFinalizeBlock { tx_results, ..Default::default() })
    }

    /// Makes the computed block last.
    ///
    /// # Errors
    /// A fault stops the node.
    fn commit(&self, _request: RequestCommit) -> Answer<ResponseCommit> {
        Ok(ResponseCommit::default())
    }

    /// Adds to this node's precommit.
    ///
    /// # Errors
    /// A fault stops the node.
    fn extend_vote(&self, _request: RequestExtendVote) -> Answer<ResponseExtendVote> {
        Ok(ResponseExtendVote::default())
    }

    /// Judges what another added to its precommit.
    ///
    /// # Errors
    /// A fault stops the node.
    fn verify_vote_extension(&self, _request: RequestVerifyVoteExtension) -> Answer<ResponseVerifyVoteExtension> {
        Ok(ResponseVerifyVoteExtension { status: response_verify_vote_extension::VerifyStatus::Accept.into() })
    }

    /// Which snapshots there are.
    ///
    /// # Errors
    /// A fault is answered as if there were none.
    fn list_snapshots(&self, _request: RequestListSnapshots) -> Answer<ResponseListSnapshots> {
        Ok(ResponseListSnapshots::default())
    }

    /// Whether a snapshot is wanted. The default rejects each.
    ///
    /// # Errors
    /// A fault stops the node.
    fn offer_snapshot(&self, _request: RequestOfferSnapshot) -> Answer<ResponseOfferSnapshot> {
        Ok(ResponseOfferSnapshot { result: response_offer_snapshot::Result::Reject.into() })
    }

    /// A piece of a snapshot.
    ///
    /// # Errors
    /// A fault is answered by an empty piece.
    fn load_snapshot_chunk(&self, _request: RequestLoadSnapshotChunk) -> Answer<ResponseLoadSnapshotChunk> {
        Ok(ResponseLoadSnapshotChunk::default())
    }

    /// Takes a piece of a snapshot. The default, which accepts no snapshot, ends the restoring.
    ///
    /// # Errors
    /// A fault stops the node.
    fn apply_snapshot_chunk(&self, _request: RequestApplySnapshotChunk) -> Answer<ResponseApplySnapshotChunk> {
        Ok(ResponseApplySnapshotChunk {
            result: response_apply_snapshot_chunk::Result::Abort.into(),
            ..Default::default()
        })
    }
}
