//! `ledger init`: keys, genesis and configuration.

use std::{net::SocketAddr, path::Path};

use serde_json::json;
use vouchsafe_node::engine::{self, Config, Home, NodeKeys};

use super::{failure, read_genesis};
use crate::{
    Output,
    exit::{Context, Failure, Kind, Outcome},
};

/// Where a validator is in its network.
pub(crate) struct Place {
    pub(crate) p2p: SocketAddr,
    pub(crate) rpc: SocketAddr,
    pub(crate) peers: Vec<String>,
}

/// `ID@HOST:PORT`, as the engine takes it.
pub(crate) fn peer(text: &str) -> Result<String, String> {
    let form = || format!("{text:?} is not ID@HOST:PORT");
    let (id, address) = text.split_once('@').ok_or_else(form)?;
    let (host, port) = address.rsplit_once(':').ok_or_else(form)?;
    let named = id.len() == 40 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if !named || host.is_empty() || host.contains([' ', '@', '"']) || port.parse::<u16>().is_err() {
        return Err(form());
    }
    Ok(text.to_owned())
}

pub(crate) fn run(home: &Home, genesis: Option<&Path>, place: &Place, output: Output) -> Outcome {
    home.make().map_err(|e| failure(&e))?;
    let keys = engine::keys(home).map_err(|e| failure(&e))?;
    let chain = genesis.map(|file| set_up(home, file, place, &keys)).transpose()?;
    tell(&keys, chain.as_deref(), output);
    Ok(())
}

fn set_up(home: &Home, file: &Path, place: &Place, keys: &NodeKeys) -> Outcome<String> {
    let genesis = read_genesis(file)?;
    if home.genesis().exists() {
        let there = read_genesis(&home.genesis())?.body.digest();
        if there != genesis.body.digest() {
            let said = format!("{} belongs to the chain with genesis {there}", home.path().display());
            return Err(Failure::new(Kind::Conflict, said).hint("another chain needs another home"));
        }
    }
    let for_engine = engine::engine_genesis(&genesis).map_err(|e| failure(&e))?;
    let config =
        Config { moniker: keys.node_id[..8].into(), p2p: place.p2p, rpc: place.rpc, peers: place.peers.join(",") };
    let written = |path: &Path, bytes: &[u8]| engine::write(path, bytes).map_err(|e| failure(&e));
    written(&home.engine_config(), config.text(&genesis.body.params).as_bytes())?;
    let text = |value| serde_json::to_vec_pretty(value).doing(Kind::Error, || "writing the genesis".into());
    written(&home.engine_genesis(), &text(&for_engine)?)?;
    // The last file: a home that has it is set up.
    written(&home.genesis(), &serde_json::to_vec_pretty(&genesis).doing(Kind::Error, || "the genesis".into())?)?;
    Ok(genesis.body.chain_id())
}

#[allow(clippy::print_stdout, reason = "the keys are the data that this command prints")]
fn tell(keys: &NodeKeys, chain: Option<&str>, output: Output) {
    let told = json!({ "validator": keys.validator, "node_id": keys.node_id, "chain": chain });
    match output {
        Output::Json => println!("{told}"),
        Output::Text => println!("{told:#}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_ids_at_addresses() {
        let id = "0123456789abcdef0123456789abcdef01234567";
        assert!(peer(&format!("{id}@10.0.0.1:26656")).is_ok());
        assert!(peer(&format!("{id}@[::1]:26656")).is_ok());
        assert!(peer(&format!("{id}@validator.example:26656")).is_ok());
        for bad in ["", "10.0.0.1:26656", &format!("{id}@10.0.0.1"), &format!("{id}@:1"), &format!("{id}@h:70000")] {
            assert!(peer(bad).is_err(), "{bad}");
        }
        assert!(peer(&format!("{}@10.0.0.1:26656", id.to_uppercase())).is_err());
    }
}
