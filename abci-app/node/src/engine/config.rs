//! The engine's configuration, as this ledger needs it; what is not here has CometBFT's default.

use std::net::SocketAddr;

use vouchsafe_types::state::Params;

/// What differs between nodes.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the node calls itself to its peers.
    pub moniker: String,
    /// Where peers reach it.
    pub p2p: SocketAddr,
    /// Where gateways reach it.
    pub rpc: SocketAddr,
    /// `ID@HOST:PORT`, comma between them.
    pub peers: String,
}

impl Config {
    /// The text of `config.toml`.
    pub fn text(&self, params: &Params) -> String {
        let Self { moniker, p2p, rpc, peers } = self;
        let max_tx_bytes = params.max_tx_bytes;
        // The moniker and the peers are quoted as TOML's basic strings, which JSON's are a part of.
        let (moniker, peers) = (quoted(moniker), quoted(peers));
        format!(
            r#"# Written by `vouchsafe ledger init`. `vouchsafe ledger start` names the application's socket itself.

moniker = {moniker}
db_backend = "goleveldb"
log_level = "main:info,*:error"

[rpc]
laddr = "tcp://{rpc}"
max_open_connections = 900
max_subscription_clients = 200
# A listener that does not keep up is told so by the end of its connection, and reads what it missed.
experimental_close_on_slow_client = true
experimental_subscription_buffer_size = 1000
experimental_websocket_write_buffer_size = 1000
max_body_bytes = 2000000

[p2p]
laddr = "tcp://{p2p}"
persistent_peers = {peers}
# A consortium's validators are named, and several may share a private network.
pex = false
addr_book_strict = false
allow_duplicate_ip = true
# The defaults wait a tenth of a second before a message is sent, which is most of a block's time here.
flush_throttle_timeout = "10ms"
send_rate = 20480000
recv_rate = 20480000
max_packet_msg_payload_size = 8192

[mempool]
# The application says how many may wait; these bounds only keep an application that fails from filling the memory.
size = 20000
max_txs_bytes = 67108864
cache_size = 40000
max_tx_bytes = {max_tx_bytes}
# Only a recheck ends the waiting of what has expired.
recheck = true
recheck_timeout = "500ms"

[consensus]
# Without a block more waits, so the next proposal is larger: a time that grows more slowly than proposals do ends in rounds
# without end on a machine that is busy.
timeout_propose = "2s"
timeout_propose_delta = "1s"
timeout_prevote = "250ms"
timeout_prevote_delta = "250ms"
timeout_precommit = "250ms"
timeout_precommit_delta = "250ms"
timeout_commit = "100ms"
peer_gossip_sleep_duration = "20ms"
# An idle chain tells the time by a block every three seconds.
create_empty_blocks = false
create_empty_blocks_interval = "3s"

[tx_index]
indexer = "kv"

[instrumentation]
prometheus = false
"#
        )
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
