//! What a search asks for (<https://hl7.org/fhir/R4/search.html>), read once into a form that can be judged quickly.

use crate::{Fault, Term};

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
    count: Option<usize>,
    total: Total,
    summary: Summary,
    elements: Vec<String>,
    applied: Vec<(String, String)>,
    ignored: Vec<Fault>,
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
        let _ = (resource_type, pairs, context, handling);
        unimplemented!("written in the next commits")
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

    /// The ids of Patients that the query names: by a reference or by `_id`, in chains as well.
    pub fn named_patients(&self) -> Vec<&str> {
        unimplemented!("written in the next commits")
    }

    /// What each match of this type must have, as far as the query alone says so: of each inner list at least one term.
    pub fn need(&self, resource_type: &str) -> Vec<Vec<Term>> {
        let _ = resource_type;
        unimplemented!("written in the next commits")
    }

    /// True when it looks at other documents than those it finds: a chain or `_has`.
    pub fn uses_chain(&self) -> bool {
        unimplemented!("written in the next commits")
    }

    /// True when `_include` or `_revinclude` is asked for.
    pub fn includes(&self) -> bool {
        unimplemented!("written in the next commits")
    }
}
