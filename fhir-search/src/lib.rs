//! Search over FHIR R4 resources as pure functions: HL7's definitions of search parameters as a table, what a resource can
//! be found by, what a query asks for, and the one engine that answers it over any collection of documents.
//!
//! **Architecture invariant:** it knows no store, no network and nobody who asks. What may be seen is decided before: a
//! [`Universe`] holds only what its searcher may know of.

pub mod date;
mod decimal;
mod extract;
mod facts;
mod fault;
mod fold;
#[cfg(test)]
mod fuzz;
mod memory;
mod param;
mod query;
mod run;
mod table;
mod term;
mod universe;

pub use date::DateRange;
pub use decimal::{Decimal, DecimalRange};
pub use extract::extract;
pub use facts::{Fact, Facts, FactsBuilder, FactsOf, FactsRef, Numbered};
pub use fault::{Fault, FaultKind};
pub use fold::fold;
pub use memory::MemoryUniverse;
pub use param::{Kind, Param};
pub use query::{Context, Handling, Query, Summary, Total};
pub use run::{Hit, Hits, Limits, Mode, Place, RunError, SortedAt, includes, run};
pub use table::{compartment, mandatory_elements, param, params, summary_elements};
pub use term::{MAX_TERMS, ids_needed, ids_referred, terms};
pub use universe::{Need, Seen, Term, Universe};
