//! The consent machine behind ABCI.

use std::time::{SystemTime, UNIX_EPOCH};

use prost::bytes::Bytes;
use tendermint_proto::{
    google::protobuf::Timestamp,
    v0_38::{
        abci::{
            self, CheckTxType, ExecTxResult, RequestCheckTx, RequestCommit, RequestFinalizeBlock, RequestInfo,
            RequestInitChain, RequestPrepareProposal, RequestProcessProposal, RequestQuery, ResponseCheckTx,
            ResponseCommit, ResponseFinalizeBlock, ResponseInfo, ResponseInitChain, ResponsePrepareProposal,
            ResponseProcessProposal, ResponseQuery, ValidatorUpdate, response_process_proposal::ProposalStatus,
        },
        crypto::{PublicKey, public_key::Sum},
    },
};
use vouchsafe_types::{Code, Rejection, TimeMs, genesis::Genesis};

use super::{Answer, Application, CODESPACE, Fault, events, query};
use crate::{
    app::{App, Misbehaviour, NotNow, Proposal, TxResult},
    comet::APP_VERSION,
};

/// The codespace of rejections; their codes are those of docs/ledger-spec.md.
pub const REJECTIONS: &str = "vouchsafe";

/// In `CODESPACE`: the node has as much to do as it can; the same bytes may be sent again.
pub const BUSY: u32 = u32::MAX - 1;

/// The application of a consortium's chain.
#[derive(Debug)]
pub struct VouchsafeAbci {
    app: App,
    genesis: Genesis,
}

impl VouchsafeAbci {
    /// Puts an application that was opened with `genesis` behind ABCI.
    pub const fn new(app: App, genesis: Genesis) -> Self {
        Self { app, genesis }
    }

    /// The application.
    pub const fn app(&self) -> &App {
        &self.app
    }

    /// That the engine begins the chain which this node's genesis document founds. A node that began another would
    /// part from the others at the first block, and nobody would know why.
    fn check_genesis(&self, request: &RequestInitChain) -> Answer<()> {
        let given: Genesis = serde_json::from_slice(&request.app_state_bytes)
            .map_err(|e| Fault::new(format!("the engine's app_state is no genesis document: {e}")))?;
        given.check().map_err(|e| Fault::new(format!("the engine's genesis document: {e}")))?;
        let (ours, theirs) = (&self.genesis.body, &given.body);
        if ours.digest() != theirs.digest() {
            let (ours, theirs) = (ours.digest(), theirs.digest());
            return Err(Fault::new(format!("the engine's genesis document is {theirs}, this node's {ours}")));
        }
        if request.chain_id != ours.chain_id() {
            let why =
                format!("the engine's chain is {:?}, the genesis document's {}", request.chain_id, ours.chain_id());
            return Err(Fault::new(why));
        }
        if request.initial_height != 1 {
            return Err(Fault::new(format!("the chain begins at height 1, not {}", request.initial_height)));
        }
        let time = request.time.map(time_ms).transpose()?;
        if time != Some(ours.time) {
            return Err(Fault::new("the engine's genesis time is not the genesis document's"));
        }
        let mut founded = validators(&self.genesis)?;
        let mut named = request.validators.clone();
        for list in [&mut founded, &mut named] {
            list.sort_by(|a, b| key_bytes(a).cmp(key_bytes(b)));
        }
        if founded != named {
            return Err(Fault::new("the engine's validators are not those of the genesis document"));
        }
        let max_bytes = request.consensus_params.as_ref().and_then(|p| p.block).map(|b| b.max_bytes);
        if max_bytes.and_then(|b| u64::try_from(b).ok()) != Some(ours.params.max_block_bytes.0) {
            return Err(Fault::new("the engine's block.max_bytes is not the genesis document's max_block_bytes"));
        }
        Ok(())
    }
}

fn key_bytes(update: &ValidatorUpdate) -> &[u8] {
    match update.pub_key.as_ref().and_then(|key| key.sum.as_ref()) {
        Some(Sum::Ed25519(bytes) | Sum::Secp256k1(bytes)) => bytes,
        None => &[],
    }
}

/// The validators of the genesis document as ABCI names them.
fn validators(genesis: &Genesis) -> Answer<Vec<ValidatorUpdate>> {
    let update = |v: &vouchsafe_types::genesis::Validator| {
        let power = i64::try_from(v.power.0).map_err(|_| Fault::new("a validator has too much power"))?;
        Ok(ValidatorUpdate { pub_key: Some(PublicKey { sum: Some(Sum::Ed25519(v.ed25519.bytes().to_vec())) }), power })
    };
    genesis.body.validators.iter().map(update).collect()
}

impl Application for VouchsafeAbci {
    fn info(&self, _: RequestInfo) -> Answer<ResponseInfo> {
        let head = self.app.head()?;
        Ok(ResponseInfo {
            data: "vouchsafe".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            app_version: APP_VERSION,
            last_block_height: height_i64(head.height)?,
            last_block_app_hash: Bytes::copy_from_slice(&head.app_hash.0),
        })
    }

    fn init_chain(&self, request: RequestInitChain) -> Answer<ResponseInitChain> {
        self.check_genesis(&request)?;
        // The store was begun with the document when it was opened; an engine that was stopped meanwhile asks again.
        let head = self.app.head()?;
        if head.height != 0 {
            return Err(Fault::new(format!("the engine begins the chain, but the store is at height {}", head.height)));
        }
        Ok(ResponseInitChain {
            consensus_params: None,
            validators: validators(&self.genesis)?,
            app_hash: Bytes::copy_from_slice(&head.app_hash.0),
        })
    }

