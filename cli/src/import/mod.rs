//! `vouchsafe gateway import`: a client of a running gateway that brings a whole data set in, over FHIR REST.
//!
//! Why it is a client and how it goes on after an interruption is ADR 0030.

mod files;
mod gateway;
mod journal;
mod plan;
mod set;
mod tally;
mod write;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::Semaphore;

use crate::exit::Outcome;
use files::{Form, Found, Source};
use journal::{Blind, Journal};
use set::{Reason, Set};

pub(crate) use gateway::Gateway;
pub(crate) use plan::Most;
pub(crate) use tally::{Tally, Weight};

/// How an import is made.
pub(crate) struct Import {
    gateway: Gateway,
    blind: Blind,
    journal: Journal,
    most: Most,
    /// Transactions under way at once.
    connections: usize,
    sending: Semaphore,
    /// The types that the gateway lets a client create, when it says so.
    creatable: Option<BTreeSet<String>>,
    pub(crate) tally: Tally,
}

impl Import {
    /// An import to a gateway. `secret` is something that only this client knows; the journal lies in `home`, or is
    /// forgotten when there is none.
    pub(crate) async fn new(
        gateway: Gateway,
        secret: &[u8],
        home: Option<&Path>,
        connections: usize,
        most: Most,
    ) -> Outcome<Self> {
        let journal = home.map_or_else(|| Ok(Journal::none()), Journal::open)?;
        let creatable = gateway.creatable().await?;
        let sending = Semaphore::new(connections);
        let (blind, tally) = (Blind::new(secret), Tally::default());
        Ok(Self { gateway, blind, journal, most, connections, sending, creatable, tally })
    }

    /// Imports files and directories.
    ///
    /// # Errors
    /// When a path does not exist, or the gateway is away or does not let the client in. What is refused is told by the tally.
    pub(crate) async fn run(&self, paths: &[PathBuf]) -> Outcome {
        let Found { first, bundles, loose, unreadable } = files::find(paths)?;
        let all: u64 = first.iter().chain(&bundles).chain(&loose).map(|s| s.size).sum();
        self.tally.all_bytes.store(all, Ordering::Relaxed);
        for (path, why) in unreadable {
            self.tally.not_stored(Weight::Refused, "no FHIR JSON", path.display().to_string(), why);
        }
        for source in &first {
            self.bundle(source).await?;
        }
        let bundles = stream::iter(&bundles).map(|s| self.bundle(s)).buffer_unordered(self.connections);
        let bundles = bundles.try_for_each(|()| async { Ok(()) });
        tokio::try_join!(bundles, self.loose(&loose))?;
        Ok(())
    }

    /// Prints the progress until it is dropped; only to a terminal.
    #[allow(clippy::print_stderr, reason = "progress goes to stderr")]
    pub(crate) async fn show(&self) {
        if !std::io::IsTerminal::is_terminal(&std::io::stderr()) {
            std::future::pending::<()>().await;
        }
        loop {
            eprint!("\r{}", self.tally.bar());
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }

    /// Ends the line of the progress.
    #[allow(clippy::print_stderr, reason = "progress goes to stderr")]
    pub(crate) fn end_of_bar(&self) {
        if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
            eprintln!("\r{}", self.tally.bar());
        }
    }

    async fn bundle(&self, source: &Source) -> Outcome {
        let mut set = Set::default();
        if let Some(whole) = self.add(&mut set, source) {
            self.tally.already(u64::from(whole));
        } else {
            self.write(&set).await?;
            self.note_whole(&set)?;
        }
        self.tally.read(source.size);
        Ok(())
    }

    /// All files of lines and single resources are one set, because one file of a bulk export refers to the others.
    async fn loose(&self, sources: &[Source]) -> Outcome {
        let mut set = Set::default();
        for source in sources {
            self.add(&mut set, source);
        }
        self.write(&set).await?;
        sources.iter().for_each(|s| self.tally.read(s.size));
        Ok(())
    }

    /// Reads a file into a set; how many entries it has when all are known to be stored.
    fn add(&self, set: &mut Set, source: &Source) -> Option<u32> {
        let shown = source.path.display().to_string();
        let name = match set.add_file(source, &self.blind) {
            Ok(name) => name,
            Err(e) => {
                self.tally.not_stored(Weight::Refused, "cannot be read", shown, e.to_string());
                return None;
            }
        };
        let known = self.journal.of(&name);
        if source.form == Form::Bundle && known.whole.is_some() {
            return known.whole;
        }
        for unread in set.read() {
            let place = format!("{shown} {}", unread.place).trim_end().to_owned();
            let (weight, reason, text) = match unread.what {
                Reason::Unreadable(why) => (Weight::Refused, "no FHIR JSON", format!("it {why}")),
                Reason::Named => (Weight::Refused, "another resource has its name", String::new()),
                Reason::Nothing => (Weight::LeftOut, "an entry with nothing to store", String::new()),
                Reason::Again => (Weight::LeftOut, "the same resource again", String::new()),
            };
            self.tally.not_stored(weight, reason, place, text);
        }
        self.tally.already(set.recall(&known));
        None
    }
}
