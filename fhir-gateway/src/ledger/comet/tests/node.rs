//! A node that answers as CometBFT does, out of an embedded chain, and lies and fails as it is told.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinHandle};
use vouchsafe_node::{
    Embedded,
    comet::{Outcome, unseal},
    verify::write_validators,
};
use vouchsafe_types::{Event, b64};

use super::super::wire::encode;

/// What is wrong with a node.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wrong {
    /// It has no block above this height.
    pub(super) stuck_at: Option<u64>,
    /// Every value is another.
    pub(super) values: bool,
    /// Every result of a transaction is another.
    pub(super) results: bool,
    /// Every header has another app hash.
    pub(super) headers: bool,
    /// Every block has one transaction less.
    pub(super) blocks: bool,
    /// It answers to transactions with this code.
    pub(super) refuses: Option<u32>,
    /// It answers to transactions with this error.
    pub(super) fails: Option<&'static str>,
    /// It takes transactions and loses them.
    pub(super) loses: bool,
    /// It takes transactions and breaks the connection.
    pub(super) breaks: bool,
    /// It is of another chain.
    pub(super) elsewhere: bool,
}

/// A node that serves.
pub(super) struct FakeNode {
    pub(super) url: String,
    addr: SocketAddr,
    served: Arc<Served>,
    server: Option<(JoinHandle<()>, oneshot::Sender<()>)>,
}

struct Served {
    chain: Embedded,
    wrong: Mutex<Wrong>,
}

impl FakeNode {
    pub(super) async fn start(chain: &Embedded) -> Self {
        let served = Arc::new(Served { chain: chain.clone(), wrong: Mutex::default() });
        let addr = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut node = Self { url: String::new(), addr, served, server: None };
        node.restart().await;
        node.url = format!("http://{}", node.addr);
        node
    }

    pub(super) fn is(&self, wrong: Wrong) {
        *self.served.wrong.lock().unwrap() = wrong;
    }

    /// Ends it; connections are refused from now on.
    pub(super) async fn kill(&mut self) {
        let (server, stop) = self.server.take().unwrap();
        stop.send(()).unwrap();
        server.abort();
        let _ = server.await;
    }

