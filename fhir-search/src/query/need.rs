//! What every match must have, in the terms that stores file documents under.

use super::{
    Clause, Test,
    prefix::Prefix,
    value::{Reference, Value},
};
use crate::{Param, Term, term};

/// Of each inner list a match has at least one term.
pub(crate) fn need_of(clauses: &[Clause]) -> Vec<Vec<Term>> {
    clauses.iter().filter_map(|clause| terms_of(&clause.test)).map(term::or_overflow).collect()
}

/// True when few documents can meet one of the conditions: those with an id, and those that refer to one document.
pub(crate) fn narrows(test: &Test) -> bool {
    match test {
        Test::Id(_) | Test::Compartment { .. } => true,
        Test::Facts { values, not: false, .. } => values.iter().all(|v| matches!(v, Value::Reference(_))),
        _ => false,
    }
}

fn terms_of(test: &Test) -> Option<Vec<Term>> {
    match test {
        Test::Facts { param, values, not: false } => {
            let lists = values.iter().map(|value| terms_of_value(param, value)).collect::<Option<Vec<_>>>()?;
            let mut terms = lists.into_iter().flatten().collect::<Vec<_>>();
            terms.sort_unstable();
            terms.dedup();
            Some(terms)
        }
        Test::Compartment { id, own: false, .. } => Some(vec![term::local(id)]),
        _ => None,
    }
}

/// Of the terms of a value a match has at least one. None when nothing can be said.
fn terms_of_value(param: &'static Param, value: &Value) -> Option<Vec<Term>> {
    let filing = term::filing(param);
    match value {
        Value::Token { code: Some(code), .. } => Some(vec![term::code(filing, code)?]),
        Value::OfType { value, .. } => Some(vec![term::code(filing, value)?]),
        Value::Logical { value: Some(value), .. } => Some(vec![term::logical(value)]),
        Value::String { text, .. } if !contains(value) => Some(vec![term::beginning(filing, text)?]),
        Value::Reference(Reference { id: Some(id), .. }) => Some(vec![term::local(id)]),
        Value::Reference(Reference { url, .. }) => Some(vec![term::elsewhere(url)]),
        Value::Uri { text, compass: super::value::Compass::Is } => Some(vec![term::address(filing, text)?]),
        Value::Date(test) if test.prefix == Prefix::Eq => Some(vec![term::day(filing, test.range)?]),
        // One part is enough, because a match has all of them.
        Value::Composite(parts) => {
            parts.iter().zip(param.components).find_map(|(part, param)| terms_of_value(param, part))
        }
        _ => None,
    }
}

fn contains(value: &Value) -> bool {
    matches!(value, Value::String { compare: super::value::Compare::Contains, .. })
}
