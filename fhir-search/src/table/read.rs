//! Reading the texts of `r4/`.

use std::collections::BTreeMap;

use vouchsafe_fhir_structure::{RESOURCE_TYPES, members_of};

use super::{
    OfType, Params, Table,
    expression::{self, Branch, Root, Step},
};
use crate::{Kind, Param};

pub(super) const PARAMETERS: &str = include_str!("../../r4/parameters.txt");
pub(super) const COMPARTMENTS: &str = include_str!("../../r4/compartments.txt");
pub(super) const ELEMENTS: &str = include_str!("../../r4/elements.txt");

/// A search parameter as HL7 defines it, for one type or for many.
pub(crate) struct Definition {
    pub(crate) url: &'static str,
    pub(crate) code: &'static str,
    pub(crate) kind: Kind,
    /// The types that it is for.
    pub(crate) bases: Vec<&'static str>,
    pub(crate) targets: Vec<&'static str>,
    /// The code system of its codes, and the types in which they are of it.
    systems: Vec<(&'static str, Vec<&'static str>)>,
    /// Where its values are; None when it could not be read, which a test rules out.
    pub(crate) expression: Option<Vec<Branch>>,
    /// The parts of a composite.
    pub(crate) components: Vec<Component>,
}

/// A part of a composite.
pub(crate) struct Component {
    /// The address of its own definition.
    pub(crate) url: &'static str,
    /// Where its values are below the composite's.
    pub(crate) expression: Option<Vec<Branch>>,
}

impl Definition {
    /// True when a resource of this type has it.
    pub(crate) fn is_for(&self, resource_type: &str) -> bool {
        // There is none of DomainResource alone that looks at an element.
        self.bases.iter().any(|base| *base == resource_type || *base == "Resource")
    }

    /// The parts of its expression that look at this type.
    pub(crate) fn branches(&self, resource_type: &str) -> impl Iterator<Item = &Branch> {
        self.expression.iter().flatten().filter(move |branch| match branch.root {
            Root::Type(root) => root == resource_type || root == "Resource",
            Root::Here | Root::Resource => false,
        })
    }

    /// What references may lead to: what the expression itself asks for, else what the definition says.
    fn targets_for(&self, resource_type: &str) -> Vec<&'static str> {
        let asked = self.branches(resource_type).map(|branch| match branch.steps.last() {
            Some(Step::Refers(kind)) => Some(*kind),
            _ => None,
        });
        let mut targets = asked.collect::<Option<Vec<_>>>().unwrap_or_else(|| self.targets.clone());
        targets.sort_unstable();
        targets.dedup();
        // A parameter may name all types there are, and then it names none.
        if targets.contains(&"Resource") { Vec::new() } else { targets }
    }
}

pub(super) fn table() -> Table {
    let definitions = definitions();
    let elements = elements();
    let types: Vec<_> = RESOURCE_TYPES.iter().map(|name| of_type(name, &definitions, &elements)).collect();
    let compartments = compartments(&types);
    Table { definitions, types, compartments }
}

pub(super) fn definitions() -> Vec<Definition> {
    let mut all = Vec::<Definition>::new();
    for line in PARAMETERS.lines() {
        match (line.strip_prefix(' '), all.last_mut()) {
            (None, _) => all.extend(heading(line)),
            (Some(line), Some(definition)) => detail(definition, line),
            (Some(_), None) => {}
        }
    }
    all
}

fn heading(line: &'static str) -> Option<Definition> {
    let mut words = line.split(' ');
    let (url, code, kind) = (words.next()?, words.next()?, words.next()?);
    let (bases, targets, systems, components) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    Some(Definition { url, code, kind: kind_of(kind)?, bases, targets, systems, expression: None, components })
}

