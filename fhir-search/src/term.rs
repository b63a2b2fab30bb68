//! The terms that a store files documents under; [`crate::Query::need`] speaks of the same.

use crate::{FactsRef, Term};

/// Every term of a document, each once. Equal values of a parameter have equal terms.
pub fn terms(facts: FactsRef<'_>) -> Vec<Term> {
    let _ = facts;
    unimplemented!("written in the next commits")
}
