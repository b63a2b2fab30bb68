//! `vouchsafe bench size`: what records cost on disk and in memory, and whether many make the gateway slower.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    figure::{Figure, Report, Target},
    gateway::{Setting, search_identifier, search_patient_date},
    population::{self, Population},
    server::Server,
};
use crate::exit::Outcome;

/// Observations of each patient.
const EACH: usize = 100;
/// Patients that are created with one token, whose time is limited.
const AT_ONCE: usize = 50;
/// Bytes of memory that a gateway may hold at a million records.
const MEMORY: f64 = 512.0;
/// How much slower the last records may go in than the first.
const FLAT: f64 = 0.8;
/// How much slower a search may be than with the fewest records.
const SEARCH: f64 = 2.0;

/// A server that is being filled, and where its files are.
struct Filled {
    server: Server,
    home: PathBuf,
    population: Population,
    /// Records per second of each slice.
    rates: Vec<f64>,
}

/// Fills a gateway and a plain store to each of the sizes, and measures there.
pub(crate) async fn measure(
    setting: &Setting,
    sizes: &[usize],
    ours: (Server, PathBuf),
    plain: (Server, PathBuf),
    report: &mut Report,
) -> Outcome {
    let filled = |(server, home)| Filled { server, home, population: Population::default(), rates: Vec::new() };
    let (mut ours, mut plain) = (filled(ours), filled(plain));
    let mut first_searches = [None; 2];
    for &size in sizes {
        for filled in [&mut ours, &mut plain] {
            filled.up_to(size, setting.seed).await?;
        }
        disk(size, &ours, &plain, report);
        let resident = |f: &Filled| f.server.resident().map_or(0.0, mebibytes);
        let figure = Figure::new(format!("size_{size}_resident"), resident(&ours), "MiB");
        report.tell(figure.beside(&plain.server.name, resident(&plain)).should(Target::AtMost(MEMORY)));
        let (mut by_patient, mut by_identifier) = (Vec::new(), Vec::new());
        for filled in [&ours, &plain] {
            super::progress(&format!("searching {} at {size} records", filled.server.name));
            let population = Arc::new(filled.population.clone());
            by_patient.push(search_patient_date(setting, &filled.server, &population).await?.p95);
            by_identifier.push(search_identifier(setting, &filled.server, &population).await?.p95);
        }
        let searches = [("search_p95", by_patient), ("search_identifier_p95", by_identifier)];
        for ((name, p95), first) in searches.into_iter().zip(&mut first_searches) {
            let first = *first.get_or_insert(p95[0]);
            let figure = Figure::new(format!("size_{size}_{name}"), p95[0], "s").beside(&plain.server.name, p95[1]);
            report.tell(figure.should(Target::AtMost(first * SEARCH)));
        }
    }
    for (name, filled) in [("size_fill", &ours), ("size_fill_plain", &plain)] {
        let (first, last) = ends(&filled.rates);
        report.tell(Figure::new(format!("{name}_first"), first, "1/s"));
        report.tell(Figure::new(format!("{name}_last"), last, "1/s"));
    }
    let (first, last) = ends(&ours.rates);
    report.tell(Figure::new("size_fill_last_over_first", last / first, "").should(Target::AtLeast(FLAT)));
    Ok(())
}

/// The mean rates of the first and the last fifth.
#[allow(clippy::cast_precision_loss, reason = "a rate for people")]
fn ends(rates: &[f64]) -> (f64, f64) {
    let fifth = rates.len().div_ceil(5).max(1);
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len().max(1) as f64;
    (mean(&rates[..fifth.min(rates.len())]), mean(&rates[rates.len().saturating_sub(fifth)..]))
}

impl Filled {
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    async fn up_to(&mut self, size: usize, seed: u64) -> Outcome {
        let count = |p: &Population| p.patients.len() + p.observations.len();
        while count(&self.population) < size {
            let had = count(&self.population);
            let patients = (size - had).div_ceil(EACH + 1).min(AT_ONCE);
            let began = Instant::now();
            let more = population::fill(&self.server, seed.wrapping_add(had as u64), patients, EACH).await?;
            self.rates.push(count(&more) as f64 / began.elapsed().as_secs_f64());
            self.population.patients.extend(more.patients);
            self.population.observations.extend(more.observations);
            self.population.identifiers.extend(more.identifiers);
            if self.rates.len().is_multiple_of(10) {
                super::progress(&format!("{}: {} records", self.server.name, count(&self.population)));
            }
        }
        // What was written last is still being put in its place.
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(())
    }
}

/// Bytes on disk for each record, by what they are for.
fn disk(size: usize, ours: &Filled, plain: &Filled, report: &mut Report) {
    #[allow(clippy::cast_precision_loss, reason = "bytes for people")]
    let per_record = |bytes: u64| bytes as f64 / size as f64;
    let is_blobs = |path: &Path| path.file_name().is_some_and(|n| n == "blobs.redb");
    let is_ledger = |path: &Path| path.components().any(|c| c.as_os_str() == "ledger");
    let is_index = |path: &Path| !is_blobs(path) && !is_ledger(path);
    let mut part = |name: &str, is: &dyn Fn(&Path) -> bool| {
        let bytes = per_record(bytes_below(&ours.home, is));
        report.tell(Figure::new(format!("size_{size}_{name}_per_record"), bytes, "B"));
    };
    part("blobs", &is_blobs);
    part("ledger", &is_ledger);
    part("index", &is_index);
    let figure = Figure::new(format!("size_{size}_per_record"), per_record(bytes_below(&ours.home, &|_| true)), "B");
    report.tell(figure.beside(&plain.server.name, per_record(bytes_below(&plain.home, &|_| true))));
}

/// What files take on disk, which for a sparse one is less than its length.
fn bytes_below(dir: &Path, is: &dyn Fn(&Path) -> bool) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => bytes_below(&entry.path(), is),
        Ok(meta) if is(&entry.path()) => meta.blocks() * 512,
        _ => 0,
    });
    sizes.sum()
}

#[allow(clippy::cast_precision_loss, reason = "a size for people")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}
