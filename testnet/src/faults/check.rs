//! What all validators must agree on, and what none may have lost.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::Trial;
use crate::{
    error::{NetError, Result},
    load::Acknowledged,
    rpc::{Header, Rpc, RpcError},
};

/// How many acknowledged records every validator is asked for.
const LOOKED_UP: usize = 300;
/// How long validators may take to be level when nothing is sent any more.
const LEVEL: Duration = Duration::from_secs(30);

impl Trial<'_> {
    /// Compares every height of every validator, and looks for what was acknowledged: in the blocks for all of it, in
    /// each validator's state for a sample. How many heights and how many records.
    pub(super) async fn compare(&mut self) -> Result<(u64, usize)> {
        let nodes: Vec<Rpc> = (0..self.net.size()).map(|node| self.net.rpc(node)).collect();
        let height = level(&nodes, self.load.height()).await?;
        let first = headers(&nodes[0], height).await?;
        for node in &nodes[1..] {
            let other = headers(node, height).await?;
            if let Some((a, b)) = first.iter().zip(&other).find(|(a, b)| a != b) {
                return Err(NetError::Broken(format!("validators differ: {a:?} at one, {b:?} at {}", node.url())));
            }
        }
        let acknowledged = self.load.acknowledged();
        lost(&first, &acknowledged)?;
        let mut looked_up = 0;
        for _ in 0..LOOKED_UP.min(acknowledged.len()) {
            let drawn = usize::try_from(self.rng.below(acknowledged.len() as u64)).unwrap_or_default();
            for node in &nodes {
                held(node, &acknowledged[drawn]).await?;
            }
            looked_up += 1;
        }
        Ok((height, looked_up))
    }
}

/// Waits until all have reached a height; the height that all have.
async fn level(nodes: &[Rpc], wanted: u64) -> Result<u64> {
    let until = Instant::now() + LEVEL;
    loop {
        let mut lowest = u64::MAX;
        for node in nodes {
            lowest = lowest.min(node.status().await.map_or(0, |s| s.height));
        }
        if lowest >= wanted {
            return Ok(lowest);
        }
        if Instant::now() >= until {
            return Err(NetError::Broken(format!("a validator stays at {lowest}, below {wanted}")));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Every header up to a height.
async fn headers(node: &Rpc, height: u64) -> Result<Vec<Header>> {
    let mut all = Vec::new();
    while (all.len() as u64) < height {
        let next = all.len() as u64 + 1;
        let some = node.headers(next, height).await.map_err(|e| unanswered(node, &e))?;
        if some.first().is_none_or(|h| h.height != next) {
            return Err(NetError::Broken(format!("{} has no block {next}", node.url())));
        }
        all.extend(some);
    }
    Ok(all)
}

/// Each acknowledged transaction must lie in the block that showed it; a block's id covers its transactions.
fn lost(headers: &[Header], acknowledged: &[Acknowledged]) -> Result<()> {
    let ids: BTreeMap<u64, &str> = headers.iter().map(|h| (h.height, h.id.as_str())).collect();
    match acknowledged.iter().find(|a| ids.get(&a.height) != Some(&a.block.as_str())) {
        None => Ok(()),
        Some(a) => {
            Err(NetError::Broken(format!("transaction {} was acknowledged in block {} and is lost", a.hash, a.height)))
        }
    }
}

async fn held(node: &Rpc, record: &Acknowledged) -> Result<()> {
    match node.value("/key", &record.key).await {
        Ok(Some(_)) => Ok(()),
        Ok(None) => {
            let what = format!("{} does not hold what transaction {} of block", node.url(), record.hash);
            Err(NetError::Broken(format!("{what} {} did", record.height)))
        }
        Err(e) => Err(unanswered(node, &e)),
    }
}

fn unanswered(node: &Rpc, error: &RpcError) -> NetError {
    NetError::Unavailable(format!("{}: {error}", node.url()))
}

#[cfg(test)]
mod tests {
    use vouchsafe_types::Hash32;

    use super::*;

    #[test]
    fn what_lies_in_another_block_than_the_acknowledged_one_is_lost() {
        let header = |height, id: &str| Header { height, id: id.into(), app_hash: String::new() };
        let acknowledged = |height, block: &str| {
            let (hash, block) = (Hash32([1; 32]), block.to_owned());
            [Acknowledged { hash, key: Vec::new(), height, block, after: Duration::ZERO }]
        };
        let headers = [header(1, "A"), header(2, "B")];
        assert!(lost(&headers, &acknowledged(2, "B")).is_ok());
        assert!(lost(&headers, &acknowledged(2, "C")).is_err());
        assert!(lost(&headers, &acknowledged(3, "C")).is_err());
    }
}
