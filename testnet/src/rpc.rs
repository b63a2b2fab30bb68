//! The engine's JSON-RPC (<https://docs.cometbft.com/v0.38/spec/rpc/>), as far as load and faults need it. Answers are
//! read member by member, because a node that is being killed may send anything.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// The longest that a node may take for an answer; one behind a partition never gives it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a node gave no answer that could be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RpcError {
    /// It could not be reached, or its answer broke off.
    #[error("not reached: {0}")]
    Unreachable(String),
    /// It answered with an error.
    #[error("refused: {0}")]
    Refused(String),
    /// It answered with something of another form.
    #[error("the answer to {0} has no {1}")]
    Form(&'static str, &'static str),
}

type Result<T> = std::result::Result<T, RpcError>;

/// One node.
#[derive(Clone, Debug)]
pub struct Rpc {
    http: reqwest::Client,
    url: String,
}

/// Where a node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its newest block.
    pub height: u64,
    /// Whether it is still fetching blocks that the others have.
    pub catching_up: bool,
}

/// A block as a node holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The block's id.
    pub id: String,
    /// The application's hash after the block before.
    pub app_hash: String,
    /// Its time, RFC 3339.
    pub time: String,
    /// Its transactions.
    pub txs: Vec<Vec<u8>>,
    /// How many proofs of double signing it carries.
    pub evidence: usize,
}

/// What a header says that two nodes must agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its height.
    pub height: u64,
    /// The block's id.
    pub id: String,
    /// The application's hash after the block before.
    pub app_hash: String,
}

/// What CheckTx said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// 0 when the transaction waits for a block.
    pub code: u32,
    /// Why not.
    pub log: String,
}

