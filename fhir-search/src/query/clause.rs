//! One condition of a query: the name of a parameter taken apart at its chain, `_has` and modifier, with the values asked for.

use std::collections::BTreeSet;

use super::{Context, prefix::DateTest, value::Value};
use crate::{Fault, FaultKind, Kind, Param, table};

/// How many steps a chain may have, those of `_has` among them.
const MAX_DEPTH: usize = 4;
/// How many types a chain without a type is tried for. HL7 lists all types where a reference may lead to any.
const MAX_TARGETS: usize = 32;
/// How many conditions and values a query may come to, when chains without a type branch to all types that a reference may
/// have, and each condition is one of all types searched.
const MAX_PARTS: usize = 50_000;

/// One condition, with the parameter as it was given.
#[derive(Clone)]
pub(crate) struct Clause {
    pub(crate) parameter: Box<str>,
    pub(crate) test: Test,
}

/// What a document must be.
#[derive(Clone)]
pub(crate) enum Test {
    /// One of these ids.
    Id(Box<[Box<str>]>),
    /// Written in one of these times.
    Updated(Box<[DateTest]>),
    /// One fact of the parameter is one of the values; with `not`, none is.
    Facts { param: &'static Param, values: Box<[Value]>, not: bool },
    /// Without a fact of the parameter, or with one.
    Missing { number: u16, missing: bool },
    /// Every document has an id and a time, so that `:missing` of them is known before.
    Constant(bool),
    /// A reference leads to a document of one of these types that meets the condition of its type.
    Chain { number: u16, targets: Box<[(&'static str, Clause)]> },
    /// A document of this type refers to it and meets a condition.
    Has { resource_type: &'static str, number: u16, clause: Box<Clause> },
    /// In the compartment of this document; `own` when it could be that document.
    Compartment { numbers: Box<[u16]>, resource_type: &'static str, id: Box<str>, own: bool },
}

/// Why a condition cannot be read.
pub(super) enum Trouble {
    /// There is no such parameter, which lenient handling passes over.
    Unknown(Fault),
    /// Anything else. R4 has unsupported modifiers refused whatever the handling.
    Fault(Fault),
}

impl Trouble {
    pub(super) fn fault(self) -> Fault {
        match self {
            Self::Unknown(fault) | Self::Fault(fault) => fault,
        }
    }
}

/// Reads the conditions of one query.
pub(super) struct Reader<'a> {
    pub(super) context: &'a Context<'a>,
    /// The parameter that is being read, as given.
    pub(super) given: &'a str,
    /// How many more conditions may be made.
    left: usize,
    /// The Patients that were named.
    pub(super) patients: BTreeSet<Box<str>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(context: &'a Context<'a>) -> Self {
        Self { context, given: "", left: MAX_PARTS, patients: BTreeSet::new() }
    }

    pub(super) fn fault(&self, kind: FaultKind, what: impl Into<String>) -> Trouble {
        Trouble::Fault(Fault::new(kind, self.given, what))
    }

    pub(super) fn invalid(&self, what: impl Into<String>) -> Trouble {
        self.fault(FaultKind::Invalid, what)
    }

    fn unknown(&self, what: impl Into<String>) -> Trouble {
        Trouble::Unknown(Fault::new(FaultKind::NotSupported, self.given, what))
    }

    /// The condition that a pair puts to documents of a type.
    pub(super) fn clause(&mut self, resource_type: &'static str, name: &str, value: &str) -> Result<Clause, Trouble> {
        self.step(resource_type, name, value, 0)
    }

    fn step(&mut self, resource_type: &'static str, name: &str, value: &str, depth: usize) -> Result<Clause, Trouble> {
        if depth > MAX_DEPTH {
            return Err(self.fault(FaultKind::TooCostly, format!("a chain has at most {MAX_DEPTH} steps")));
        }
        self.spend(1)?;
        let test = if let Some(rest) = name.strip_prefix("_has:") {
            self.has(resource_type, rest, value, depth)?
        } else if let Some((reference, rest)) = name.split_once('.') {
            self.chain(resource_type, reference, rest, value, depth)?
        } else {
            let (code, modifier) = match name.split_once(':') {
                Some((code, modifier)) => (code, Some(modifier)),
                None => (name, None),
            };
            self.plain(resource_type, code, modifier, value)?
        };
        Ok(Clause { parameter: self.given.into(), test })
    }

    /// `_has:Observation:patient:code` (<https://hl7.org/fhir/R4/search.html#has>).
    fn has(&mut self, resource_type: &'static str, rest: &str, value: &str, depth: usize) -> Result<Test, Trouble> {
        let mut parts = rest.splitn(3, ':');
        let (Some(from), Some(code), Some(inner)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(self.invalid("is written _has:Type:reference:parameter"));
        };
        let from = self.resource_type(from)?;
        let param = self.reference(from, code)?;
        if !leads_to(param, resource_type) {
            return Err(self.fault(FaultKind::NotSupported, format!("the reference does not lead to {resource_type}")));
        }
        let clause = Box::new(self.step(from, inner, value, depth + 1)?);
        Ok(Test::Has { resource_type: from, number: param.number, clause })
    }

    /// `subject:Patient.name` (<https://hl7.org/fhir/R4/search.html#chaining>).
    fn chain(
        &mut self,
        resource_type: &'static str,
        reference: &str,
        rest: &str,
        value: &str,
        depth: usize,
    ) -> Result<Test, Trouble> {
        let (code, of_type) = match reference.split_once(':') {
            Some((code, of_type)) => (code, Some(of_type)),
            None => (reference, None),
        };
        let param = self.reference(resource_type, code)?;
        if let Some(of_type) = of_type {
            let target = self.resource_type(of_type)?;
            if !leads_to(param, target) {
                return Err(self.fault(FaultKind::NotSupported, format!("the reference does not lead to {target}")));
            }
            let clause = self.step(target, rest, value, depth + 1)?;
            return Ok(Test::Chain { number: param.number, targets: Box::new([(target, clause)]) });
        }
        if param.targets.is_empty() || param.targets.len() > MAX_TARGETS {
            return Err(
                self.fault(FaultKind::NotSupported, "the reference may lead to any type; name one in the chain")
            );
        }
        let mut targets = Vec::new();
        let mut first = None;
        for target in param.targets {
            match self.step(target, rest, value, depth + 1) {
                Ok(clause) => targets.push((*target, clause)),
                // Not all of the types need to have the parameter, but one must.
                Err(trouble @ Trouble::Unknown(_)) => first = first.or(Some(trouble)),
                Err(trouble @ Trouble::Fault(_)) => return Err(trouble),
            }
        }
        match first {
            Some(trouble) if targets.is_empty() => Err(trouble),
            _ => Ok(Test::Chain { number: param.number, targets: targets.into() }),
        }
    }

    fn plain(
        &mut self,
        resource_type: &'static str,
        code: &str,
        modifier: Option<&str>,
        value: &str,
    ) -> Result<Test, Trouble> {
        match (code, modifier) {
            ("_id" | "_lastUpdated", Some("missing")) => Ok(Test::Constant(!self.missing(value)?)),
            ("_id" | "_lastUpdated", Some(_)) => Err(self.unsupported_modifier()),
            ("_id", None) => self.ids(resource_type, value),
            ("_lastUpdated", None) => Ok(Test::Updated(self.dates(value)?)),
            (code, Some("missing")) => {
                let param = self.param(resource_type, code)?;
                Ok(Test::Missing { number: param.number, missing: self.missing(value)? })
            }
            (code, modifier) => {
                let param = self.param(resource_type, code)?;
                let not = modifier == Some("not") && param.kind == Kind::Token;
                let modifier = modifier.filter(|_| !not);
                Ok(Test::Facts { param, values: self.values(param, modifier, value)?, not })
            }
        }
    }

    pub(super) fn spend(&mut self, parts: usize) -> Result<(), Trouble> {
        let left = self.left.checked_sub(parts);
        self.left = left.ok_or_else(|| self.fault(FaultKind::TooCostly, "too many conditions; name fewer types"))?;
        Ok(())
    }

    fn ids(&mut self, resource_type: &'static str, value: &str) -> Result<Test, Trouble> {
        let ids =
            self.parts(value)?.into_iter().map(|id| super::split::unescape(id).into()).collect::<Box<[Box<str>]>>();
        if resource_type == "Patient" {
            self.patients.extend(ids.iter().cloned());
        }
        Ok(Test::Id(ids))
    }

    fn missing(&self, value: &str) -> Result<bool, Trouble> {
        match value {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(self.invalid("is true or false")),
        }
    }

    pub(super) fn unsupported_modifier(&self) -> Trouble {
        self.fault(FaultKind::NotSupported, "the modifier is not supported for this parameter")
    }

    pub(super) fn param(&self, resource_type: &str, code: &str) -> Result<&'static Param, Trouble> {
        // They are in HL7's table and need more than what a resource can be found by.
        if matches!(code, "_text" | "_content" | "_query" | "_list" | "_filter") {
            return Err(self.unknown("is not supported"));
        }
        table::param(resource_type, code).ok_or_else(|| self.unknown(format!("is not a parameter of {resource_type}")))
    }

    fn reference(&self, resource_type: &str, code: &str) -> Result<&'static Param, Trouble> {
        let param = self.param(resource_type, code)?;
        match param.kind {
            Kind::Reference => Ok(param),
            _ => Err(self.fault(FaultKind::NotSupported, format!("{} is not a reference", param.code))),
        }
    }

    pub(super) fn resource_type(&self, name: &str) -> Result<&'static str, Trouble> {
        resource_type(name).ok_or_else(|| self.fault(FaultKind::NotSupported, "names a type that R4 does not have"))
    }
}

/// The type of this name.
pub(crate) fn resource_type(name: &str) -> Option<&'static str> {
    let types = vouchsafe_fhir_structure::RESOURCE_TYPES;
    types.binary_search(&name).ok().map(|at| types[at])
}

/// May a reference lead to this type?
pub(super) fn leads_to(param: &Param, resource_type: &str) -> bool {
    param.targets.is_empty() || param.targets.contains(&resource_type)
}
