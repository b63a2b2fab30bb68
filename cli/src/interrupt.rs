//! Ctrl-C, heard from the moment it is promised: what is printed after `listen` may already be answered with it.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::{Context, Kind, Outcome};

/// Hears Ctrl-C from now on; before, it ends the process at once.
pub(crate) struct Interrupt(Signal);

impl Interrupt {
    /// Begins to listen.
    pub(crate) fn listen() -> Outcome<Self> {
        signal(SignalKind::interrupt()).map(Self).doing(Kind::Error, || "listening for Ctrl-C".into())
    }

    /// Waits for it.
    pub(crate) async fn wait(mut self) {
        self.0.recv().await;
    }
}
