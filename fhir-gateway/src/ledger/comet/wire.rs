//! What CometBFT's RPC answers, read into what it means.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use tendermint::{block::signed_header::SignedHeader, validator::Set};
use vouchsafe_node::{
    abci::EVENT_JSON,
    comet::{Outcome, TxOutcome, data_hash, time_ms},
    verify::{read_signed_header, read_validators},
};
use vouchsafe_types::{Event, Hash32, TimeMs, jws::hash_of};

/// An answer is not of its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not of its form")]
pub(super) struct Form(pub(super) &'static str);

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) chain: String,
    pub(super) height: u64,
    pub(super) time: TimeMs,
    pub(super) catching_up: bool,
}

/// `/status`.
pub(super) fn status(answer: &Value) -> Result<Status, Form> {
    let sync = &answer["sync_info"];
    let chain = answer["node_info"]["network"].as_str().ok_or(Form("status"))?.to_owned();
    let time = sync["latest_block_time"].as_str().and_then(time_of).ok_or(Form("status"))?;
    let height = number(&sync["latest_block_height"]).ok_or(Form("status"))?;
    Ok(Status { chain, height, time, catching_up: sync["catching_up"].as_bool().unwrap_or(true) })
}

/// `/commit`.
pub(super) fn signed_header(answer: &mut Value) -> Result<SignedHeader, Form> {
    read_signed_header(answer["signed_header"].take()).map_err(|_| Form("commit"))
}

/// One page of `/validators`: the set so far, and whether it is whole.
pub(super) fn validators(pages: &[Value]) -> Result<Option<Set>, Form> {
    let mut rows = Vec::new();
    for page in pages {
        rows.extend(page["validators"].as_array().ok_or(Form("validators"))?.iter().cloned());
    }
    let total = pages.last().and_then(|page| number(&page["total"])).ok_or(Form("validators"))?;
    if (rows.len() as u64) < total {
        return Ok(None);
    }
    read_validators(&Value::Array(rows)).map(Some).map_err(|_| Form("validators"))
}

/// The transactions of `/block`, when they are those of a header.
pub(super) fn transactions(answer: &Value, header: &SignedHeader) -> Result<Vec<Vec<u8>>, Form> {
    let list = answer["block"]["data"]["txs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let txs = list.iter().map(|tx| decode(tx).ok_or(Form("block"))).collect::<Result<Vec<_>, _>>()?;
    let hash = data_hash(&txs);
    if header.header.data_hash.as_ref().map(tendermint::Hash::as_bytes) != Some(&hash.0[..]) {
        return Err(Form("block"));
    }
    Ok(txs)
}

/// The transactions' hashes and the time of `/block`, believed as they are.
pub(super) fn hashes(answer: &Value) -> Result<(TimeMs, Vec<Hash32>), Form> {
    let block = &answer["block"];
    let time = block["header"]["time"].as_str().and_then(time_of).ok_or(Form("block"))?;
    let list = block["data"]["txs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let hashes = list.iter().map(|tx| decode(tx).map(|tx| hash_of(&tx)).ok_or(Form("block")));
    Ok((time, hashes.collect::<Result<_, _>>()?))
}

/// `/block_results` of a block with these transactions.
pub(super) fn outcome(answer: &Value, time: TimeMs, hashes: &[Hash32]) -> Result<Outcome, Form> {
    let results = answer["txs_results"].as_array().map(Vec::as_slice).unwrap_or_default();
    if results.len() != hashes.len() {
        return Err(Form("block_results"));
    }
    let txs = results.iter().zip(hashes).map(|(result, hash)| tx_outcome(result, *hash));
    let txs = txs.collect::<Result<_, _>>()?;
    // CometBFT has one list for what a block's begin and its end told; in this version of the rules a begin tells nothing.
    Ok(Outcome { time, begin: Vec::new(), txs, end: events(&answer["finalize_block_events"])? })
}

/// An `ExecTxResult`.
pub(super) fn tx_outcome(result: &Value, hash: Hash32) -> Result<TxOutcome, Form> {
    let code = result["code"].as_u64().and_then(|code| u32::try_from(code).ok()).ok_or(Form("a result"))?;
    let data = if result["data"].is_null() { Some(Vec::new()) } else { decode(&result["data"]) };
    let data = data.ok_or(Form("a result"))?;
    let log = result["log"].as_str().unwrap_or_default().to_owned();
    Ok(TxOutcome { hash, code, data, log, events: events(&result["events"])? })
}

fn events(list: &Value) -> Result<Vec<Event>, Form> {
    let mut found = Vec::new();
    for event in list.as_array().map(Vec::as_slice).unwrap_or_default() {
        let attributes = event["attributes"].as_array().map(Vec::as_slice).unwrap_or_default();
        // Other events than ours are the engine's own.
        let Some(ours) = attributes.iter().find(|a| a["key"] == EVENT_JSON) else { continue };
        let text = ours["value"].as_str().ok_or(Form("an event"))?;
        found.push(serde_json::from_str(text).map_err(|_| Form("an event"))?);
    }
    Ok(found)
}

/// What `/abci_query` of a key says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) height: u64,
    pub(super) value: Option<Vec<u8>>,
    /// ICS-23, when it was asked for.
    pub(super) proof: Option<Vec<u8>>,
}

/// The answer to `abci_query`; the inner error is the application's word.
pub(super) fn said(answer: &Value) -> Result<Result<Said, String>, Form> {
    let response = &answer["response"];
    let code = response["code"].as_u64().ok_or(Form("abci_query"))?;
    if code != 0 {
        return Ok(Err(format!("{code}: {}", response["log"].as_str().unwrap_or_default())));
    }
    let height = number(&response["height"]).ok_or(Form("abci_query"))?;
    // No value of the state is empty, and protobuf cannot tell empty from absent.
    let value = match &response["value"] {
        Value::Null => None,
        text => Some(decode(text).ok_or(Form("abci_query"))?).filter(|value| !value.is_empty()),
    };
    let operation = response["proofOps"]["ops"].get(0);
    let proof = operation.map(|op| decode(&op["data"]).ok_or(Form("abci_query"))).transpose()?;
    Ok(Ok(Said { height, value, proof }))
}

pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

pub(super) fn decode(text: &Value) -> Option<Vec<u8>> {
    STANDARD.decode(text.as_str()?).ok()
}

/// CometBFT writes 64-bit numbers as text.
pub(super) fn number(value: &Value) -> Option<u64> {
    value.as_str()?.parse().ok()
}

fn time_of(text: &str) -> Option<TimeMs> {
    time_ms(tendermint::Time::parse_from_rfc3339(text).ok()?)
}
