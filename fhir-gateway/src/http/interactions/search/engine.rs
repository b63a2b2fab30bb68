//! Lets the engine run within bounds, where it does not hold up others.

use std::sync::Arc;

use vouchsafe_fhir_search::{Hit, Hits, Limits, Place, Query, RunError, includes, run};

use super::{
    super::unreadable,
    DEFAULT_COUNT, MAX_COUNT,
    universe::{Joined, Key},
};
use crate::{gateway::Gateway, http::Fault, records::OpenError};

/// The documents that one search may look at: some seconds of one core.
const SCANNED: usize = 1_000_000;
/// The resources that includes may add to a page.
const INCLUDED: usize = 1_000;

fn limits(query: &Query) -> Limits {
    Limits { scanned: SCANNED, page: query.count().unwrap_or(DEFAULT_COUNT).min(MAX_COUNT), included: INCLUDED }
}

/// One page of matches.
///
/// # Errors
/// 400 when the search would look at more than it may, 503 when the index cannot be read.
pub(super) async fn find(
    gw: &Gateway,
    universe: &Joined,
    query: &Query,
    after: Option<Place<Key>>,
) -> Result<Hits<Key>, Fault> {
    if !is_heavy(universe, query) {
        return run(universe, query, &limits(query), after.as_ref()).map_err(fault);
    }
    let (universe, query) = (universe.clone(), query.clone());
    apart(gw, move || run(&universe, &query, &limits(&query), after.as_ref())).await
}

/// What comes along with the matches of a page.
///
/// # Errors
/// 400 when it is too much, 503 when the index cannot be read.
pub(super) async fn including(
    gw: &Gateway,
    universe: Joined,
    query: &Query,
    page: Vec<Hit<Key>>,
) -> Result<Vec<Hit<Key>>, Fault> {
    let query = query.clone();
    apart(gw, move || includes(&universe, &query, &page, &limits(&query))).await
}

/// True when the query alone does not lead to where the matches are.
fn is_heavy(universe: &Joined, query: &Query) -> bool {
    let _ = universe;
    query.uses_chain() || query.types().iter().any(|name| query.need(name).is_empty())
}

/// Runs what may take long beside the threads that serve others, a few at a time.
async fn apart<T: Send + 'static>(
    gw: &Gateway,
    work: impl FnOnce() -> Result<T, RunError<OpenError>> + Send + 'static,
) -> Result<T, Fault> {
    let turn = Arc::clone(&gw.pages.heavy).acquire_owned().await;
    let turn = turn.map_err(|_| Fault::unavailable("the gateway is stopping"))?;
    let done = tokio::task::spawn_blocking(move || {
        // Held until the work has ended, even when nobody waits for it any more.
        let _turn = turn;
        work()
    });
    done.await.map_err(|_| Fault::internal("the search was given up"))?.map_err(fault)
}

fn fault(error: RunError<OpenError>) -> Fault {
    match error {
        RunError::Fault(fault) => Fault::from(&fault),
        RunError::Universe(error) => unreadable(&error),
    }
}
