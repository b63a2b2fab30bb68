//! The figure `import`: a whole data set by `gateway import`'s own code.

use std::path::{Path, PathBuf};

use super::{
    data::{self, Rng},
    figure::{Figure, Report, Target},
    gateway::Setting,
    server::Server,
};
use crate::{
    exit::{Context, Failure, Kind, Outcome},
    import::{Gateway, Import, Most},
};

pub(super) const NAME: &str = "import";

/// Resources per second that the issue asks for.
const TARGET: f64 = 1500.0;
/// How much slower the last fifth may be than the first.
const FLAT: f64 = 0.8;

/// Patients that are made without Synthea, and entries of each.
const PATIENTS: u64 = 30;
const ENTRIES: usize = 1300;

/// As `gateway import` does by default.
const CONNECTIONS: usize = 4;
const MOST: Most = Most { entries: 1000, bytes: 8 << 20 };

/// Imports the same data into each server.
pub(super) async fn measure(
    setting: &Setting,
    servers: &[Server],
    http: &reqwest::Client,
    report: &mut Report,
) -> Outcome {
    let data = match &setting.synthea {
        Some(dir) => dir.clone(),
        None => made(&setting.scratch.join("import"), setting.seed)?,
    };
    let mut rates = Vec::new();
    for server in servers {
        super::progress(&format!("{NAME}: {}", server.name));
        rates.push(one(server, http, &data).await?);
    }
    let Some(((ours, flat), others)) = rates.split_first() else { return Ok(()) };
    let judged = servers[0].name == super::OURS;
    let figure = Figure::new(NAME, *ours, "1/s");
    let figure = if judged { figure.should(Target::AtLeast(TARGET)) } else { figure };
    if others.is_empty() {
        report.tell(figure.clone());
    }
    for (server, (rate, _)) in servers.iter().skip(1).zip(others) {
        report.tell(figure.clone().beside(&server.name, *rate));
    }
    let figure = Figure::new("import_last_fifth_over_first", *flat, "");
    report.tell(if judged { figure.should(Target::AtLeast(FLAT)) } else { figure });
    Ok(())
}

/// Records per second, and how the last fifth's rate relates to the first's.
async fn one(server: &Server, http: &reqwest::Client, data: &Path) -> Outcome<(f64, f64)> {
    let gateway = Gateway::new(http, &server.base, server.client.clone());
    let import = Import::new(gateway, b"bench", None, CONNECTIONS, MOST).await?;
    import.run(&[data.to_owned()]).await?;
    if import.tally.refusals() > 0 {
        return Err(Failure::new(Kind::Error, format!("{}: {}", server.name, import.tally.to_text())));
    }
    let (stored, seconds) = import.tally.so_far();
    let flat = import.tally.first_and_last_fifth().map_or(0.0, |(first, last)| last / first);
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    Ok((stored as f64 / seconds, flat))
}

/// Writes Bundles made from a seed.
fn made(dir: &Path, seed: u64) -> Outcome<PathBuf> {
    let write = || {
        std::fs::create_dir_all(dir)?;
        let mut rng = Rng::new(seed);
        (0..PATIENTS)
            .try_for_each(|n| std::fs::write(dir.join(format!("{n:02}.json")), data::bundle(&mut rng, ENTRIES)))
    };
    write().doing(Kind::Error, || dir.display().to_string())?;
    Ok(dir.to_owned())
}