    /// Starts it again where it was.
    pub(super) async fn restart(&mut self) {
        let listener = loop {
            match tokio::net::TcpListener::bind(self.addr).await {
                Ok(listener) => break listener,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        self.addr = listener.local_addr().unwrap();
        let app = Router::new().route("/", post(answer)).with_state(Arc::clone(&self.served));
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(async move {
            let serving = axum::serve(listener, app);
            tokio::select! {
                _ = serving => {}
                _ = stopped => {}
            }
        });
        self.server = Some((server, stop));
    }
}

async fn answer(State(served): State<Arc<Served>>, Json(asked): Json<Value>) -> Result<Json<Value>, StatusCode> {
    let Value::Array(calls) = asked else { return Ok(Json(served.one(&asked).await?)) };
    let mut answers = Vec::new();
    for call in &calls {
        answers.push(served.one(call).await?);
    }
    // As CometBFT does, one without a list; as a server may, in another order.
    if answers.len() == 1 {
        return Ok(Json(answers.remove(0)));
    }
    answers.reverse();
    Ok(Json(answers.into()))
}

/// The members of a transaction's result.
fn result(outcome: &vouchsafe_node::comet::TxOutcome, lie: bool) -> Value {
    let code = if lie { outcome.code + 21 } else { outcome.code };
    json!({ "code": code, "data": null, "log": outcome.log, "gas_used": "0", "events": events(&outcome.events) })
}

fn events(events: &[Event]) -> Value {
    let one = |event: &Event| {
        let text = serde_json::to_string(event).unwrap();
        json!({ "type": format!("vouchsafe.{}", event.kind()), "attributes": [
            { "key": "index", "value": "me", "index": true }, { "key": "event", "value": text, "index": false },
        ] })
    };
    let mut all = vec![json!({ "type": "engine", "attributes": [{ "key": "its", "value": "own", "index": true }] })];
    all.extend(events.iter().map(one));
    all.into()
}

impl Served {
    fn wrong(&self) -> Wrong {
        *self.wrong.lock().unwrap()
    }

    fn height(&self) -> u64 {
        let height = self.chain.head().height;
        self.wrong().stuck_at.map_or(height, |stuck| stuck.min(height))
    }

    async fn one(&self, call: &Value) -> Result<Value, StatusCode> {
        let (id, method, params) = (&call["id"], call["method"].as_str().unwrap(), &call["params"]);
        assert_eq!(call["jsonrpc"], "2.0");
        let outcome = if method == "broadcast_tx_sync" {
            if self.wrong().breaks {
                self.take(params);
                return Err(StatusCode::BAD_GATEWAY);
            }
            self.broadcast(params)
        } else {
            self.read(method, params)
        };
        Ok(match outcome {
            Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
            Err(why) => json!({ "jsonrpc": "2.0", "id": id,
                "error": { "code": -32603, "message": "Internal error", "data": why } }),
        })
    }

    fn take(&self, params: &Value) {
        let tx = super::super::wire::decode(&params["tx"]).unwrap();
        let (chain, tx) = (self.chain.clone(), String::from_utf8(tx).unwrap());
        tokio::spawn(async move { chain.submit(tx).await });
    }

    fn broadcast(&self, params: &Value) -> Result<Value, String> {
        let wrong = self.wrong();
        if let Some(why) = wrong.fails {
            return Err(why.into());
        }
        if let Some(code) = wrong.refuses {
            return Ok(json!({ "code": code, "log": "told so", "codespace": "vouchsafe", "data": "" }));
        }
        if !wrong.loses {
            self.take(params);
        }
        Ok(json!({ "code": 0, "log": "", "codespace": "", "data": "" }))
    }

    fn read(&self, method: &str, params: &Value) -> Result<Value, String> {
        let view = self.chain.view().unwrap();
        let asked: u64 = params["height"].as_str().map_or(0, |height| height.parse().unwrap());
        let newest = self.height();
        if asked > newest {
            return Err(format!("height {asked} must be less than or equal to the current blockchain height {newest}"));
        }
        let height = if asked == 0 { newest } else { asked };
        let unsealed = (height > 0)
            .then(|| unseal(&view.block(height).unwrap().unwrap(), &view.commit(height).unwrap().unwrap()).unwrap());
        let wrong = self.wrong();
        Ok(match (method, unsealed) {
            ("status", unsealed) => {
                let time =
                    unsealed.map_or_else(|| "1970-01-01T00:00:00Z".into(), |u| u.signed.header.time.to_rfc3339());
                let network = if wrong.elsewhere { "elsewhere".into() } else { self.chain.head().chain };
                json!({ "node_info": { "network": network }, "sync_info": {
                    "latest_block_height": newest.to_string(), "latest_block_time": time, "catching_up": false } })
            }
            ("commit", Some(unsealed)) => {
                let mut signed = serde_json::to_value(unsealed.signed).unwrap();
                if wrong.headers {
                    signed["header"]["app_hash"] = "00".repeat(32).into();
                }
                json!({ "signed_header": signed, "canonical": true })
            }
            ("block", Some(unsealed)) => {
                let skip = usize::from(wrong.blocks);
                let txs: Vec<_> = unsealed.txs.iter().skip(skip).map(encode).collect();
                json!({ "block": { "header": unsealed.signed.header, "data": { "txs": txs } } })
            }
            ("block_results", Some(_)) => self.results(&view.outcome(height).unwrap().unwrap()),
            ("validators", Some(_)) => {
                let genesis = vouchsafe_node::comet::Chain::new(self.chain.genesis()).unwrap();
                json!({ "validators": write_validators(genesis.validators()).unwrap(), "total": "1" })
            }
            ("abci_query", _) => self.query(params, height),
            ("tx", _) => self.tx(params)?,
            (method, _) => return Err(format!("no method {method}")),
        })
    }

    fn results(&self, outcome: &Outcome) -> Value {
        let lie = self.wrong().results;
        let results: Vec<_> = outcome.txs.iter().map(|tx| result(tx, lie)).collect();
        // CometBFT writes an empty list as null.
        let results = if results.is_empty() { Value::Null } else { results.into() };
        json!({ "txs_results": results, "finalize_block_events": events(&outcome.end) })
    }

    fn query(&self, params: &Value, height: u64) -> Value {
        assert_eq!(params["path"], "/key");
        let view = self.chain.view().unwrap();
        let key = hex::decode(params["data"].as_str().unwrap()).unwrap();
        let (mut value, proof) = view.prove(&key, view.version_at(height).unwrap()).unwrap();
        if self.wrong().values {
            value = Some(b"another".to_vec());
        }
        let operations = json!({ "ops": [{ "type": "ics23:jmt", "key": encode(&key), "data": encode(proof) }] });
        let operations = if params["prove"] == true { operations } else { Value::Null };
        let value = value.map(encode);
        json!({ "response": { "code": 0, "height": height.to_string(), "value": value, "proofOps": operations } })
    }

    fn tx(&self, params: &Value) -> Result<Value, String> {
        let hash = super::super::wire::decode(&params["hash"]).unwrap();
        let hash = vouchsafe_types::Hash32(hash.try_into().unwrap());
        let found = self.chain.find(&hash).unwrap().filter(|found| found.height <= self.height());
        let found = found.ok_or_else(|| format!("tx ({}) not found", b64::encode(hash.0)))?;
        let view = self.chain.view().unwrap();
        let outcome = view.outcome(found.height).unwrap().unwrap();
        let tx = &outcome.txs[usize::try_from(found.index).unwrap()];
        Ok(json!({ "height": found.height.to_string(), "index": found.index, "tx_result": result(tx, false) }))
    }
}
