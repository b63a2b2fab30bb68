//! Orders (<https://hl7.org/fhir/R4/search.html#sort>): what a document has of what a query sorts by, and the smallest page
//! of many documents.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    fmt,
};

use serde::{Deserialize, Serialize};

use super::{Hit, Mode, Place};
use crate::{
    Fact, FactsRef, Query, Seen, fold,
    query::{SortBy, SortKey},
};

/// What a document has of what a query sorts by, key by key. Empty when it sorts by nothing.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SortedAt(Vec<Ordered>);

impl fmt::Debug for SortedAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SortedAt(…)")
    }
}

/// One key in the direction that is asked for. What is missing comes last in both.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Ordered {
    Up(Value),
    Down(Reverse<Value>),
    Missing,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Value {
    Number(i128),
    Text(Box<str>),
}

/// The smallest documents after a place: a heap whose greatest gives way, so that a page of a chart of thousands costs no
/// more than looking at each.
pub(super) struct Page<'a, K> {
    size: usize,
    /// One more than the page, which tells whether there is a next.
    kept: BinaryHeap<Candidate<K>>,
    after: Option<(&'a Place<K>, usize)>,
    seen: usize,
}

struct Candidate<K> {
    at: SortedAt,
    resource_type: usize,
    key: K,
    id: Box<str>,
    last_updated: i64,
}

impl<K: Ord> Candidate<K> {
    fn rank(&self) -> (&[Ordered], usize, &K) {
        (&self.at.0, self.resource_type, &self.key)
    }
}

impl<K: Ord> PartialEq for Candidate<K> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<K: Ord> Eq for Candidate<K> {}

impl<K: Ord> PartialOrd for Candidate<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord> Ord for Candidate<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl<'a, K: Ord + Clone> Page<'a, K> {
    pub(super) fn new(query: &Query, size: usize, after: Option<&'a Place<K>>) -> Self {
        let position = |place: &Place<K>| query.types().iter().position(|name| *name == place.resource_type);
        let after = after.map(|place| (place, position(place).unwrap_or(0)));
        Self { size, kept: BinaryHeap::with_capacity(size + 2), after, seen: 0 }
    }

    /// Takes a match into account.
    pub(super) fn offer(&mut self, resource_type: usize, sort: &[SortKey], seen: &Seen<'_, K>) {
        self.seen += 1;
        let first = sort.first().map(|key| ordered(key, seen));
        let full = self.kept.len() > self.size;
        if let (Some(first), true, Some(last)) = (&first, full, self.kept.peek())
            && last.at.0.first().is_some_and(|last| first > last)
        {
            // Most documents of a large chart end here, before anything is copied.
            return;
        }
        let rest = sort.iter().skip(1).map(|key| ordered(key, seen));
        let at = first.into_iter().chain(rest).collect::<Vec<_>>();
        let rank = (at.as_slice(), resource_type, seen.key);
        let after = self.after.is_none_or(|(place, of)| rank > (place.sorted_at.0.as_slice(), of, &place.key));
        let before = !full || self.kept.peek().is_some_and(|last| rank < last.rank());
        if !after || !before {
            return;
        }
        if full {
            self.kept.pop();
        }
        let key = seen.key.clone();
        let (id, last_updated) = (seen.id.into(), seen.last_updated);
        self.kept.push(Candidate { at: SortedAt(at), resource_type, key, id, last_updated });
    }

    /// How many matches there were, on all pages.
    pub(super) fn seen(&self) -> usize {
        self.seen
    }

    /// The page in order, and whether there is a next.
    pub(super) fn finish(self, types: &[&'static str]) -> (Vec<Hit<K>>, bool) {
        let more = self.kept.len() > self.size;
        let hits = self.kept.into_sorted_vec().into_iter().take(self.size).map(|candidate| {
            let Candidate { at, resource_type, key, id, last_updated } = candidate;
            let place = Place { resource_type: types[resource_type], key, sorted_at: at };
            Hit { place, id: id.into(), last_updated, mode: Mode::Match }
        });
        (hits.collect(), more)
    }
}

/// Of several values the smallest when ascending and the greatest when descending.
fn ordered<K>(key: &SortKey, seen: &Seen<'_, K>) -> Ordered {
    let value = match key.by {
        SortBy::Id => Some(Value::Text(seen.id.into())),
        SortBy::Updated => Some(Value::Number(seen.last_updated.into())),
        SortBy::Param(param) => extreme(seen.facts, param.number, key.descending),
    };
    match value {
        None => Ordered::Missing,
        Some(value) if key.descending => Ordered::Down(Reverse(value)),
        Some(value) => Ordered::Up(value),
    }
}

fn extreme(facts: FactsRef<'_>, number: u16, greatest: bool) -> Option<Value> {
    let values = facts.of(number).filter_map(|fact| value(&fact));
    if greatest { values.max() } else { values.min() }
}

/// Times and numbers by where they begin, text without case and accents, codes and references by their text.
fn value(fact: &Fact<'_>) -> Option<Value> {
    Some(match *fact {
        Fact::Date(range) => Value::Number(range.start.into()),
        Fact::Number(range) | Fact::Quantity { range, .. } => Value::Number(range.low.0),
        Fact::String(text) => Value::Text(fold(text).collect::<String>().into()),
        Fact::Token { code: "", text, .. } => Value::Text(text?.into()),
        Fact::Token { code: text, .. } | Fact::Reference { url: text, .. } | Fact::Uri(text) => {
            Value::Text(text.into())
        }
        Fact::TypedIdentifier { .. } | Fact::ReferenceIdentifier { .. } | Fact::Tuple | Fact::Component(_) => {
            return None;
        }
    })
}