fn detail(definition: &mut Definition, line: &'static str) {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match word {
        "base" => definition.bases = rest.split(' ').collect(),
        "target" => definition.targets = rest.split(' ').collect(),
        "system" => {
            let (system, types) = rest.split_once(' ').unwrap_or((rest, ""));
            definition.systems.push((system, types.split(' ').collect()));
        }
        "=" => definition.expression = expression::parse(rest),
        _ => {
            let (url, path) = rest.split_once(' ').unwrap_or((rest, ""));
            definition.components.push(Component { url, expression: expression::parse(path) });
        }
    }
}

fn kind_of(word: &str) -> Option<Kind> {
    Some(match word {
        "number" => Kind::Number,
        "date" => Kind::Date,
        "string" => Kind::String,
        "token" => Kind::Token,
        "reference" => Kind::Reference,
        "composite" => Kind::Composite,
        "quantity" => Kind::Quantity,
        "uri" => Kind::Uri,
        "special" => Kind::Special,
        _ => return None,
    })
}

/// Names of elements by their type and by `summary` or `mandatory`.
type Elements = BTreeMap<(&'static str, &'static str), Vec<&'static str>>;

fn elements() -> Elements {
    let (mut all, mut of) = (Elements::new(), "");
    for line in ELEMENTS.lines() {
        match line.strip_prefix(' ') {
            None => of = line,
            Some(rest) => {
                let mut words = rest.split(' ');
                let what = words.next().unwrap_or_default();
                all.insert((of, what), words.collect());
            }
        }
    }
    all
}

/// The names under which JSON has these elements.
fn members(resource_type: &str, elements: Option<&Vec<&'static str>>) -> &'static [&'static str] {
    let named = elements.into_iter().flatten().flat_map(|element| {
        let name = element.strip_suffix("[x]").unwrap_or(element);
        members_of(resource_type, name).into_iter().map(|member| &*member.name.leak())
    });
    named.collect::<Vec<_>>().leak()
}

fn of_type(name: &'static str, definitions: &[Definition], elements: &Elements) -> OfType {
    let mut by_url = BTreeMap::<&str, &'static Param>::new();
    let (simple, composite): (Vec<_>, Vec<_>) =
        (0_u16..).zip(definitions).filter(|(_, d)| d.is_for(name)).partition(|(_, d)| d.kind != Kind::Composite);
    // Composites come after what they are made of.
    for (number, definition) in simple.into_iter().chain(composite) {
        let components: Vec<_> = definition.components.iter().filter_map(|c| by_url.get(c.url).copied()).collect();
        let param = Param {
            number,
            code: definition.code,
            kind: definition.kind,
            url: definition.url,
            targets: definition.targets_for(name).leak(),
            code_system: definition.systems.iter().find(|(_, types)| types.contains(&name)).map(|(system, _)| *system),
            components: components.leak(),
        };
        by_url.insert(definition.url, Box::leak(Box::new(param)));
    }
    let mut params: Vec<_> = by_url.into_values().collect();
    params.sort_by_key(|param| param.code);
    OfType {
        params: params.leak(),
        summary: members(name, elements.get(&(name, "summary"))),
        mandatory: members(name, elements.get(&(name, "mandatory"))),
    }
}

fn compartments(types: &[OfType]) -> Vec<(&'static str, Vec<Option<Params>>)> {
    let mut all = Vec::<(&str, Vec<Option<Params>>)>::new();
    for line in COMPARTMENTS.lines() {
        if let Some(name) = line.strip_prefix("compartment ") {
            all.push((name, vec![None; RESOURCE_TYPES.len()]));
            continue;
        }
        let mut words = line.trim_start().split(' ');
        let of = words.next().and_then(|name| RESOURCE_TYPES.binary_search(&name).ok());
        if let (Some(of), Some((_, compartment))) = (of, all.last_mut()) {
            let named = |code| types[of].params.iter().find(|param| param.code == code).copied();
            compartment[of] = Some(words.filter_map(named).collect::<Vec<_>>().leak());
        }
    }
    all
}
