//! `ledger status`: where a running validator stands.

use serde_json::{Value, json};
use vouchsafe_node::engine::Home;

use super::rpc::{Listen, Rpc};
use crate::{Output, exit::Outcome};

pub(crate) async fn run(home: &Home, output: Output) -> Outcome {
    let rpc = Rpc::new(&Listen::read(home)?.rpc)?;
    let (status, peers, app) = (rpc.status().await?, rpc.get("net_info").await?, rpc.get("abci_info").await?);
    let sync = &status["sync_info"];
    let named = peers["peers"].as_array().into_iter().flatten().map(
        |p| json!({ "id": p["node_info"]["id"], "address": p["remote_ip"], "moniker": p["node_info"]["moniker"] }),
    );
    let told = json!({
        "chain": status["node_info"]["network"],
        "height": number(&sync["latest_block_height"]),
        "time": sync["latest_block_time"],
        "app_hash": sync["latest_app_hash"],
        "application_height": number(&app["response"]["last_block_height"]),
        "catching_up": sync["catching_up"],
        "voting_power": number(&status["validator_info"]["voting_power"]),
        "peers": named.collect::<Vec<_>>(),
    });
    tell(&told, output);
    Ok(())
}

/// CometBFT writes 64-bit numbers as texts, and leaves out a zero.
fn number(value: &Value) -> u64 {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[allow(clippy::print_stdout, reason = "the state is the data that this command prints")]
fn tell(told: &Value, output: Output) {
    if output == Output::Json {
        println!("{told}");
        return;
    }
    for (name, value) in told.as_object().into_iter().flatten() {
        let shown = match value {
            Value::String(text) => text.clone(),
            Value::Array(peers) => peers.len().to_string(),
            other => other.to_string(),
        };
        println!("{:<20}{shown}", name.replace('_', " "));
    }
}
