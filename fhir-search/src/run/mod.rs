//! Answers a query over a universe.

use crate::{Fault, Query, Universe};

/// What one call may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The documents that may be looked at, those of chains, `_has` and includes among them.
    pub scanned: usize,
    /// The matches handed back at once; `_count`, when smaller, is taken instead.
    pub page: usize,
    /// The documents that includes may add to a page.
    pub included: usize,
}

/// Where a hit is in the order of all hits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place<K> {
    /// Its type.
    pub resource_type: &'static str,
    /// Its key.
    pub key: K,
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
    let _ = (universe, query, limits, after);
    unimplemented!("written in the next commits")
}

/// What `_include` and `_revinclude` add to a page: each document once, and none that is on the page.
///
/// # Errors
/// When there are more than may be, or when they cannot be had.
pub fn includes<U: Universe>(
    universe: &U,
    query: &Query,
    page: &[Hit<U::Key>],
    limits: &Limits,
) -> Result<Vec<Hit<U::Key>>, RunError<U::Error>> {
    let _ = (universe, query, page, limits);
    unimplemented!("written in the next commits")
}
