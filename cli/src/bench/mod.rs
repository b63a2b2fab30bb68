//! `vouchsafe bench`: the figures, each beside its baseline measured in the same run.

mod data;
mod figure;
mod gateway;
mod import;
mod ledger;
mod load;
mod plain;
mod population;
mod server;
mod session;
mod size;
mod wire;

#[cfg(test)]
pub(crate) use data::Rng;
pub(crate) use figure::Report;
pub(crate) use gateway::{Setting, all, alone, http, names};
pub(crate) use ledger::{
    Setting as LedgerSetting, measure as ledger, names as ledger_names, scale as ledger_scale, serve_application,
};
pub(crate) use plain::serve as plain_store;
pub(crate) use population::named;
pub(crate) use server::Server;
pub(crate) use size::measure as size;

/// What the gateway is called in the figures.
pub(crate) const OURS: &str = "vouchsafe";

/// Says what is being done, to a person at a terminal only.
#[allow(clippy::print_stderr, reason = "progress goes to stderr")]
pub(crate) fn progress(what: &str) {
    if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        eprintln!("… {what}");
    }
}
