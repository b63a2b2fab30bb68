//! Reading the pairs of a query.

use super::{
    Context, Handling, Part, Query,
    clause::{Reader, Trouble, resource_type as known_type},
    control::Include,
};
use crate::{Fault, FaultKind};

/// How many pairs a query may have.
const MAX_PAIRS: usize = 100;
/// How many bytes the name of a parameter may have.
const MAX_NAME: usize = 512;
/// How many `_include` and `_revinclude` a query may have.
const MAX_INCLUDES: usize = 32;

pub(super) fn read(
    resource_type: Option<&str>,
    pairs: &[(String, String)],
    context: &Context<'_>,
    handling: Handling,
) -> Result<Query, Fault> {
    let mut reader = Reader::new(context);
    let types = types(&mut reader, resource_type, pairs)?;
    let parts = types.iter().map(|_| Part::default()).collect();
    let mut reading = Reading { types, parts, said: Said::default(), includes: Vec::new() };
    let (mut applied, mut ignored) = (Vec::new(), Vec::new());
    for (at, (name, value)) in pairs.iter().enumerate() {
        // A name of R4 is short; only hostile ones are longer, and the fault gives their beginning.
        if at >= MAX_PAIRS || name.len() > MAX_NAME {
            return Err(Fault::new(
                FaultKind::TooCostly,
                name,
                format!("is beyond {MAX_PAIRS} parameters or too long"),
            ));
        }
        if matches!(name.as_str(), "_format" | "_pretty") {
            continue;
        }
        reader.given = name;
        match reading.pair(&mut reader, name, value) {
            Ok(()) => applied.push((name.clone(), value.clone())),
            Err(Trouble::Unknown(fault)) if handling == Handling::Lenient => ignored.push(fault),
            Err(trouble) => return Err(trouble.fault()),
        }
    }
    let Reading { types, parts, said, includes } = reading;
    Ok(Query {
        types,
        parts,
        count: said.count,
        total: said.total.unwrap_or_default(),
        summary: said.summary.unwrap_or_default(),
        elements: said.elements.unwrap_or_default(),
        includes,
        patients: reader.patients,
        applied,
        ignored,
    })
}

/// The types searched: the one given, those of `_type`, or all.
fn types<'a>(
    reader: &mut Reader<'a>,
    resource_type: Option<&str>,
    pairs: &'a [(String, String)],
) -> Result<Vec<&'static str>, Fault> {
    let mut listed = pairs.iter().filter(|(name, _)| name == "_type");
    reader.given = "_type";
    let (list, again) = (listed.next(), listed.next());
    match (resource_type, list) {
        (Some(name), None) => Ok(vec![reader.resource_type(name).map_err(Trouble::fault)?]),
        (Some(_), Some(_)) => Err(Fault::new(FaultKind::NotSupported, "_type", "is for a search over several types")),
        (None, None) => Ok(vouchsafe_fhir_structure::RESOURCE_TYPES.to_vec()),
        (None, Some(_)) if again.is_some() => Err(Fault::new(FaultKind::Invalid, "_type", "is given twice")),
        (None, Some((_, list))) => {
            let mut types = Vec::new();
            for name in list.split(',') {
                let name = known_type(name).ok_or_else(|| {
                    Fault::new(FaultKind::NotSupported, "_type", "names a type that R4 does not have")
                })?;
                if !types.contains(&name) {
                    types.push(name);
                }
            }
            Ok(types)
        }
    }
}

struct Reading {
    types: Vec<&'static str>,
    parts: Vec<Part>,
    said: Said,
    includes: Vec<Include>,
}

/// What is said at most once.
#[derive(Default)]
struct Said {
    count: Option<usize>,
    total: Option<super::Total>,
    summary: Option<super::Summary>,
    elements: Option<Vec<String>>,
    sort: Option<()>,
}

impl Reading {
    fn pair(&mut self, reader: &mut Reader<'_>, name: &str, value: &str) -> Result<(), Trouble> {
        let (code, modifier) = match name.split_once(':') {
            Some((code, modifier)) => (code, Some(modifier)),
            None => (name, None),
        };
        match (code, modifier) {
            ("_type", None) => Ok(()),
            ("_count", None) => {
                let count = reader.count(value)?;
                reader.once(&mut self.said.count, count).map_err(Trouble::Fault)
            }
            ("_total", None) => {
                let total = reader.total(value)?;
                reader.once(&mut self.said.total, total).map_err(Trouble::Fault)
            }
            ("_summary", None) => {
                let summary = reader.summary(value)?;
                reader.once(&mut self.said.summary, summary).map_err(Trouble::Fault)
            }
            ("_elements", None) => {
                let elements = reader.elements(value)?;
                reader.once(&mut self.said.elements, elements).map_err(Trouble::Fault)
            }
            ("_sort", None) => self.sort(reader, value),
            ("_include" | "_revinclude", modifier) => {
                if self.includes.len() >= MAX_INCLUDES {
                    return Err(reader.fault(FaultKind::TooCostly, format!("is given more than {MAX_INCLUDES} times")));
                }
                self.includes.push(reader.include(code == "_revinclude", modifier, value)?);
                Ok(())
            }
            // What R4 takes when it is not said.
            ("_contained", None) if value == "false" => Ok(()),
            _ => self.condition(reader, name, value),
        }
    }

    fn sort(&mut self, reader: &Reader<'_>, value: &str) -> Result<(), Trouble> {
        let keys = self.types.iter().map(|name| reader.sort(name, value)).collect::<Result<Vec<_>, _>>()?;
        reader.once(&mut self.said.sort, ()).map_err(Trouble::Fault)?;
        for (part, keys) in self.parts.iter_mut().zip(keys) {
            part.sort = keys;
        }
        Ok(())
    }

    /// A condition must be one of every type that is searched (<https://hl7.org/fhir/R4/http.html#search>).
    fn condition(&mut self, reader: &mut Reader<'_>, name: &str, value: &str) -> Result<(), Trouble> {
        let named = reader.patients.clone();
        let read = self.types.iter().map(|of| reader.clause(of, name, value)).collect::<Result<Vec<_>, _>>();
        match read {
            Ok(clauses) => {
                for (part, clause) in self.parts.iter_mut().zip(clauses) {
                    part.clauses.push(clause);
                }
                Ok(())
            }
            Err(trouble) => {
                // What is not looked at names nobody.
                reader.patients = named;
                Err(trouble)
            }
        }
    }
}
