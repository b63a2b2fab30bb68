//! How each fault is played, and what must be seen meanwhile.

use std::time::{Duration, Instant};

use super::{BACK, Fault, HEALED, STALL, Trial};
use crate::{
    error::{NetError, Result},
    net::Part,
    process::Process,
};

const POLL: Duration = Duration::from_millis(50);
/// How long it may take until a double signer is on record everywhere.
const CAUGHT: Duration = Duration::from_secs(60);
/// A connection over which nothing came for so long does not work; on an idle chain something comes every three seconds.
const SILENT: Duration = Duration::from_secs(4);
/// How often a soak says how it goes.
const TOLD: Duration = Duration::from_secs(60);
/// How long a chain that must stand is watched; three times its heartbeat.
const WATCHED: Duration = Duration::from_secs(9);

impl Trial<'_> {
    pub(super) async fn play(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::KillOne => self.kill(1).await,
            Fault::KillAll => self.kill(self.net.size()).await,
            Fault::Half => self.half().await,
            Fault::SplitEven => self.split(2).await,
            Fault::SplitOne => self.split(1).await,
            Fault::AppAlone => self.alone(Part::App).await,
            Fault::EngineAlone => self.alone(Part::Engine).await,
            Fault::Twin => self.double_sign().await,
            Fault::Soak => self.soak().await,
        }
    }

    /// Kills some validators at a random moment and starts them again, as whatever supervises them would.
    async fn kill(&mut self, count: usize) -> Result<()> {
        tokio::time::sleep(Duration::from_millis(200 + self.rng.below(1500))).await;
        let victims = self.rng.choose(count, self.net.size());
        for victim in &victims {
            self.net.kill(*victim, Part::Both).await?;
        }
        self.start_again(&victims, if count == 1 { "back_after_kill" } else { "back_after_kill_all" }).await
    }

    /// Starts validators and waits until each is level with the chain and new blocks come.
    async fn start_again(&mut self, nodes: &[usize], figure: &'static str) -> Result<()> {
        let (began, height) = (Instant::now(), self.load.height());
        for node in nodes {
            self.net.launch(*node).await?;
        }
        for node in nodes {
            self.level(*node, height + 1, began + BACK).await?;
        }
        self.time(figure, began.elapsed());
        Ok(())
    }

    /// Waits until a validator has a block and takes part again.
    async fn level(&self, node: usize, height: u64, until: Instant) -> Result<()> {
        let rpc = self.net.rpc(node);
        loop {
            let status = rpc.status().await;
            if status.as_ref().is_ok_and(|s| s.height >= height && !s.catching_up) {
                return Ok(());
            }
            if !self.net.running(node).supervisor {
                // Says why, by the end of its log.
                return self.net.ready(node).await;
            }
            if Instant::now() >= until {
                let stands = status.map_or_else(|e| e.to_string(), |s| format!("{s:?}"));
                let wanted = format!("validator {node} is not back in time: block {height} is wanted, and it says");
                return Err(NetError::Broken(format!("{wanted} {stands}")));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until a block comes that was not there.
    pub(super) async fn blocks_come(&self, limit: Duration) -> Result<()> {
        let (before, until) = (self.load.height(), Instant::now() + limit);
        while self.load.height() <= before {
            if Instant::now() >= until {
                let said = self.load.refusals().join("; ");
                return Err(NetError::Broken(format!("no block after {before} within {} s: {said}", limit.as_secs())));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Watches that no block comes; one that was already decided may.
    async fn blocks_stand(&self) -> Result<()> {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let before = self.load.height();
        tokio::time::sleep(WATCHED).await;
        let after = self.load.height();
        if after == before {
            return Ok(());
        }
        Err(NetError::Broken(format!("blocks {before} to {after} came without two thirds of the power")))
    }

    /// Two of four down: nothing is decided; when they are back, everything goes on by itself.
    async fn half(&mut self) -> Result<()> {
        let victims = self.rng.choose(self.net.size() / 2, self.net.size());
        for victim in &victims {
            self.net.kill(*victim, Part::Both).await?;
        }
        self.blocks_stand().await?;
        self.start_again(&victims, "back_after_half").await
    }

    /// Parts some validators from the others, and heals.
    async fn split(&mut self, count: usize) -> Result<()> {
        let mut all = self.rng.choose(self.net.size(), self.net.size());
        let rest = all.split_off(count);
        self.net.partition(vec![all.clone(), rest.clone()])?;
        let parted = if count * 3 < self.net.size() {
            self.majority_goes_on(rest[0], all[0]).await
        } else {
            self.blocks_stand().await
        };
        self.net.heal()?;
        parted?;
        let (began, height) = (Instant::now(), self.load.height());
        for node in 0..self.net.size() {
            self.level(node, height + 1, began + HEALED).await?;
        }
        self.all_speak(began + HEALED).await?;
        self.time(if count * 3 < self.net.size() { "healed_split_one" } else { "healed_split_even" }, began.elapsed());
        Ok(())
    }

    /// Waits until every validator hears from every other and all are at the head. One that hears only one other, or that
    /// is blocks behind, is as good as missing: with one more parted there would be no two thirds.
    async fn all_speak(&self, until: Instant) -> Result<()> {
        loop {
            let (mut mute, mut heights) = (Vec::new(), Vec::new());
            for node in 0..self.net.size() {
                let rpc = self.net.rpc(node);
                heights.push(rpc.status().await.map_or(0, |s| s.height));
                let heard = rpc.silences().await.unwrap_or_default();
                let heard = heard.into_iter().filter(|silence| *silence < SILENT).count();
                if heard + 1 < self.net.size() {
                    mute.push(format!("validator {node} hears {heard} others"));
                }
            }
            let (lowest, highest) = (heights.iter().min(), heights.iter().max());
            if lowest.zip(highest).is_some_and(|(low, high)| high - low > 1) {
                mute.push(format!("validators are at {heights:?}"));
            }
            if mute.is_empty() {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(NetError::Broken(format!("healed, but {}", mute.join(", "))));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The three go on while the one stands.
    async fn majority_goes_on(&self, of_many: usize, alone: usize) -> Result<()> {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let heights = async |node: usize| self.net.rpc(node).status().await.ok().map(|s| s.height);
        let before = (heights(of_many).await, heights(alone).await);
        tokio::time::sleep(WATCHED).await;
        let after = (heights(of_many).await, heights(alone).await);
        // What did not answer tells nothing.
        let many = before.0.zip(after.0).map(|(before, after)| after > before);
        let one = before.1.zip(after.1).map(|(before, after)| after > before);
        if (many, one) == (Some(true), Some(false)) {
            return Ok(());
        }
        Err(NetError::Broken(format!("parted three to one, the three moved: {many:?}, the one moved: {one:?}")))
    }

    /// One half of a validator is killed: the other must not linger, and the pair comes back by itself.
    async fn alone(&mut self, part: Part) -> Result<()> {
        let victim = self.rng.choose(1, self.net.size())[0];
        let halves = self.net.halves(victim);
        let (began, height) = (Instant::now(), self.load.height());
        self.net.kill(victim, part).await?;
        while halves.iter().any(Process::alive) {
            if began.elapsed() >= BACK {
                return Err(NetError::Broken(format!("a half of validator {victim} outlives the other")));
            }
            tokio::time::sleep(POLL).await;
        }
        self.level(victim, height + 1, began + BACK).await?;
        self.time("back_by_itself", began.elapsed());
        Ok(())
    }

    /// One key signs twice: the others put the evidence into a block, and every application records it.
    async fn double_sign(&mut self) -> Result<()> {
        let liar = self.rng.choose(1, self.net.size())[0];
        let before = self.offences().await?.ok_or_else(|| NetError::Broken("a validator does not answer".into()))?;
        let began = Instant::now();
        let twin = self.net.twin(liar).await?;
        let mut recorded = Ok(None);
        while began.elapsed() < CAUGHT && matches!(recorded, Ok(None)) {
            tokio::time::sleep(POLL).await;
            // One that is busy is asked again.
            recorded = self.offences().await.map(|known| known.filter(|known| *known > before));
        }
        twin.end().await?;
        if recorded?.is_some() {
            self.time("double_signing_recorded", began.elapsed());
            // The liar goes on as if nothing was; what to do with it is for the consortium to say.
            return self.blocks_come(BACK).await;
        }
        Err(NetError::Broken(format!("validator {liar} signed with two engines and nobody recorded it")))
    }

    /// How many offences every application has on record at least; none when one does not answer.
    async fn offences(&self) -> Result<Option<usize>> {
        let mut fewest = usize::MAX;
        for node in 0..self.net.size() {
            let said = self.net.rpc(node).value("/misbehaviour", b"").await;
            let Ok(Some(said)) = said else { return Ok(None) };
            let list: Vec<serde_json::Value> = serde_json::from_slice(&said)
                .map_err(|e| NetError::Broken(format!("validator {node} says of offences: {e}")))?;
            fewest = fewest.min(list.len());
        }
        Ok(Some(fewest))
    }

    /// A rate for minutes, without a stall.
    async fn soak(&mut self) -> Result<()> {
        let until = Instant::now() + self.plan.soak;
        self.load.longest_quiet();
        let (mut longest, mut told) = (Duration::ZERO, Instant::now());
        while Instant::now() < until {
            tokio::time::sleep(Duration::from_secs(1)).await;
            longest = longest.max(self.load.longest_quiet());
            if told.elapsed() >= TOLD {
                told = Instant::now();
                (self.tell)(&format!(
                    "height {}, {:?}, longest quiet {longest:.1?}",
                    self.load.height(),
                    self.load.tally()
                ));
            }
            if longest >= STALL {
                let (height, waiting) = (self.load.height(), self.load.waiting());
                return Err(NetError::Broken(format!("stalled at {height} while {waiting} transactions wait")));
            }
        }
        self.time("longest_without_a_block", longest);
        Ok(())
    }
}
