//! The parameters that shape the answer: `_sort`, `_include`, `_revinclude` and what is said once
//! (<https://hl7.org/fhir/R4/search.html#return>).

use super::{
    Query, Summary, Total,
    clause::{Reader, Trouble},
};
use crate::{Fault, FaultKind, Kind, Param};

/// How many keys a search may be sorted by.
const MAX_SORT_KEYS: usize = 8;
/// How many elements may be named.
const MAX_ELEMENTS: usize = 100;

/// One key of an order.
#[derive(Clone, Copy)]
pub(crate) struct SortKey {
    pub(crate) by: SortBy,
    pub(crate) descending: bool,
}

/// What documents are ordered by.
#[derive(Clone, Copy)]
pub(crate) enum SortBy {
    Id,
    Updated,
    Param(&'static Param),
}

/// One `_include` or `_revinclude`.
#[derive(Clone)]
pub(crate) struct Include {
    /// The parameter as given.
    pub(crate) parameter: Box<str>,
    /// The documents that refer come along, not those that are referred to.
    pub(crate) reverse: bool,
    /// From what was included as well.
    pub(crate) iterate: bool,
    /// The type that has the reference; none when any.
    pub(crate) source: Option<&'static str>,
    /// The parameter; none when any.
    pub(crate) param: Option<&'static Param>,
    /// The type that is referred to; none when any.
    pub(crate) target: Option<&'static str>,
}

impl Reader<'_> {
    /// <https://hl7.org/fhir/R4/search.html#sort>
    pub(super) fn sort(&self, resource_type: &str, text: &str) -> Result<Vec<SortKey>, Trouble> {
        let keys = text.split(',').map(|key| {
            let (descending, code) = match key.strip_prefix('-') {
                Some(code) => (true, code),
                None => (false, key),
            };
            let by = match code {
                "_id" => SortBy::Id,
                "_lastUpdated" => SortBy::Updated,
                "" => return Err(self.invalid("a key is empty")),
                code => SortBy::Param(self.sortable(resource_type, code)?),
            };
            Ok(SortKey { by, descending })
        });
        let keys = keys.take(MAX_SORT_KEYS + 1).collect::<Result<Vec<_>, _>>()?;
        match keys.len() > MAX_SORT_KEYS {
            true => Err(self.fault(FaultKind::TooCostly, format!("there are more than {MAX_SORT_KEYS} keys"))),
            false => Ok(keys),
        }
    }

    fn sortable(&self, resource_type: &str, code: &str) -> Result<&'static Param, Trouble> {
        let param = self.param(resource_type, code)?;
        match param.kind {
            Kind::Composite | Kind::Special => {
                Err(self.fault(FaultKind::NotSupported, format!("cannot be sorted by {}", param.code)))
            }
            _ => Ok(param),
        }
    }

    /// <https://hl7.org/fhir/R4/search.html#include>
    pub(super) fn include(&self, reverse: bool, modifier: Option<&str>, text: &str) -> Result<Include, Trouble> {
        let iterate = match modifier {
            None => false,
            // What STU3 called it.
            Some("iterate" | "recurse") => true,
            Some(_) => return Err(self.fault(FaultKind::NotSupported, "the modifier is not supported")),
        };
        let mut parts = text.split(':');
        let (source, code, target, more) = (parts.next(), parts.next(), parts.next(), parts.next());
        if more.is_some() {
            return Err(self.invalid("is Type:parameter:Type"));
        }
        let source = match source {
            Some("*") if code.is_none() => None,
            Some(source) => Some(self.resource_type(source)?),
            None => None,
        };
        let param = match (source, code) {
            (None, _) | (_, Some("*")) => None,
            (Some(source), Some(code)) => {
                let param = self.param(source, code)?;
                if param.kind != Kind::Reference {
                    return Err(self.fault(FaultKind::NotSupported, "the parameter is not a reference"));
                }
                Some(param)
            }
            (Some(_), None) => return Err(self.invalid("is Type:parameter")),
        };
        let target = target.filter(|target| !target.is_empty()).map(|target| self.resource_type(target)).transpose()?;
        Ok(Include { parameter: self.given.into(), reverse, iterate, source, param, target })
    }

    /// A number of digits, however many, up to what a page may have.
    pub(super) fn count(&self, text: &str) -> Result<usize, Trouble> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match digits {
            true => Ok(text.parse().unwrap_or(Query::MAX_COUNT).min(Query::MAX_COUNT)),
            false => Err(self.invalid("is not a number of resources")),
        }
    }

    pub(super) fn total(&self, text: &str) -> Result<Total, Trouble> {
        match text {
            "none" => Ok(Total::None),
            "estimate" => Ok(Total::Estimate),
            "accurate" => Ok(Total::Accurate),
            _ => Err(self.invalid("is none, estimate or accurate")),
        }
    }

    pub(super) fn summary(&self, text: &str) -> Result<Summary, Trouble> {
        match text {
            "false" => Ok(Summary::False),
            "true" => Ok(Summary::True),
            "text" => Ok(Summary::Text),
            "data" => Ok(Summary::Data),
            "count" => Ok(Summary::Count),
            _ => Err(self.invalid("is true, text, data, count or false")),
        }
    }

    pub(super) fn elements(&self, text: &str) -> Result<Vec<String>, Trouble> {
        let names = text.split(',').take(MAX_ELEMENTS + 1).map(str::to_owned).collect::<Vec<_>>();
        let named = |name: &String| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
        if names.len() > MAX_ELEMENTS {
            return Err(self.fault(FaultKind::TooCostly, format!("there are more than {MAX_ELEMENTS} elements")));
        }
        match names.iter().all(named) {
            true => Ok(names),
            false => Err(self.invalid("is a list of elements")),
        }
    }

    /// A fault when something that is said once was said before.
    pub(super) fn once<T>(&self, slot: &mut Option<T>, value: T) -> Result<(), Fault> {
        match slot.replace(value) {
            None => Ok(()),
            Some(_) => Err(Fault::new(FaultKind::Invalid, self.given, "is given twice")),
        }
    }
}
