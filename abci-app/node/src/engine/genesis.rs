//! The engine's genesis file (<https://docs.cometbft.com/v0.38/core/using-cometbft#genesis>).

use serde_json::{Value, json};
use vouchsafe_types::genesis::Genesis;

use crate::{
    NodeError,
    comet::{APP_VERSION, Chain, comet_time},
};

/// Evidence older than both of these is not taken any more; a light client's trusting period is shorter than the time.
const EVIDENCE_BLOCKS: &str = "1000000";
const EVIDENCE_NANOSECONDS: &str = "1209600000000000";
const EVIDENCE_BYTES: &str = "65536";

/// The engine's genesis file for a chain: our document is its `app_state`, and everything that the file says beside it
/// follows from the document.
///
/// # Errors
/// `Genesis` for a document that does not hold, `Comet` for one that has no form in CometBFT.
pub fn engine_genesis(genesis: &Genesis) -> Result<Value, NodeError> {
    genesis.check().map_err(NodeError::Genesis)?;
    let (chain, body) = (Chain::new(genesis)?, &genesis.body);
    let validators = chain.validators().validators().iter().map(|v| {
        let key = serde_json::to_value(v.pub_key).map_err(|e| NodeError::Comet(e.to_string()))?;
        Ok(json!({ "address": v.address.to_string(), "pub_key": key, "power": v.power().to_string(), "name": "" }))
    });
    Ok(json!({
        "genesis_time": comet_time(body.time)?.to_rfc3339(),
        "chain_id": body.chain_id(),
        "initial_height": "1",
        "consensus_params": {
            "block": { "max_bytes": body.params.max_block_bytes.0.to_string(), "max_gas": "-1" },
            "evidence": {
                "max_age_num_blocks": EVIDENCE_BLOCKS,
                "max_age_duration": EVIDENCE_NANOSECONDS,
                "max_bytes": EVIDENCE_BYTES,
            },
            "validator": { "pub_key_types": ["ed25519"] },
            "version": { "app": APP_VERSION.to_string() },
            "abci": { "vote_extensions_enable_height": "0" },
        },
        "validators": validators.collect::<Result<Vec<_>, NodeError>>()?,
        "app_hash": "",
        "app_state": genesis,
    }))
}
