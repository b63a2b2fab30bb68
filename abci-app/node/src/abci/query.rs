//! What the state says, with proofs.
//!
//! | path | data | answer |
//! |---|---|---|
//! | `/key` | a key of the Merkle state (`vouchsafe_types::keys`) | its value, empty when there is none; with `prove` an ICS-23 proof of either, against the app hash in the header of the next height |
//! | `/head` | | the last block, JSON |
//! | `/misbehaviour` | | the offences of validators, JSON |

use prost::bytes::Bytes;
use tendermint_proto::v0_38::{
    abci::{RequestQuery, ResponseQuery},
    crypto::{ProofOp, ProofOps},
};

use vouchsafe_core::StateRead;

use super::{Answer, CODESPACE, Fault};
use crate::app::App;

/// The type of the one proof operation: an ICS-23 `CommitmentProof` over a Jellyfish Merkle tree.
pub const PROOF_TYPE: &str = "ics23:jmt";

/// In `CODESPACE`: there is no such path.
pub const UNKNOWN_PATH: u32 = 1;
/// In `CODESPACE`: `data` is no key.
pub const BAD_KEY: u32 = 2;
/// In `CODESPACE`: no block has that height yet, or it is not a height.
pub const NO_SUCH_HEIGHT: u32 = 3;
/// In `CODESPACE`: that height's state is not kept any more.
pub const PRUNED: u32 = 4;

/// Keys of the state are at most about 100 bytes; this only keeps an absence proof's key small.
const MAX_KEY: usize = 256;

pub(super) fn answer(app: &App, request: &RequestQuery) -> Answer<ResponseQuery> {
    match request.path.as_str() {
        "/key" => key(app, request),
        "/head" => json(app, &app.head()?),
        "/misbehaviour" => json(app, &app.misbehaviour()?),
        _ => Ok(refused(UNKNOWN_PATH, "paths are /key, /head and /misbehaviour")),
    }
}

fn json(app: &App, value: &impl serde::Serialize) -> Answer<ResponseQuery> {
    let value = serde_json::to_vec(value).map_err(|e| Fault::new(e.to_string()))?;
    Ok(ResponseQuery { value: value.into(), height: height_i64(app.head()?.height)?, ..Default::default() })
}

fn key(app: &App, request: &RequestQuery) -> Answer<ResponseQuery> {
    if request.data.is_empty() || request.data.len() > MAX_KEY {
        return Ok(refused(BAD_KEY, "data must be a key of the state"));
    }
    let mut view = app.store().view()?;
    let Some(head) = view.head().map(|head| head.height) else { return Err(Fault::new("the store has no head")) };
    let height = match request.height {
        0 => head,
        asked => match u64::try_from(asked) {
            Ok(asked) if asked <= head => asked,
            _ => return Ok(refused(NO_SUCH_HEIGHT, &format!("the last height is {head}"))),
        },
    };
    if !request.prove && height == head {
        // Most questions; a proof costs ten times as much.
        let value = view.get(&request.data).map_or_else(Bytes::new, Bytes::from);
        view.failure()?;
        let (key, height) = (request.data.clone(), height_i64(height)?);
        return Ok(ResponseQuery { key, value, height, ..Default::default() });
    }
    let version = view.version_at(height)?;
    if view.root_at(version).is_err() {
        return Ok(refused(PRUNED, &format!("the state of height {height} is not kept any more")));
    }
    let (value, proof) = view.prove(&request.data, version)?;
    view.failure()?;
    let proof_ops = request.prove.then(|| ProofOps {
        ops: vec![ProofOp { r#type: PROOF_TYPE.into(), key: request.data.to_vec(), data: proof }],
    });
    Ok(ResponseQuery {
        key: request.data.clone(),
        value: value.map_or_else(Bytes::new, Bytes::from),
        proof_ops,
        height: height_i64(height)?,
        ..Default::default()
    })
}

fn refused(code: u32, log: &str) -> ResponseQuery {
    ResponseQuery { code, codespace: CODESPACE.into(), log: log.into(), ..Default::default() }
}

fn height_i64(height: u64) -> Answer<i64> {
    i64::try_from(height).map_err(|_| Fault::new(format!("a height of {height}")))
}
