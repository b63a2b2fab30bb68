//! The nodes of the chain that a gateway knows, and which of them it asks.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde_json::json;
use vouchsafe_types::TimeMs;

use super::{
    rpc::{Rpc, RpcError},
    wire::{self, Form, Status},
};
use crate::ledger::LedgerError;

/// How long a node that said something untrue is not asked again.
const BANNED: Duration = Duration::from_secs(60);
/// How far a node may be behind the newest header that was verified: a heartbeat and some.
pub(super) const BEHIND_MS: u64 = 5_000;

/// Why a node did not answer what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// It is away, behind, or cannot answer now; another may.
    #[error("{0}")]
    Away(String),
    /// It said what does not hold.
    #[error("it said what does not hold: {0}")]
    Untrue(String),
}

impl From<RpcError> for Fault {
    fn from(e: RpcError) -> Self {
        Self::Away(e.to_string())
    }
}

impl From<Form> for Fault {
    fn from(e: Form) -> Self {
        Self::Untrue(e.to_string())
    }
}

/// A node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) rpc: Rpc,
    /// Whether it is the organisation's own, so that its results are believed without a proof.
    pub(super) own: bool,
    health: Mutex<Health>,
}

#[derive(Debug, Default)]
struct Health {
    /// What it said last.
    status: Option<Status>,
    /// Why it is not asked; checked again each second.
    fault: Option<String>,
    banned: Option<Instant>,
}

impl Node {
    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The height and time that it claims.
    pub(super) fn claims(&self) -> Option<(u64, TimeMs)> {
        self.health().status.as_ref().map(|status| (status.height, status.time))
    }

    /// It gave a block that holds, so that it is at least there, whatever it said a second ago.
    pub(super) fn gave(&self, height: u64, time: TimeMs) {
        if let Some(status) = &mut self.health().status
            && status.height < height
        {
            (status.height, status.time) = (height, time);
        }
    }

    pub(super) fn is_banned(&self) -> bool {
        self.health().banned.is_some_and(|since| since.elapsed() < BANNED)
    }

    /// Not asked until a check finds it well, or for a while.
    pub(super) fn failed(&self, fault: &Fault) {
        let mut health = self.health();
        if health.fault.is_none() {
            tracing::warn!(node = self.rpc.url(), "a node of the ledger is left: {fault}");
        }
        health.fault = Some(fault.to_string());
        if matches!(fault, Fault::Untrue(_)) {
            health.banned = Some(Instant::now());
        }
    }

    async fn check(&self, chain: &str) {
        let answer = self.rpc.call("status", json!({})).await;
        let status = answer.map_err(Fault::from).and_then(|answer| Ok(wire::status(&answer)?));
        match status {
            Ok(status) if status.chain != chain => {
                self.failed(&Fault::Away(format!("it is of chain {}", status.chain)));
            }
            Ok(status) if status.catching_up => {
                self.failed(&Fault::Away("it is catching up".into()));
                self.health().status = Some(status);
            }
            Ok(status) => {
                let mut health = self.health();
                health.status = Some(status);
                if health.banned.is_some_and(|since| since.elapsed() < BANNED) {
                    return;
                }
                if health.fault.take().is_some() {
                    tracing::info!(node = self.rpc.url(), "a node of the ledger answers again");
                }
                health.banned = None;
            }
            Err(fault) => self.failed(&fault),
        }
    }

    /// Whether it can be asked, `head` being the time of the newest header that was verified.
    fn well(&self, head: TimeMs) -> Result<(), String> {
        let health = self.health();
        if let Some(fault) = &health.fault {
            return Err(fault.clone());
        }
        match &health.status {
            None => Err("it was not asked yet".into()),
            Some(status) if status.time.plus(BEHIND_MS) < head => Err(format!("it is behind, at {}", status.height)),
            Some(_) => Ok(()),
        }
    }
}

/// All of them, in the order in which they are preferred.
#[derive(Debug)]
pub(super) struct Nodes(Vec<Arc<Node>>);

impl Nodes {
    /// The first `own` of the addresses are the organisation's own.
    pub(super) fn new(http: &reqwest::Client, urls: &[String], own: usize) -> Self {
        let one = |(place, url): (usize, &String)| {
            let rpc = Rpc::new(http.clone(), url.clone());
            Arc::new(Node { rpc, own: place < own, health: Mutex::default() })
        };
        Self(urls.iter().enumerate().map(one).collect())
    }

    pub(super) fn all(&self) -> &[Arc<Node>] {
        &self.0
    }

    /// Asks each how it is.
    pub(super) async fn check(&self, chain: &str) {
        futures::future::join_all(self.0.iter().map(|node| node.check(chain))).await;
    }

    /// The first that is well and not behind the newest header that was verified.
    pub(super) fn active(&self, head: TimeMs) -> Result<Arc<Node>, LedgerError> {
        let mut faults = Vec::new();
        for node in &self.0 {
            match node.well(head) {
                Ok(()) => return Ok(Arc::clone(node)),
                Err(fault) => faults.push(format!("{}: {fault}", node.rpc.url())),
            }
        }
        Err(LedgerError::Unavailable(format!("no node can be asked: {}", faults.join("; "))))
    }
}
