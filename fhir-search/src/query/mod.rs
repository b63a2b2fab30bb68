//! What a search asks for (<https://hl7.org/fhir/R4/search.html>), read once into a form that can be judged quickly.

mod clause;
mod control;
mod matches;
mod near;
mod need;
mod prefix;
mod read;
mod split;
#[cfg(test)]
mod tests;
mod value;
mod values;

use std::collections::BTreeSet;

use crate::{Fault, FaultKind, Term, table};

pub(crate) use clause::{Clause, Test, resource_type as known_type};
pub(crate) use control::{Include, SortBy, SortKey};
pub(crate) use matches::{refers_to, targets};
pub(crate) use need::{narrows, need_of};

/// What a query is read in the light of.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The FHIR base; an absolute reference below it is one to this server.
    pub base: &'a str,
    /// The time, in milliseconds since 1970; only `ap` on dates asks for it.
    pub now: i64,
}

/// What becomes of a parameter that is not known (`Prefer: handling=…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    /// It is a fault.
    Strict,
    /// It is left out, and listed in [`Query::ignored`].
    Lenient,
}

/// Whether the number of all matches is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Total {
    /// No.
    None,
    /// When it is easily had; what is taken when nothing is said.
    #[default]
    Estimate,
    /// Yes, whatever it costs within the limits.
    Accurate,
}

/// How much of each resource is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Summary {
    /// All of it.
    #[default]
    False,
    /// The elements that R4 marks as summary.
    True,
    /// The narrative and what is mandatory.
    Text,
    /// All but the narrative.
    Data,
    /// No resource, only their number.
    Count,
}

/// A search, read and found to be well formed. Its values are health data, so no Debug.
#[derive(Clone)]
pub struct Query {
    types: Vec<&'static str>,
    /// For each type what its documents must be, and what they are sorted by.
    parts: Vec<Part>,
    count: Option<usize>,
    total: Total,
    summary: Summary,
    elements: Vec<String>,
    includes: Vec<Include>,
    patients: BTreeSet<Box<str>>,
    applied: Vec<(String, String)>,
    ignored: Vec<Fault>,
}

/// What is asked of the documents of one type.
#[derive(Clone, Default)]
pub(crate) struct Part {
    pub(crate) clauses: Vec<Clause>,
    pub(crate) sort: Vec<SortKey>,
}

impl Query {
    /// The largest page that can be asked for; a larger `_count` means this.
    pub const MAX_COUNT: usize = 1000;

    /// Reads the decoded pairs of a search over one type, or over all (or those of `_type`) when none is given.
    /// `_format` and `_pretty` are passed over.
    ///
    /// # Errors
    /// The first pair that is at fault, by name.
    pub fn parse(
        resource_type: Option<&str>,
        pairs: &[(String, String)],
        context: &Context<'_>,
        handling: Handling,
    ) -> Result<Self, Fault> {
        read::read(resource_type, pairs, context, handling)
    }

    /// The same search within a compartment (<https://hl7.org/fhir/R4/compartmentdefinition.html>), such as `Patient` and
    /// `123` for `GET Patient/123/Observation`; types that are in no such compartment are left out. A Patient's is among
    /// [`Self::named_patients`].
    ///
    /// # Errors
    /// When R4 has no such compartment, or when none of the types is in it.
    pub fn within(mut self, compartment: &str, id: &str) -> Result<Self, Fault> {
        let unknown = |what: &str| Fault::new(FaultKind::NotSupported, compartment, what);
        let own = clause::resource_type(compartment).ok_or_else(|| unknown("is not a compartment"))?;
        let (mut types, mut parts) = (Vec::new(), Vec::new());
        for (name, mut part) in self.types.into_iter().zip(self.parts) {
            let Some(params) = table::compartment(own, name) else { continue };
            let numbers = params.iter().map(|p| p.number).collect();
            let test = Test::Compartment { numbers, resource_type: own, id: id.into(), own: name == own };
            part.clauses.insert(0, Clause { parameter: own.into(), test });
            types.push(name);
            parts.push(part);
        }
        if types.is_empty() {
            return Err(unknown("the type is not in this compartment"));
        }
        if own == "Patient" {
            self.patients.insert(id.into());
        }
        Ok(Self { types, parts, ..self })
    }

    /// The types searched, in the order of their hits.
    pub fn types(&self) -> &[&'static str] {
        &self.types
    }

    /// `_count`, at most [`Self::MAX_COUNT`]; 0 asks for the total alone.
    pub fn count(&self) -> Option<usize> {
        self.count
    }

    /// `_total`.
    pub fn total(&self) -> Total {
        self.total
    }

    /// `_summary`.
    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// `_elements`; empty when all are asked for.
    pub fn elements(&self) -> &[String] {
        &self.elements
    }

    /// The pairs that had an effect, as given, for the self link.
    pub fn applied(&self) -> &[(String, String)] {
        &self.applied
    }

    /// What lenient handling left out.
    pub fn ignored(&self) -> &[Fault] {
        &self.ignored
    }

    /// The ids of Patients that the query names: by a reference, by `_id` or by compartment, in chains and `_has` as well.
    /// A reference without a type counts when the parameter's may lead to a Patient, and so do addresses below the base.
    /// No match of the query refers to a Patient of this server by one of its reference values without that id being here.
    pub fn named_patients(&self) -> Vec<&str> {
        self.patients.iter().map(|id| &**id).collect()
    }

    /// What each match of this type must have, as far as the query alone says so: of each inner list at least one term.
    pub fn need(&self, resource_type: &str) -> Vec<Vec<Term>> {
        self.part(resource_type).map(|part| need_of(&part.clauses)).unwrap_or_default()
    }

    /// True when its matches are found without looking through all documents of a type: each type has an id or something
    /// else to be found by. Chains may still look at many others.
    pub fn is_narrow(&self) -> bool {
        self.parts.iter().all(|part| {
            let named = |clause: &Clause| matches!(clause.test, Test::Id(_) | Test::Compartment { .. });
            part.clauses.iter().any(named) || !need_of(&part.clauses).is_empty()
        })
    }

    /// True when it looks at other documents than those it finds: a chain or `_has`.
    pub fn uses_chain(&self) -> bool {
        let mut clauses = self.parts.iter().flat_map(|part| &part.clauses);
        clauses.any(|clause| matches!(clause.test, Test::Chain { .. } | Test::Has { .. }))
    }

    /// True when `_include` or `_revinclude` is asked for.
    pub fn includes(&self) -> bool {
        !self.includes.is_empty()
    }

    pub(crate) fn part(&self, resource_type: &str) -> Option<&Part> {
        self.types.iter().zip(&self.parts).find(|(name, _)| **name == resource_type).map(|(_, part)| part)
    }

    pub(crate) fn parts(&self) -> impl Iterator<Item = (&'static str, &Part)> {
        self.types.iter().copied().zip(&self.parts)
    }

    pub(crate) fn sorted(&self) -> bool {
        self.parts.iter().any(|part| !part.sort.is_empty())
    }

    pub(crate) fn included(&self) -> &[Include] {
        &self.includes
    }

    /// No resource is asked for, only their number.
    pub(crate) fn counts_only(&self) -> bool {
        self.count == Some(0) || self.summary == Summary::Count
    }
}
