//! The documents that a search may know of.

use std::ops::ControlFlow;

use crate::FactsRef;

/// A short name of a value that documents are filed under: equal values of a parameter have equal terms. The bytes are
/// health data; a store blinds them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub Vec<u8>);

/// What every match must have: of each inner list at least one term. Empty when nothing is known.
pub type Need = [Vec<Term>];

/// A document as a search sees it: the latest version of a record, not deleted.
#[derive(Clone, Copy)]
pub struct Seen<'a, K> {
    /// Where it is; also its place in the order of the universe.
    pub key: &'a K,
    /// Its type.
    pub resource_type: &'a str,
    /// The id under which it is served.
    pub id: &'a str,
    /// When it was written, in milliseconds since 1970.
    pub last_updated: i64,
    /// What it can be found by.
    pub facts: FactsRef<'a>,
}

/// The documents that a search may know of: what is not in it has no effect on any answer, count, order or time.
pub trait Universe {
    /// Where a document is.
    type Key: Clone + Ord + std::hash::Hash;
    /// Why documents cannot be had.
    type Error;

    /// Shows the documents of a type in ascending order of their keys, those after `after` only, until `each` breaks off.
    /// Documents that lack what is needed may be left out; none is shown twice. While they are shown `each` may ask the
    /// universe again: chains follow references from one document to the next.
    ///
    /// # Errors
    /// When they cannot be had.
    fn scan(
        &self,
        resource_type: &str,
        need: &Need,
        after: Option<&Self::Key>,
        each: &mut dyn FnMut(Seen<'_, Self::Key>) -> ControlFlow<()>,
    ) -> Result<(), Self::Error>;

    /// Shows the document with this id, if there is one.
    ///
    /// # Errors
    /// When it cannot be had.
    fn get(&self, resource_type: &str, id: &str, each: &mut dyn FnMut(Seen<'_, Self::Key>)) -> Result<(), Self::Error>;
}
