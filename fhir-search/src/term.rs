//! The terms that a store files documents under; [`crate::Query::need`] speaks of the same.
//!
//! A term is for finding, not for judging: it leaves out the parameter and the system, so that what several parameters have
//! in common (a patient as `subject` and `patient`, a code as `code` and `combo-code`) is filed once, and what a term finds
//! is matched again. Synthea's Observations have three to five, its Patients twelve, and no other type more
//! than nine on average. Filed are
//!
//! - references, by the id of what is on this server or by the address of what is not;
//! - codes and identifiers, in lower case, but for parameters that have few values, such as `status`: those would find most
//!   of all documents and cost a line in each;
//! - names, titles and places by their first three letters, folded;
//! - addresses such as `url`, without their version;
//! - the day of birth.
//!
//! Everything else (other dates, numbers, quantities, other text) is found by looking at the documents. A document of more
//! than [`MAX_TERMS`] terms is filed under a single one that every need names, so that none makes an index grow without bound.

use std::sync::OnceLock;

use crate::{DateRange, Fact, FactsRef, Kind, Param, Term, fold, table};

/// How many terms a document may have.
pub const MAX_TERMS: usize = 64;
/// How many bytes of a value are filed: the last ones, in which addresses differ.
const MAX_BYTES: usize = 64;
/// How many letters of a text are filed.
const LETTERS: usize = 3;
const DAY: i64 = 86_400_000;
/// The class of terms that are ids of this server.
const LOCAL: u8 = 3;

/// Parameters whose values are few, so that each is in many documents.
const FEW_VALUES: &[&str] = &[
    "abstract",
    "action",
    "active",
    "address-use",
    "category",
    "class",
    "clinical-status",
    "content-mode",
    "criticality",
    "deceased",
    "doc-status",
    "event",
    "experimental",
    "format",
    "gender",
    "intent",
    "kind",
    "language",
    "lifecycle",
    "mode",
    "outcome",
    "priority",
    "relation",
    "request-intent",
    "request-priority",
    "request-status",
    "severity",
    "status",
    "subject-type",
    "use",
    "verification-status",
];

/// Texts that people are searched by.
const NAMES: &[&str] = &["address-city", "address-postalcode", "family", "given", "name", "title"];

