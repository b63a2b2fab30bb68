//! transaction and batch (<https://hl7.org/fhir/R4/http.html#transaction>): a Bundle whose entries are requests.
//!
//! The body is scanned strictly once as a whole; each resource is then rewritten, parsed and checked once, where it lies.

mod answer;
mod batch;
mod entries;
#[cfg(test)]
mod figures;
mod links;
mod transaction;

use std::sync::Arc;

use entries::{Entry, Task};

use crate::{
    fhir::{
        bundle::{self, Kind},
        capability::Permission,
        json,
    },
    http::{Fault, Reply, call::Call},
    policy::{self, Act},
};

/// `POST [base]`.
pub(crate) async fn serve(call: Call) -> Result<Reply, Fault> {
    let call = Arc::new(call);
    let most = call.gw.config.limits.bundle_entries;
    let reading = Arc::clone(&call);
    let read = off_the_runtime(move || {
        json::check(&reading.body).map_err(|fault| Fault::from(&fault))?;
        let bundle = bundle::read(&reading.body, most)?;
        let entries = bundle.entries.into_iter().enumerate();
        let entries: Vec<_> = entries.map(|(number, entry)| Entry::read(&reading.gw, number, entry?)).collect();
        Ok((bundle.kind, entries))
    });
    let (kind, entries) = read.await?;
    match kind {
        Kind::Transaction => {
            let entries = entries.into_iter().collect::<Result<Vec<_>, Fault>>()?;
            transaction::serve(&call, entries).await
        }
        Kind::Batch => batch::serve(&call, entries).await,
    }
}

/// Whether every entry of a Bundle writes an own record.
///
/// # Errors
/// What is wrong with the Bundle as a whole.
pub(crate) async fn only_writes(call: &Call) -> Result<bool, Fault> {
    let (gw, body) = (Arc::clone(&call.gw), call.body.clone());
    let most = gw.config.limits.bundle_entries;
    off_the_runtime(move || {
        json::check(&body).map_err(|fault| Fault::from(&fault))?;
        let mut entries = bundle::read(&body, most)?.entries.into_iter().enumerate();
        let writes = |(number, entry)| {
            // An entry that is wrong is refused in its own place when it is served.
            let Ok(entry) = entry else { return true };
            Entry::read(&gw, number, entry).map_or(true, |entry| matches!(entry.task, Task::Write { .. }))
        };
        Ok(entries.all(writes))
    })
    .await
}

/// Does what takes a while where nobody waits for it.
async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Fault::internal("the Bundle was given up"))?
}

/// Whether the caller may write at all; asked once for all entries.
fn may_write(call: &Call) -> Result<(), Fault> {
    let caller = call.caller()?;
    policy::may_use(Permission::WritesOwn, caller)?;
    policy::decide(caller, &Act::WriteOwn)?;
    Ok(())
}
