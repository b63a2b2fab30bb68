//! Whether a document meets a condition that looks at nothing but the document.

use super::Test;
use crate::{Fact, FactsRef, Kind, Seen};

impl Test {
    /// How many values a document is compared with.
    pub(crate) fn values(&self) -> usize {
        match self {
            Self::Facts { values, .. } => values.len(),
            Self::Updated(tests) => tests.len(),
            Self::Compartment { numbers, .. } => numbers.len(),
            _ => 0,
        }
    }

    /// Whether the document meets it. Conditions that look at other documents are the run's to judge and count as met.
    #[inline]
    pub(crate) fn holds<K>(&self, seen: &Seen<'_, K>) -> bool {
        match self {
            Self::Facts { param, values, not } => {
                let found = match param.kind {
                    Kind::Composite | Kind::Special => values.iter().any(|value| value.among(seen.facts, param.number)),
                    _ => seen.facts.of(param.number).any(|fact| values.iter().any(|value| value.holds(&fact))),
                };
                found != *not
            }
            Self::Id(ids) => ids.iter().any(|id| **id == *seen.id),
            Self::Updated(tests) => {
                let at = crate::DateRange { start: seen.last_updated, end: seen.last_updated };
                tests.iter().any(|test| test.holds(at))
            }
            Self::Missing { number, missing } => seen.facts.of(*number).next().is_none() == *missing,
            Self::Constant(met) => *met,
            Self::Compartment { numbers, resource_type, id, own } => {
                (*own && seen.id == &**id)
                    || numbers.iter().any(|number| refers_to(seen.facts, *number, resource_type, id))
            }
            Self::Chain { .. } | Self::Has { .. } => true,
        }
    }
}

/// Does a reference of this parameter lead to the document of this type and id?
#[inline]
pub(crate) fn refers_to(facts: FactsRef<'_>, number: u16, resource_type: &str, id: &str) -> bool {
    targets(facts, number).any(|(found, at)| at == id && found.is_none_or(|found| found == resource_type))
}

/// The types and ids of what the references of this parameter lead to on this server.
#[inline]
pub(crate) fn targets(facts: FactsRef<'_>, number: u16) -> impl Iterator<Item = (Option<&str>, &str)> {
    facts.of(number).filter_map(|fact| match fact {
        Fact::Reference { resource_type, id: Some(id), .. } => Some((resource_type, id)),
        _ => None,
    })
}