    fn check_tx(&self, request: RequestCheckTx) -> Answer<ResponseCheckTx> {
        let judged = if request.r#type == i32::from(CheckTxType::Recheck) {
            self.app.stay_in_mempool(&request.tx, now())?.map_err(NotNow::from)
        } else {
            self.app.enter_mempool(&request.tx, now())?
        };
        Ok(match judged {
            Ok(()) => ResponseCheckTx::default(),
            Err(NotNow::Rejected(Rejection { code, facts })) => ResponseCheckTx {
                code: code.number(),
                codespace: REJECTIONS.into(),
                info: code.name().into(),
                log: facts,
                ..Default::default()
            },
            Err(NotNow::Busy { waiting, most }) => ResponseCheckTx {
                code: BUSY,
                codespace: CODESPACE.into(),
                info: "busy".into(),
                log: format!("{waiting} transactions wait, {most} may; come back"),
                ..Default::default()
            },
        })
    }

    fn check_txs_ahead(&self, txs: &[Bytes]) {
        self.app.verify_ahead(txs, now());
    }

    fn prepare_proposal(&self, request: RequestPrepareProposal) -> Answer<ResponsePrepareProposal> {
        let time = block_time(request.time)?;
        let max_bytes = u64::try_from(request.max_tx_bytes).unwrap_or(0);
        let chosen = self.app.propose(time, owned(&request.txs), max_bytes)?;
        Ok(ResponsePrepareProposal { txs: chosen.into_iter().map(Bytes::from).collect() })
    }

    fn process_proposal(&self, request: RequestProcessProposal) -> Answer<ResponseProcessProposal> {
        let (height, time) = (height_u64(request.height)?, block_time(request.time)?);
        let status = match self.app.process_proposal(height, time, &owned(&request.txs))? {
            Proposal::Accept => ProposalStatus::Accept,
            Proposal::Refuse(index, rejection) => {
                let proposer = hex::encode_upper(&request.proposer_address);
                tracing::warn!(height, proposer, ?index, %rejection, "a proposal is refused");
                ProposalStatus::Reject
            }
        };
        Ok(ResponseProcessProposal { status: status.into() })
    }

    fn finalize_block(&self, request: RequestFinalizeBlock) -> Answer<ResponseFinalizeBlock> {
        let (height, time) = (height_u64(request.height)?, block_time(request.time)?);
        let misbehaviour = request.misbehavior.iter().map(offence).collect::<Answer<Vec<_>>>()?;
        let done = self.app.finalize_block_with(height, time, &owned(&request.txs), &misbehaviour)?;
        let mut told: Vec<_> = done.events.iter().map(events::abci_event).collect();
        told.extend(misbehaviour.iter().map(events::misbehaviour_event));
        Ok(ResponseFinalizeBlock {
            events: told,
            tx_results: done.results.into_iter().map(exec_result).collect(),
            validator_updates: Vec::new(),
            consensus_param_updates: None,
            app_hash: Bytes::copy_from_slice(&done.app_hash.0),
        })
    }

    fn commit(&self, _: RequestCommit) -> Answer<ResponseCommit> {
        self.app.commit()?;
        // Every block stays: proofs, replay and new nodes rest on them.
        Ok(ResponseCommit { retain_height: 0 })
    }

    fn query(&self, request: RequestQuery) -> Answer<ResponseQuery> {
        query::answer(&self.app, &request)
    }
}

/// A result as the engine hashes it: the code and the data; gas stays 0, the rest is for people.
fn exec_result(result: TxResult) -> ExecTxResult {
    let name = Code::ALL.iter().find(|code| code.number() == result.code).map_or("", |code| code.name());
    ExecTxResult {
        code: result.code,
        data: result.data.into(),
        log: result.log,
        info: name.into(),
        events: result.events.iter().map(events::abci_event).collect(),
        codespace: if result.code == 0 { String::new() } else { REJECTIONS.into() },
        ..Default::default()
    }
}

fn offence(found: &abci::Misbehavior) -> Answer<Misbehaviour> {
    let validator = found.validator.clone().unwrap_or_default();
    let kind = match abci::MisbehaviorType::try_from(found.r#type) {
        Ok(abci::MisbehaviorType::DuplicateVote) => "duplicate-vote",
        Ok(abci::MisbehaviorType::LightClientAttack) => "light-client-attack",
        _ => "unknown",
    };
    Ok(Misbehaviour {
        kind: kind.into(),
        validator: hex::encode_upper(&validator.address),
        height: height_u64(found.height)?,
        time: block_time(found.time)?,
        power: u64::try_from(validator.power).unwrap_or(0),
        total_power: u64::try_from(found.total_voting_power).unwrap_or(0),
    })
}

fn owned(txs: &[Bytes]) -> Vec<Vec<u8>> {
    txs.iter().map(|tx| tx.to_vec()).collect()
}

fn block_time(time: Option<Timestamp>) -> Answer<TimeMs> {
    time_ms(time.ok_or_else(|| Fault::new("a block without a time"))?)
}

/// The milliseconds of a block's time; the rest of its nanoseconds is dropped, as everywhere a header is read.
fn time_ms(time: Timestamp) -> Answer<TimeMs> {
    let ms = i128::from(time.seconds) * 1000 + i128::from(time.nanos) / 1_000_000;
    u64::try_from(ms).map(TimeMs).map_err(|_| Fault::new("a block's time is before 1970"))
}

fn height_u64(height: i64) -> Answer<u64> {
    u64::try_from(height).map_err(|_| Fault::new(format!("a height of {height}")))
}

fn height_i64(height: u64) -> Answer<i64> {
    i64::try_from(height).map_err(|_| Fault::new(format!("a height of {height}")))
}

fn now() -> TimeMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimeMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
