//! `vouchsafe bench ledger --scale`: a block of a thousand transactions as the state grows, the memory held and the rows
//! kept, without an engine, so that the application's own time is seen apart.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use vouchsafe_node::{app::App, store::Store};
use vouchsafe_types::{OkpJwk, TimeMs};

use super::{
    super::figure::{Figure, Report, Target},
    prepared::{Consortium, Field},
};
use crate::exit::{Context, Failure, Kind, Outcome};

/// Transactions of a measured block; each moves one head somewhere in the state.
const BLOCK: usize = 1000;
/// Measured blocks; the median counts.
const BLOCKS: usize = 15;
/// Heads that one transaction makes while the state grows: the most that one may.
const HEADS: usize = 64;
/// Transactions of a block that fills: 1,024 new heads.
const FILL: usize = 16;
/// How much longer a block may take than with the fewest keys.
const SLOWER: f64 = 2.0;
/// Bytes of memory that the application may hold, in mebibytes.
const MEMORY: f64 = 512.0;

/// Fills a ledger to each of the sizes, and measures there.
pub(crate) fn measure(home: &Path, seed: u64, sizes: &[usize], report: &mut Report) -> Outcome {
    let mut ledger = Ledger::new(home, seed)?;
    let mut first = None;
    for &size in sizes {
        super::super::progress(&format!("filling the state to {size} keys"));
        ledger.fill(size)?;
        let before = ledger.rows()?;
        let took = ledger.blocks()?;
        let name = |what: &str| format!("scale_{size}_{what}");
        let block = Figure::new(name("block"), took.block, "s");
        let fewest = *first.get_or_insert((size, took.block));
        report.tell(match size == fewest.0 {
            true => block,
            false => block.beside(&format!("{} keys", fewest.0), fewest.1).should(Target::AtMost(SLOWER * fewest.1)),
        });
        for (what, seconds) in
            [("check", took.check), ("process", took.process), ("finalize", took.finalize), ("commit", took.commit)]
        {
            report.tell(Figure::new(name(what), seconds, "s"));
        }
        report.tell(Figure::new(name("resident"), resident(), "MiB").should(Target::AtMost(MEMORY)));
        // What a block makes stale goes when it is old enough, so that with all versions kept rows stay as many.
        let after = ledger.rows()?;
        report.tell(Figure::new(name("rows"), after, "").beside("before the measured blocks", before));
        report.tell(Figure::new(name("file"), ledger.file(), "MiB"));
    }
    Ok(())
}

/// Median seconds of a block, and of its parts.
struct Took {
    /// All but the checks, which are made while blocks are waited for.
    block: f64,
    check: f64,
    process: f64,
    finalize: f64,
    commit: f64,
}

/// A ledger without an engine.
struct Ledger {
    app: App,
    consortium: Consortium,
    path: std::path::PathBuf,
    seed: u64,
    time: TimeMs,
    height: u64,
    /// Charts whose heads were made, and how many more moves each got.
    charts: Field,
}

impl Ledger {
    fn new(home: &Path, seed: u64) -> Outcome<Self> {
        let time = TimeMs(1_800_000_000_000);
        let consortium = Consortium::found(seed, vec![OkpJwk::new([7; 32])], time)?;
        let path = home.join("ledger.redb");
        let store = Store::open(&path).doing(Kind::Error, || path.display().to_string())?;
        let app = App::open(store, &consortium.genesis).doing(Kind::Error, || "the ledger".into())?;
        Ok(Self { app, consortium, path, seed, time, height: 0, charts: Field::default() })
    }

    fn fill(&mut self, size: usize) -> Outcome {
        while self.charts.made() < size {
            let txs = self.consortium.fill(self.seed ^ self.height, &mut self.charts, FILL, HEADS, self.time);
            self.block(txs)?;
        }
        Ok(())
    }

    fn blocks(&mut self) -> Outcome<Took> {
        let mut all = Vec::new();
        for _ in 0..BLOCKS {
            let txs = self.consortium.moves(self.seed ^ self.height, &mut self.charts, BLOCK, HEADS, self.time);
            all.push(self.block(txs)?);
        }
        let median = |of: fn(&[Duration; 4]) -> Duration| {
            let mut took: Vec<Duration> = all.iter().map(of).collect();
            took.sort_unstable();
            took[took.len() / 2].as_secs_f64()
        };
        Ok(Took {
            block: median(|t| t[1] + t[2] + t[3]),
            check: median(|t| t[0]),
            process: median(|t| t[1]),
            finalize: median(|t| t[2]),
            commit: median(|t| t[3]),
        })
    }

    /// Checks, proposes, computes and commits a block, as an engine has it done; the seconds of each.
    fn block(&mut self, txs: Vec<String>) -> Outcome<[Duration; 4]> {
        let failed = |e: vouchsafe_node::NodeError| Failure::new(Kind::Error, e.to_string());
        let txs: Vec<Vec<u8>> = txs.into_iter().map(String::into_bytes).collect();
        self.height += 1;
        self.time = self.time.plus(1000);
        let began = Instant::now();
        for tx in &txs {
            let checked = self.app.check_tx(tx, self.time).map_err(failed)?;
            checked.map_err(|why| Failure::new(Kind::Error, why.to_string()))?;
        }
        let checked = Instant::now();
        let proposed = self.app.prepare_proposal(txs, u64::MAX);
        self.app.process_proposal(self.height, self.time, &proposed).map_err(failed)?;
        let processed = Instant::now();
        let done = self.app.finalize_block(self.height, self.time, &proposed).map_err(failed)?;
        let finalized = Instant::now();
        self.app.commit().map_err(failed)?;
        let committed = Instant::now();
        if let Some(refused) = done.results.iter().find(|result| result.code != 0) {
            return Err(Failure::new(Kind::Error, format!("code {}: {}", refused.code, refused.log)));
        }
        Ok([checked - began, processed - checked, finalized - processed, committed - finalized])
    }

    /// Rows of the tree's tables.
    #[allow(clippy::cast_precision_loss, reason = "a number for people")]
    fn rows(&self) -> Outcome<f64> {
        let rows =
            self.app.store().view().and_then(|view| view.tree_rows()).doing(Kind::Error, || "the ledger".into())?;
        Ok(rows.iter().sum::<u64>() as f64)
    }

    #[allow(clippy::cast_precision_loss, reason = "a size for people")]
    fn file(&self) -> f64 {
        std::fs::metadata(&self.path).map_or(0.0, |meta| meta.len() as f64 / 1_048_576.0)
    }
}

/// Mebibytes that this process holds.
#[allow(clippy::cast_precision_loss, reason = "a size for people")]
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS:"));
    let kib = line.and_then(|l| l.split_whitespace().nth(1)).and_then(|n| n.parse::<u64>().ok());
    kib.unwrap_or_default() as f64 / 1024.0
}
