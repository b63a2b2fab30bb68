//! Walking a resource along the plan of its type.

use serde_json::{Map, Value};

use super::{
    convert::{self, How, Out},
    plan::{Check, Node, Parts, Plan},
    reference,
};
use crate::{Fact, FactsBuilder};

/// A parameter's value in a resource.
#[derive(Clone, Copy)]
struct Found<'v> {
    number: u16,
    what: What<'v>,
}

#[derive(Clone, Copy)]
enum What<'v> {
    /// An element, and how it becomes facts.
    Element(&'static How, &'v Value),
    /// Whether there is an element.
    Exists(bool),
}

/// Writes what a resource can be found by.
pub(super) fn walk(plan: &'static Plan, resource: &Value, base: &str, facts: &mut FactsBuilder) {
    let mut found = Vec::with_capacity(64);
    if let Value::Object(members) = resource {
        for (number, names) in &plan.exists {
            found.extend(exists(members, names).map(|is| Found { number: *number, what: What::Exists(is) }));
        }
    }
    visit(&plan.root, resource, 0, &mut found);
    // Facts are written by ascending number; those of one parameter stay in the order of the resource.
    found.sort_by_key(|found| found.number);
    let mut tuples = Tuples::of(resource);
    for Found { number, what } in found {
        let mut out = Out { facts, number, base };
        match what {
            What::Exists(is) => {
                out.push(Fact::Token { system: None, code: if is { "true" } else { "false" }, text: None });
            }
            What::Element(How::Composite(parts), element) => tuples.write(parts, element, &mut out),
            What::Element(how, element) => convert::convert(how, element, &mut out),
        }
    }
}

/// Whether one of the members is there and is not `false`. Not known when there is but an extension in place of a value.
fn exists(members: &Map<String, Value>, names: &[&str]) -> Option<bool> {
    match names.iter().find_map(|name| members.get(*name)) {
        Some(value) => Some(*value != Value::Bool(false)),
        None => {
            let extended = members.keys().filter_map(|key| key.strip_prefix('_')).any(|key| names.contains(&key));
            (!extended).then_some(false)
        }
    }
}

/// More codings than these are not said again in each tuple.
const MOST_CODINGS: usize = 16;

/// What composites are gathered with.
struct Tuples<'v> {
    resource: &'v Value,
    /// The composite at hand.
    number: Option<u16>,
    /// Its parts that lie elsewhere in the resource.
    shared: Vec<Found<'v>>,
    /// The parts of one element.
    found: Vec<Found<'v>>,
}

impl<'v> Tuples<'v> {
    fn of(resource: &'v Value) -> Self {
        Self { resource, number: None, shared: Vec::new(), found: Vec::new() }
    }

    /// Writes one element's values of a composite. It can only be found by all of them, so that one that lacks a part is
    /// left out.
    fn write(&mut self, parts: &'static Parts, element: &'v Value, out: &mut Out<'_>) {
        if self.number != Some(out.number) {
            self.number = Some(out.number);
            self.share(parts);
        }
        self.found.clear();
        visit(&parts.here, element, 0, &mut self.found);
        self.found.extend_from_slice(&self.shared);
        self.found.sort_by_key(|found| found.number);
        if (0..parts.count).any(|part| self.found.iter().all(|found| found.number != part)) {
            return;
        }
        out.push(Fact::Tuple);
        let mut last = None;
        for Found { number, what } in &self.found {
            if last != Some(*number) {
                last = Some(*number);
                out.push(Fact::Component(u8::try_from(*number).unwrap_or(u8::MAX)));
            }
            if let What::Element(how, element) = what {
                convert::convert(how, element, out);
            }
        }
    }

    /// Finds the parts that lie elsewhere. They are written again in every tuple, so that a resource made for it would have
    /// facts by the square of its size: one value is taken for each part, as R4 has it, and none with very many codings.
    fn share(&mut self, parts: &'static Parts) {
        self.shared.clear();
        visit(&parts.resource, self.resource, 0, &mut self.shared);
        self.shared.sort_by_key(|found| found.number);
        self.shared.dedup_by_key(|found| found.number);
        self.shared.retain(|found| match found.what {
            What::Element(_, element) => {
                element.get("coding").and_then(Value::as_array).is_none_or(|all| all.len() <= MOST_CODINGS)
            }
            What::Exists(_) => false,
        });
    }
}

fn visit<'v>(node: &'static Node, element: &'v Value, index: usize, found: &mut Vec<Found<'v>>) {
    for find in &node.finds {
        found.push(Found { number: find.number, what: What::Element(&find.how, element) });
    }
    for (check, next) in &node.checks {
        if holds(check, element, index) {
            visit(next, element, index, found);
        }
    }
    let Value::Object(members) = element else { return };
    // Looking a name up costs a hash; going through a large resource costs a comparison for each of its members.
    if node.members.len() <= 2 {
        for (name, next) in &node.members {
            if let Some(value) = members.get(*name) {
                each(next, value, found);
            }
        }
        return;
    }
    for (name, value) in members {
        if let Ok(at) = node.place(name) {
            each(&node.members[at].1, value, found);
        }
    }
}

fn each<'v>(node: &'static Node, value: &'v Value, found: &mut Vec<Found<'v>>) {
    match value {
        Value::Array(items) => items.iter().enumerate().for_each(|(index, item)| visit(node, item, index, found)),
        Value::Null => {}
        item => visit(node, item, 0, found),
    }
}

fn holds(check: &Check, element: &Value, index: usize) -> bool {
    match check {
        Check::Index(at) => *at == index,
        Check::Equals(member, text) => element.get(*member).and_then(Value::as_str) == Some(*text),
        Check::Refers(kind) => reference::refers_to(element) == Some(*kind),
    }
}
