//! `cargo xtask examples`: every R4 example that HL7 publishes is sent to a real gateway and read back.
//!
//! An example counts as stored when a read gives its very bytes. Compared is what was sent with what is served, both
//! without what a server says about a resource (`id`, `meta.versionId`, `meta.lastUpdated`, computed labels); not a space
//! elsewhere may differ. The gateway gives its own ids, so an example that names a patient of HL7's is refused at first, and
//! sent again with that one reference naming the Patient that is here. Whatever stays refused must have a reason in
//! `reasons.rs`; docs/examples.md is what this chore found.

pub(crate) mod bytes;
mod intake;
pub(crate) mod package;
mod reasons;
mod report;
pub(crate) mod site;

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Instant,
};

use crate::{
    error::{Error, Result},
    report::seconds,
    test::Scratch,
};
use intake::{Intake, Outcome};
use package::Example;
use site::Site;

/// Enough that the gateway is never idle, and one anchor holds several.
const CONNECTIONS: usize = 16;

/// What the chore was asked for.
pub(crate) struct Ask {
    /// Where the package is kept, and looked for first.
    pub(crate) keep: Option<PathBuf>,
    /// Only so many of them, by this seed.
    pub(crate) sample: Option<(usize, u64)>,
}

/// Runs the chore.
pub(crate) fn chore(root: &Path, binary: &Path, ask: &Ask) -> Result<()> {
    let scratch = Scratch::new("examples")?;
    let began = Instant::now();
    let mut examples = package::load(ask.keep.as_deref().unwrap_or(&scratch.0))?;
    let all = examples.len();
    if let Some((count, seed)) = ask.sample {
        println!("a sample of {count}, seed {seed}");
        examples = sampled(examples, count, seed);
    }
    eprintln!("{} examples read in {}", examples.len(), seconds(began.elapsed()));
    let began = Instant::now();
    let outcomes = intake(binary, &scratch.0, &examples)?;
    let took = began.elapsed();
    let results: Vec<report::Line<'_>> =
        examples.iter().zip(&outcomes).map(|(example, outcome)| report::Line { example, outcome }).collect();
    report::print(&results, took);
    report::judge(&results)?;
    let file = root.join("docs/examples.md");
    if examples.len() == all { report::write(&file, &results) } else { report::compare(&file, &results) }
}

/// Sends Patients first, then RelatedPersons, because others lie in their charts; then everything, on several connections.
fn intake(binary: &Path, scratch: &Path, examples: &[Example]) -> Result<Vec<Outcome>> {
    let mut site = Site::start(binary, &scratch.join("home"))?;
    let outcomes = {
        let intake = Intake::new(&site);
        let mut outcomes: Vec<Option<Outcome>> = examples.iter().map(|_| None).collect();
        for kind in [Some("Patient"), Some("RelatedPerson"), None] {
            let waiting: Vec<usize> = (0..examples.len())
                .filter(|n| outcomes[*n].is_none() && kind.is_none_or(|k| examples[*n].resource_type == k))
                .collect();
            for (n, outcome) in wave(&intake, examples, &waiting)? {
                outcomes[n] = Some(outcome);
            }
        }
        outcomes.into_iter().flatten().collect()
    };
    site.sound()?;
    Ok(outcomes)
}

fn wave(intake: &Intake<'_>, examples: &[Example], waiting: &[usize]) -> Result<Vec<(usize, Outcome)>> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, Outcome)>> {
        let mut client = intake.client();
        let mut done = Vec::new();
        while let Some(n) = waiting.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push((*n, intake.take(&mut client, &examples[*n])?));
        }
        Ok(done)
    };
    let parts: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(thread::ScopedJoinHandle::join).collect()
    });
    let mut all = Vec::new();
    for part in parts {
        all.extend(part.map_err(|_| Error::failed("a thread of this chore failed"))??);
    }
    Ok(all)
}

/// So many examples, chosen by a seed.
fn sampled(examples: Vec<Example>, count: usize, seed: u64) -> Vec<Example> {
    let mut keyed: Vec<(u64, Example)> =
        examples.into_iter().map(|example| (mixed(seed, &example.file), example)).collect();
    keyed.sort_by_key(|(key, _)| *key);
    keyed.truncate(count);
    keyed.sort_by(|(_, a), (_, b)| a.file.cmp(&b.file));
    keyed.into_iter().map(|(_, example)| example).collect()
}

/// FNV-1a over the seed and a name, so that one more example leaves the others' order as it was, finished as SplitMix64 does.
fn mixed(seed: u64, name: &str) -> u64 {
    let bytes = seed.to_le_bytes().into_iter().chain(name.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_chosen_by_its_seed() {
        let all = || {
            let one = |n: u32| Example {
                file: format!("{n}.json"),
                bytes: Vec::new(),
                resource_type: "Basic".to_owned(),
                name: format!("Basic/{n}"),
            };
            (100..200).map(one).collect()
        };
        let files = |seed| sampled(all(), 10, seed).into_iter().map(|e| e.file).collect::<Vec<_>>();
        assert_eq!(files(1), files(1));
        assert_ne!(files(1), files(2));
        assert!(files(1).is_sorted() && files(1).len() == 10);
    }
}
