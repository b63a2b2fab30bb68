//! Answers a query over a universe.

mod include;
mod order;
mod plan;
#[cfg(test)]
mod tests;

use std::{
    cell::Cell,
    ops::ControlFlow::{Break, Continue},
};

use crate::{Fault, FaultKind, Query, Seen, Total, Universe};

pub use include::includes;
pub use order::SortedAt;

use order::Page;
use plan::Plan;

/// What one call may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The documents that may be looked at, those of chains, `_has` and includes among them. One that is compared with
    /// very many values, or that has very many itself, counts as several, and so does each further look through a type.
    pub scanned: usize,
    /// The matches handed back at once; `_count`, when smaller, is taken instead.
    pub page: usize,
    /// The documents that includes may add to a page.
    pub included: usize,
}

/// Where a hit is in the order of all hits: by what the query sorts by, then by type and key. A page that begins after it
/// begins there even when the document was changed or deleted since.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place<K> {
    /// Its type.
    pub resource_type: &'static str,
    /// Its key.
    pub key: K,
    /// What it had when it was found of what the query sorts by: health data, which is kept where the query is kept. Its
    /// Debug tells nothing.
    pub sorted_at: SortedAt,
}

/// Why a hit is in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is what was asked for.
    Match,
    /// It comes along by `_include` or `_revinclude`.
    Include,
}

/// One document of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit<K> {
    /// Its type and key.
    pub place: Place<K>,
    /// The id under which it is served.
    pub id: String,
    /// When it was written, in milliseconds since 1970.
    pub last_updated: i64,
    /// Why it is here.
    pub mode: Mode,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hits<K> {
    /// One page of matches, in order.
    pub matches: Vec<Hit<K>>,
    /// How many there are on all pages; known on the first page only, when asked for or when it cost nothing.
    pub total: Option<usize>,
    /// After which place the next page begins; none when this is the last.
    pub next: Option<Place<K>>,
}

/// Why a search has no answer.
#[derive(Debug)]
pub enum RunError<E> {
    /// The query asks too much.
    Fault(Fault),
    /// The documents cannot be had.
    Universe(E),
}

/// Finds the matches of a query, the page after `after`. Unsorted they come in the order of the types and of their keys;
/// sorted, those that are equal come in that order.
///
/// # Errors
/// When it would look at more documents than it may, or when they cannot be had.
pub fn run<U: Universe>(
    universe: &U,
    query: &Query,
    limits: &Limits,
    after: Option<&Place<U::Key>>,
) -> Result<Hits<U::Key>, RunError<U::Error>> {
    let session = Session::new(universe, limits);
    let size = query.count().unwrap_or(Query::MAX_COUNT).min(limits.page);
    let size = if query.counts_only() { 0 } else { size };
    let counts = after.is_none() && (query.counts_only() || query.total() == Total::Accurate);
    if query.sorted() && size > 0 {
        return sorted(&session, query, size, after);
    }
    let (mut matches, mut total, mut more) = (Vec::new(), 0_usize, false);
    let first = after.and_then(|place| query.types().iter().position(|name| *name == place.resource_type));
    for (at, (resource_type, part)) in query.parts().enumerate().skip(first.unwrap_or(0)) {
        let after = after.filter(|_| first == Some(at)).map(|place| &place.key);
        let plan = Plan::new(&session, resource_type, part)?;
        plan.matches(&session, after, &mut |seen| {
            total += 1;
            if matches.len() < size {
                matches.push(hit(resource_type, seen, SortedAt::default()));
                return Continue(());
            }
            more = true;
            if counts { Continue(()) } else { Break(()) }
        })?;
        if more && !counts {
            break;
        }
    }
    let known = query.counts_only() || (after.is_none() && query.total() != Total::None && (counts || !more));
    let next = matches.last().filter(|_| more).map(|hit: &Hit<_>| hit.place.clone());
    Ok(Hits { matches, total: known.then_some(total), next })
}

/// Sorted, all matches are looked at for each page, and so their number is known.
fn sorted<U: Universe>(
    session: &Session<'_, U>,
    query: &Query,
    size: usize,
    after: Option<&Place<U::Key>>,
) -> Result<Hits<U::Key>, RunError<U::Error>> {
    let mut page = Page::new(query, size, after);
    for (at, (resource_type, part)) in query.parts().enumerate() {
        let plan = Plan::new(session, resource_type, part)?;
        plan.matches(session, None, &mut |seen| {
            page.offer(at, &part.sort, seen);
            Continue(())
        })?;
    }
    let total = page.seen();
    let (matches, more) = page.finish(query.types());
    let next = matches.last().filter(|_| more).map(|hit| hit.place.clone());
    let known = after.is_none() && query.total() != Total::None;
    Ok(Hits { matches, total: known.then_some(total), next })
}

fn hit<K: Clone>(resource_type: &'static str, seen: &Seen<'_, K>, sorted_at: SortedAt) -> Hit<K> {
    let place = Place { resource_type, key: seen.key.clone(), sorted_at };
    Hit { place, id: seen.id.to_owned(), last_updated: seen.last_updated, mode: Mode::Match }
}

/// What it costs to look for documents that refer to others or are referred to, even when there are none.
const ONE_SCAN: usize = 16;

/// One call: the universe, and how many documents may still be looked at.
struct Session<'u, U> {
    universe: &'u U,
    left: Cell<usize>,
}

impl<'u, U: Universe> Session<'u, U> {
    fn new(universe: &'u U, limits: &Limits) -> Self {
        Self { universe, left: Cell::new(limits.scanned) }
    }

    /// Counts what is looked at, for the parameter that asks for it: a document, or that there may be none.
    #[inline]
    fn look(&self, parameter: &str, weight: usize) -> Result<(), RunError<U::Error>> {
        match self.left.get().checked_sub(weight) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => Err(too_costly(parameter, "more documents would have to be looked at than one search may")),
        }
    }
}

fn too_costly<E>(parameter: &str, what: &str) -> RunError<E> {
    RunError::Fault(Fault::new(FaultKind::TooCostly, parameter, what))
}