impl Rpc {
    /// The node whose RPC is at `http://HOST:PORT`.
    ///
    /// # Panics
    /// When this machine's TLS cannot be set up, which plain HTTP does not need.
    pub fn new(url: &str) -> Self {
        let http = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build();
        Self { http: http.expect("a plain client needs nothing"), url: url.to_owned() }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where the node stands.
    ///
    /// # Errors
    /// `RpcError`.
    pub async fn status(&self) -> Result<Status> {
        let said = self.call("status", json!({})).await?;
        let sync = &said["sync_info"];
        Ok(Status {
            height: number(&sync["latest_block_height"]).ok_or(RpcError::Form("status", "latest_block_height"))?,
            catching_up: sync["catching_up"].as_bool().ok_or(RpcError::Form("status", "catching_up"))?,
        })
    }

    /// How many other nodes it is connected with.
    ///
    /// # Errors
    /// `RpcError`.
    pub async fn peers(&self) -> Result<u64> {
        number(&self.call("net_info", json!({})).await?["n_peers"]).ok_or(RpcError::Form("net_info", "n_peers"))
    }

    /// For how long nothing came from each of the nodes that it is connected with.
    ///
    /// # Errors
    /// `RpcError`.
    pub async fn silences(&self) -> Result<Vec<Duration>> {
        let said = self.call("net_info", json!({})).await?;
        let peers = said["peers"].as_array().map(Vec::as_slice).unwrap_or_default();
        let idle = |peer: &Value| number(&peer["connection_status"]["RecvMonitor"]["Idle"]).map(Duration::from_nanos);
        peers.iter().map(|peer| idle(peer).ok_or(RpcError::Form("net_info", "Idle"))).collect()
    }

    /// How many transactions wait in its mempool.
    ///
    /// # Errors
    /// `RpcError`.
    pub async fn waiting(&self) -> Result<u64> {
        let said = self.call("num_unconfirmed_txs", json!({})).await?;
        number(&said["total"]).ok_or(RpcError::Form("num_unconfirmed_txs", "total"))
    }

    /// A block.
    ///
    /// # Errors
    /// `RpcError`; `Refused` when the node does not have it.
    pub async fn block(&self, height: u64) -> Result<Block> {
        let said = self.call("block", json!({ "height": height.to_string() })).await?;
        let (header, missing) = (&said["block"]["header"], |what| RpcError::Form("block", what));
        let txs = said["block"]["data"]["txs"].as_array().map(Vec::as_slice).unwrap_or_default();
        let decode = |tx: &Value| STANDARD.decode(tx.as_str().unwrap_or_default()).map_err(|_| missing("txs"));
        Ok(Block {
            id: text(&said["block_id"]["hash"]).ok_or(missing("hash"))?,
            app_hash: text(&header["app_hash"]).ok_or(missing("app_hash"))?,
            time: text(&header["time"]).ok_or(missing("time"))?,
            txs: txs.iter().map(decode).collect::<Result<_>>()?,
            evidence: said["block"]["evidence"]["evidence"].as_array().map_or(0, Vec::len),
        })
    }

    /// The code of each transaction of a block, in their order.
    ///
    /// # Errors
    /// `RpcError`; `Refused` while the node has no results for it yet.
    pub async fn results(&self, height: u64) -> Result<Vec<u32>> {
        let said = self.call("block_results", json!({ "height": height.to_string() })).await?;
        let results = said["txs_results"].as_array().map(Vec::as_slice).unwrap_or_default();
        let code = |result: &Value| result["code"].as_u64().and_then(|code| u32::try_from(code).ok());
        results.iter().map(|r| code(r).ok_or(RpcError::Form("block_results", "code"))).collect()
    }

    /// Up to twenty headers from `first` on, in their order.
    ///
    /// # Errors
    /// `RpcError`.
    pub async fn headers(&self, first: u64, last: u64) -> Result<Vec<Header>> {
        let range = json!({ "minHeight": first.to_string(), "maxHeight": last.min(first + 19).to_string() });
        let said = self.call("blockchain", range).await?;
        let metas = said["block_metas"].as_array().ok_or(RpcError::Form("blockchain", "block_metas"))?;
        let header = |meta: &Value| {
            Some(Header {
                height: number(&meta["header"]["height"])?,
                id: text(&meta["block_id"]["hash"])?,
                app_hash: text(&meta["header"]["app_hash"])?,
            })
        };
        let headers = metas.iter().rev().map(|m| header(m).ok_or(RpcError::Form("blockchain", "header")));
        headers.collect()
    }

    /// Hands a transaction in. A code of 0 says that it waits in this node's mempool, not that it will be in a block.
    ///
    /// # Errors
    /// `RpcError`; `Refused` for a full mempool or a transaction that it has seen.
    pub async fn broadcast(&self, tx: &[u8]) -> Result<Checked> {
        let said = self.call("broadcast_tx_sync", json!({ "tx": STANDARD.encode(tx) })).await?;
        let code = said["code"].as_u64().and_then(|c| u32::try_from(c).ok());
        let code = code.ok_or(RpcError::Form("broadcast_tx_sync", "code"))?;
        Ok(Checked { code, log: text(&said["log"]).unwrap_or_default() })
    }

    /// The value that the application holds under a key, if any.
    ///
    /// # Errors
    /// `RpcError`.
    pub async fn value(&self, path: &str, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let data = hex::encode(key);
        let said = self.call("abci_query", json!({ "path": path, "data": data, "prove": false })).await?;
        let response = &said["response"];
        if response["code"].as_u64().is_some_and(|code| code != 0) {
            return Err(RpcError::Refused(text(&response["log"]).unwrap_or_default()));
        }
        let value = response["value"].as_str().map(|v| STANDARD.decode(v)).transpose();
        let value = value.map_err(|_| RpcError::Form("abci_query", "value"))?;
        Ok(value.filter(|v| !v.is_empty()))
    }

    async fn call(&self, method: &'static str, params: Value) -> Result<Value> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let unreachable = |e: reqwest::Error| RpcError::Unreachable(e.without_url().to_string());
        let answer = self.http.post(&self.url).json(&body).send().await.map_err(unreachable)?;
        let mut said: Value = answer.json().await.map_err(unreachable)?;
        if let Some(error) = said.get("error").filter(|e| !e.is_null()) {
            let why = [&error["message"], &error["data"]].map(|part| text(part).unwrap_or_default());
            return Err(RpcError::Refused(why.join(": ")));
        }
        Ok(said["result"].take())
    }
}

/// CometBFT writes 64-bit numbers as text.
fn number(value: &Value) -> Option<u64> {
    value.as_str()?.parse().ok()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}
