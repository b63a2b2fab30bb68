//! A validator's key in two engines: what happens when a home was copied, and what a validator that lies does.

use std::{fs, net::SocketAddr, process::Command};

use super::{
    Net, POLL, READY, founding,
    life::{end_all, launch},
};
use crate::{
    error::{NetError, Result, io_at},
    process::{Process, Role, marked},
    rpc::Rpc,
};

/// How the second one is marked.
const TWIN: &str = "twin";
/// How far its ports are from those of the first, where both are in one namespace.
const PORTS_APART: u16 = 10;

/// A second validator with the key of another.
pub(crate) struct Twin {
    mark: String,
}

impl Net {
    /// Starts a second validator with the key of one that runs. What it signs is not on the first one's record.
    pub(crate) async fn twin(&self, node: usize) -> Result<Twin> {
        let member = &self.state.validators[node];
        let (first, home) = (member.home(&self.home), self.home.join("validators").join(TWIN));
        // One from an earlier round would bring its own key.
        drop(fs::remove_dir_all(&home));
        let config = home.join("comet/config");
        fs::create_dir_all(&config).map_err(io_at("cannot make", &config))?;
        let key = config.join("priv_validator_key.json");
        fs::copy(first.join("comet/config/priv_validator_key.json"), &key).map_err(io_at("cannot write", &key))?;
        let (p2p, rpc) = if self.separate() {
            let apart = |at: SocketAddr| SocketAddr::new(at.ip(), at.port() + PORTS_APART);
            (apart(member.p2p), apart(member.rpc))
        } else {
            let mut ports = founding::Ports::from(&self.state.mark[4..]);
            (ports.next()?, ports.next()?)
        };
        let peers: Vec<String> = self.state.validators.iter().map(|m| format!("{}@{}", m.node_id, m.p2p)).collect();
        let (genesis, peers) = (first.join("genesis.json").display().to_string(), peers.join(","));
        let (p2p, rpc) = (p2p.to_string(), rpc.to_string());
        let args = ["--genesis", &genesis, "--p2p", &p2p, "--rpc", &rpc, "--peers", &peers];
        founding::init(&self.program, &home, &args)?;
        let command = match &self.state.network {
            Some(network) => network.inside(node, &self.program),
            None => Command::new(&self.program),
        };
        let twin = Twin { mark: self.state.mark.clone() };
        let process = launch(command, &self.state, &home, TWIN, &self.logs())?;
        match ready(&Rpc::new(&format!("http://{rpc}")), process).await {
            Ok(()) => Ok(twin),
            Err(e) => {
                twin.end().await?;
                Err(e)
            }
        }
    }
}

async fn ready(rpc: &Rpc, process: Process) -> Result<()> {
    let until = std::time::Instant::now() + READY;
    while !rpc.status().await.is_ok_and(|status| status.height > 0) {
        if !process.alive() || std::time::Instant::now() >= until {
            return Err(NetError::Unavailable("the second validator of one key does not answer".into()));
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

impl Twin {
    /// Ends it.
    pub(crate) async fn end(self) -> Result<()> {
        let ours = || marked(&self.mark).into_iter().filter(|m| m.node == TWIN);
        end_all(ours().filter(|m| m.role == Role::Supervisor).map(|m| m.process).collect()).await?;
        for left in ours() {
            left.process.kill().await?;
        }
        Ok(())
    }
}
