//! From a request to its response, with every fault and panic caught on the way.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use prost::bytes::Bytes;
use tendermint_proto::v0_38::abci::{
    Request, Response, ResponseCheckTx, ResponseEcho, ResponseException, ResponseListSnapshots,
    ResponseLoadSnapshotChunk, ResponseQuery, request::Value as Asked, response::Value as Answered,
};

use super::{Answer, Application, Fault};

/// The code of a `Query` or `CheckTx` that met a fault of this node; no rejection has it.
pub const INTERNAL: u32 = u32::MAX;

/// The codespace of codes that are not rejections.
pub const CODESPACE: &str = "vouchsafe-node";

/// What a peer is told of a fault; the rest is the operator's.
const FAILED: &str = "this node failed; its log says why";

/// What to do with a response.
#[derive(Debug)]
pub(super) enum Next {
    /// Go on.
    Answer(Answered),
    /// Go on, after everything that waits was sent.
    Flush,
    /// Stop the node, after the exception was sent.
    Stop(Fault),
    /// Close this connection, after the exception was sent: the peer does not speak ABCI 0.38.
    Close(Fault),
}

/// The exception that tells a peer of a fault.
pub(super) fn exception(fault: &Fault) -> Response {
    Response { value: Some(Answered::Exception(ResponseException { error: fault.to_string() })) }
}

/// Answers a request.
pub(super) fn answer(app: &dyn Application, request: Request) -> Next {
    let Some(asked) = request.value else {
        return Next::Close(Fault::new("a request of a kind that ABCI 0.38 does not know"));
    };
    match asked {
        Asked::Echo(r) => Next::Answer(Answered::Echo(ResponseEcho { message: r.message })),
        Asked::Flush(_) => Next::Flush,
        Asked::Query(r) => lenient(
            "Query",
            || app.query(r).map(Answered::Query),
            || {
                let (code, codespace, log) = (INTERNAL, CODESPACE.into(), FAILED.into());
                Answered::Query(ResponseQuery { code, codespace, log, ..Default::default() })
            },
        ),
        Asked::CheckTx(r) => lenient(
            "CheckTx",
            || app.check_tx(r).map(Answered::CheckTx),
            || {
                let (code, codespace, log) = (INTERNAL, CODESPACE.into(), FAILED.into());
                Answered::CheckTx(ResponseCheckTx { code, codespace, log, ..Default::default() })
            },
        ),
        Asked::ListSnapshots(r) => lenient(
            "ListSnapshots",
            || app.list_snapshots(r).map(Answered::ListSnapshots),
            || Answered::ListSnapshots(ResponseListSnapshots::default()),
        ),
        Asked::LoadSnapshotChunk(r) => lenient(
            "LoadSnapshotChunk",
            || app.load_snapshot_chunk(r).map(Answered::LoadSnapshotChunk),
            || Answered::LoadSnapshotChunk(ResponseLoadSnapshotChunk::default()),
        ),
        Asked::Info(r) => strict("Info", || app.info(r).map(Answered::Info)),
        Asked::InitChain(r) => strict("InitChain", || app.init_chain(r).map(Answered::InitChain)),
        Asked::PrepareProposal(r) => {
            strict("PrepareProposal", || app.prepare_proposal(r).map(Answered::PrepareProposal))
        }
        Asked::ProcessProposal(r) => {
            strict("ProcessProposal", || app.process_proposal(r).map(Answered::ProcessProposal))
        }
        Asked::FinalizeBlock(r) => strict("FinalizeBlock", || app.finalize_block(r).map(Answered::FinalizeBlock)),
        Asked::Commit(r) => strict("Commit", || app.commit(r).map(Answered::Commit)),
        Asked::ExtendVote(r) => strict("ExtendVote", || app.extend_vote(r).map(Answered::ExtendVote)),
        Asked::VerifyVoteExtension(r) => {
            strict("VerifyVoteExtension", || app.verify_vote_extension(r).map(Answered::VerifyVoteExtension))
        }
        Asked::OfferSnapshot(r) => strict("OfferSnapshot", || app.offer_snapshot(r).map(Answered::OfferSnapshot)),
        Asked::ApplySnapshotChunk(r) => {
            strict("ApplySnapshotChunk", || app.apply_snapshot_chunk(r).map(Answered::ApplySnapshotChunk))
        }
    }
}

/// Tells the application what it will be asked next. What it could not do, it will say then.
pub(super) fn ahead(app: &dyn Application, txs: &[Bytes]) {
    if let Err(fault) = caught(|| {
        app.check_txs_ahead(txs);
        Ok(())
    }) {
        tracing::error!(error = %fault, "a fault in looking ahead");
    }
}

/// A request about which no validator votes: a fault is a kind of answer.
fn lenient(kind: &str, work: impl FnOnce() -> Answer<Answered>, otherwise: impl FnOnce() -> Answered) -> Next {
    Next::Answer(caught(work).unwrap_or_else(|fault| {
        tracing::error!(error = %fault, "a fault in {kind}; it is answered by a code");
        otherwise()
    }))
}

/// A request that decides about blocks: after a fault nothing can be answered that would not be a guess.
fn strict(kind: &str, work: impl FnOnce() -> Answer<Answered>) -> Next {
    match caught(work) {
        Ok(answered) => Next::Answer(answered),
        Err(fault) => Next::Stop(Fault(format!("a fault in {kind}: {fault}"))),
    }
}

fn caught<T>(work: impl FnOnce() -> Answer<T>) -> Answer<T> {
    // What an application shares between requests it guards by locks that survive a panic, or is stopped by `strict`.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(Fault(format!("a panic: {}", word(&*panic)))))
}

fn word(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word")
}
