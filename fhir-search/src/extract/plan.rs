//! The expressions of all parameters of a type, put together into one tree.

use std::sync::{LazyLock, OnceLock};

use vouchsafe_fhir_structure::{RESOURCE_TYPES, members_of};

use super::convert::How;
use crate::{
    Kind,
    table::{Branch, Definition, Root, Step, table},
};

/// What is looked at in the resources of a type.
pub(super) struct Plan {
    /// Begins at the resource.
    pub(super) root: Node,
    /// Parameters that ask whether an element is there and not `false`: their numbers, and the element's members.
    pub(super) exists: Vec<(u16, Vec<&'static str>)>,
}

/// What is looked at in one element.
#[derive(Default)]
pub(super) struct Node {
    /// Members that lead on, by the lengths of their names and then by the names: most comparisons end with the length.
    pub(super) members: Vec<(&'static str, Self)>,
    /// What goes on only when the element is such.
    pub(super) checks: Vec<(Check, Self)>,
    /// Parameters that the element itself is a value of.
    pub(super) finds: Vec<Find>,
}

/// What an element must be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// A reference to a resource of this type.
    Refers(&'static str),
    /// One that has this member with this text.
    Equals(&'static str, &'static str),
    /// The one at this place.
    Index(usize),
}

/// A parameter's value.
pub(super) struct Find {
    /// The parameter's number; in a composite the place of the component.
    pub(super) number: u16,
    /// How it becomes facts.
    pub(super) how: How,
}

/// The parts of a composite.
pub(super) struct Parts {
    /// How many there are.
    pub(super) count: u16,
    /// Those that lie below the composite's element.
    pub(super) here: Node,
    /// Those that lie elsewhere in the resource.
    pub(super) resource: Node,
}

/// The plan of a type, made when it is first asked for.
pub(super) fn plan(resource_type: &str) -> Option<&'static Plan> {
    static PLANS: LazyLock<Vec<OnceLock<Plan>>> =
        LazyLock::new(|| RESOURCE_TYPES.iter().map(|_| OnceLock::new()).collect());
    let at = RESOURCE_TYPES.binary_search(&resource_type).ok()?;
    Some(PLANS[at].get_or_init(|| make(RESOURCE_TYPES[at])))
}

fn make(resource_type: &'static str) -> Plan {
    let mut plan = Plan { root: Node::default(), exists: Vec::new() };
    for (number, definition) in (0_u16..).zip(&table().definitions) {
        if !definition.is_for(resource_type) || ["_id", "_lastUpdated"].contains(&definition.code) {
            continue;
        }
        for branch in definition.branches(resource_type) {
            if branch.exists {
                plan.exists.push((number, named(resource_type, branch)));
                continue;
            }
            let leaf = |of: &'static str| Some(Find { number, how: how(definition, resource_type, of)? });
            plan.root.grow(resource_type, &branch.steps, &leaf);
        }
    }
    plan
}

/// The members of the element that a branch of one step names.
fn named(resource_type: &str, branch: &Branch) -> Vec<&'static str> {
    let [Step::Member(name)] = branch.steps[..] else { return Vec::new() };
    members_of(resource_type, name).into_iter().map(|member| &*member.name.leak()).collect()
}

/// How an element of this type becomes facts of a parameter; none when it cannot.
fn how(definition: &'static Definition, resource_type: &'static str, of: &'static str) -> Option<How> {
    if definition.kind != Kind::Composite {
        return How::of(definition.kind, &definition.targets, of);
    }
    let mut parts = Parts { count: 0, here: Node::default(), resource: Node::default() };
    for (number, component) in (0_u16..).zip(&definition.components) {
        parts.count += 1;
        let own = table().definitions.iter().find(|d| d.url == component.url)?;
        let leaf = |of: &'static str| Some(Find { number, how: How::of(own.kind, &own.targets, of)? });
        for branch in component.expression.iter().flatten() {
            match branch.root {
                Root::Resource => parts.resource.grow(resource_type, &branch.steps, &leaf),
                Root::Here | Root::Type(_) => parts.here.grow(of, &branch.steps, &leaf),
            }
        }
    }
    Some(How::Composite(Box::new(parts)))
}

impl Node {
    /// Adds what is at the end of these steps, which begin at an element of this type.
    fn grow(&mut self, of: &'static str, steps: &[Step], leaf: &dyn Fn(&'static str) -> Option<Find>) {
        let Some((step, rest)) = steps.split_first() else {
            self.finds.extend(leaf(of));
            return;
        };
        match *step {
            Step::Member(name) => {
                for member in members_of(of, name) {
                    // A cast right behind it chooses among the members of a choice.
                    let rest = match rest.split_first() {
                        Some((Step::As(wanted), _)) if *wanted != member.type_name => continue,
                        Some((Step::As(_), rest)) => rest,
                        _ => rest,
                    };
                    // What leads nowhere is not planted: a CodeableConcept is no date.
                    let mut child = Self::default();
                    child.grow(member.type_name, rest, leaf);
                    if !child.is_empty() {
                        self.member(member.name).merge(child);
                    }
                }
            }
            Step::As(wanted) if wanted == of => self.grow(of, rest, leaf),
            Step::As(_) => {}
            Step::Refers(kind) => self.check(Check::Refers(kind)).grow(of, rest, leaf),
            Step::Equals(member, text) => self.check(Check::Equals(member, text)).grow(of, rest, leaf),
            Step::Index(at) => self.check(Check::Index(at)).grow(of, rest, leaf),
        }
    }

    fn is_empty(&self) -> bool {
        self.members.is_empty() && self.checks.is_empty() && self.finds.is_empty()
    }

    /// Where a member of this name is among those that lead on, or where it would be.
    pub(super) fn place(&self, name: &str) -> Result<usize, usize> {
        self.members.binary_search_by(|(other, _)| other.len().cmp(&name.len()).then_with(|| (*other).cmp(name)))
    }

    fn member(&mut self, name: String) -> &mut Self {
        let at = match self.place(&name) {
            Ok(at) => at,
            Err(at) => {
                self.members.insert(at, (name.leak(), Self::default()));
                at
            }
        };
        &mut self.members[at].1
    }

    fn check(&mut self, check: Check) -> &mut Self {
        let at = self.checks.iter().position(|(other, _)| *other == check).unwrap_or_else(|| {
            self.checks.push((check, Self::default()));
            self.checks.len() - 1
        });
        &mut self.checks[at].1
    }

    fn merge(&mut self, other: Self) {
        for (name, node) in other.members {
            self.member(name.to_owned()).merge(node);
        }
        for (check, node) in other.checks {
            self.check(check).merge(node);
        }
        self.finds.extend(other.finds);
    }

    /// All that is found here or below.
    #[cfg(test)]
    pub(super) fn all(&self) -> Vec<&Find> {
        let below = self.members.iter().map(|(_, node)| node).chain(self.checks.iter().map(|(_, node)| node));
        self.finds.iter().chain(below.flat_map(Self::all)).collect()
    }
}