/// How the values of a parameter are filed.
#[derive(Clone, Copy)]
pub(crate) enum Filing {
    /// Not at all.
    Not,
    Code,
    Beginning,
    Reference,
    Address,
    Day,
    /// Each component by its own parameter.
    Composite(&'static Param),
}

/// How the values of a parameter are filed.
pub(crate) fn filing(param: &'static Param) -> Filing {
    match param.kind {
        // What an id finds is had by `get`.
        Kind::Token if param.code == "_id" => Filing::Not,
        Kind::Token if FEW_VALUES.binary_search(&param.code).is_err() => Filing::Code,
        Kind::String if NAMES.binary_search(&param.code).is_ok() => Filing::Beginning,
        Kind::Reference => Filing::Reference,
        Kind::Uri if !matches!(param.code, "_profile" | "_source") => Filing::Address,
        Kind::Date if param.code == "birthdate" => Filing::Day,
        Kind::Composite => Filing::Composite(param),
        _ => Filing::Not,
    }
}

/// Every term of a document, each once. Equal values of a parameter have equal terms.
pub fn terms(facts: FactsRef<'_>) -> Vec<Term> {
    let filings = filings();
    let mut terms = Vec::new();
    let mut component: Option<&'static Param> = None;
    for (number, fact) in facts.all() {
        let filing = match (filings.get(usize::from(number)).copied().unwrap_or(Filing::Not), fact) {
            (_, Fact::Tuple) => {
                component = None;
                continue;
            }
            (Filing::Composite(param), Fact::Component(at)) => {
                component = param.components.get(usize::from(at)).copied();
                continue;
            }
            (Filing::Composite(_), _) => component.map_or(Filing::Not, filing),
            (filing, _) => filing,
        };
        terms.extend(of_fact(filing, &fact));
    }
    terms.sort_unstable();
    terms.dedup();
    if terms.len() > MAX_TERMS { vec![overflow()] } else { terms }
}

/// With the term of documents that have too many of their own.
pub(crate) fn or_overflow(mut terms: Vec<Term>) -> Vec<Term> {
    terms.push(overflow());
    terms
}

fn of_fact(filing: Filing, fact: &Fact<'_>) -> Option<Term> {
    match *fact {
        Fact::Token { code: text, .. } => code(filing, text),
        Fact::TypedIdentifier { value, .. } => code(filing, value),
        Fact::String(text) => beginning(filing, text),
        Fact::Reference { id: Some(id), .. } => Some(local(id)),
        Fact::Reference { url, .. } => Some(elsewhere(url)),
        Fact::ReferenceIdentifier { value, .. } => Some(logical(value)),
        Fact::Uri(text) => address(filing, text),
        Fact::Date(range) => day(filing, range),
        _ => None,
    }
}

/// By a code or the value of an identifier. Truth values find half of all.
pub(crate) fn code(filing: Filing, code: &str) -> Option<Term> {
    let filed = matches!(filing, Filing::Code) && !code.is_empty() && !matches!(code, "true" | "false");
    filed.then(|| term(1, code.to_ascii_lowercase().as_bytes()))
}

/// By how a text begins.
pub(crate) fn beginning(filing: Filing, text: &str) -> Option<Term> {
    if !matches!(filing, Filing::Beginning) {
        return None;
    }
    let letters = fold(text).take(LETTERS).collect::<String>();
    (letters.chars().count() == LETTERS).then(|| term(2, letters.as_bytes()))
}

/// By a reference to a document of this server.
pub(crate) fn local(id: &str) -> Term {
    term(LOCAL, id.as_bytes())
}

/// By a reference to elsewhere.
pub(crate) fn elsewhere(url: &str) -> Term {
    term(4, unversioned(url).as_bytes())
}

/// By an address.
pub(crate) fn address(filing: Filing, text: &str) -> Option<Term> {
    matches!(filing, Filing::Address).then(|| term(5, unversioned(text).as_bytes()))
}

/// By a day, when the span lies within one.
pub(crate) fn day(filing: Filing, range: DateRange) -> Option<Term> {
    let day = range.start.div_euclid(DAY);
    let filed = matches!(filing, Filing::Day) && day == range.end.div_euclid(DAY);
    filed.then(|| term(6, &day.to_be_bytes()))
}

/// The ids of which a document must refer to one, when that is all that a list of [`crate::Query::need`] says.
pub fn ids_needed(any: &[Term]) -> Option<Vec<&str>> {
    let overflow = overflow();
    let named = any.iter().filter(|term| **term != overflow);
    let ids: Vec<&str> = named
        .map(|term| term.0.split_first().filter(|(class, _)| **class == LOCAL))
        .map(|id| std::str::from_utf8(id?.1).ok())
        .collect::<Option<_>>()?;
    (!ids.is_empty()).then_some(ids)
}

/// The ids of this server's documents of a type to which a document refers, and of those whose type it does not say; also
/// of a document with too many terms to be filed by them.
pub fn ids_referred<'a>(facts: FactsRef<'a>, resource_type: &'a str) -> impl Iterator<Item = &'a str> + 'a {
    facts.all().filter_map(move |(_, fact)| match fact {
        Fact::Reference { resource_type: of, id, .. } if of.is_none_or(|of| of == resource_type) => id,
        _ => None,
    })
}

/// By the identifier of a logical reference.
pub(crate) fn logical(value: &str) -> Term {
    term(7, value.as_bytes())
}

fn overflow() -> Term {
    Term(vec![0])
}

fn unversioned(url: &str) -> &str {
    url.split('|').next().unwrap_or(url)
}

fn term(class: u8, value: &[u8]) -> Term {
    let value = &value[value.len().saturating_sub(MAX_BYTES)..];
    let mut bytes = Vec::with_capacity(1 + value.len());
    bytes.push(class);
    bytes.extend_from_slice(value);
    Term(bytes)
}

/// How the values of each parameter are filed, by its number.
fn filings() -> &'static [Filing] {
    static FILINGS: OnceLock<Vec<Filing>> = OnceLock::new();
    FILINGS.get_or_init(|| {
        let mut filings = Vec::new();
        for param in vouchsafe_fhir_structure::RESOURCE_TYPES.iter().flat_map(|name| table::params(name)) {
            let number = usize::from(param.number);
            if filings.len() <= number {
                filings.resize(number + 1, Filing::Not);
            }
            filings[number] = filing(param);
        }
        filings
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_because_they_are_searched_by_halves() {
        assert!(FEW_VALUES.is_sorted() && NAMES.is_sorted());
    }
}
