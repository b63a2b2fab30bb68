//! R4's structure as a table, read once from `r4/structure.txt`, which `r4/make.py` makes from HL7's definitions.

use std::{collections::BTreeMap, sync::OnceLock};

use crate::Member;

static TEXT: &str = include_str!("../r4/structure.txt");

/// What may stand where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A primitive, by its name.
    Primitive(&'static str),
    /// The elements of a data type, or of a block within one.
    Block(&'static str),
    /// Any resource.
    Resource,
}

/// One element of a block.
#[derive(Debug)]
pub(crate) struct Element {
    /// Its name; that of a choice without `[x]`.
    pub(crate) name: &'static str,
    /// Must it be there?
    pub(crate) required: bool,
    /// May it come more than once, and is an array therefore?
    pub(crate) many: bool,
    /// Is it a choice, whose member's name ends in its type?
    pub(crate) choice: bool,
    /// What it may be.
    pub(crate) kinds: Vec<(&'static str, Kind)>,
}

impl Element {
    /// What a member of this name is, when it is this element.
    pub(crate) fn kind_of(&self, member: &str) -> Option<Kind> {
        if !self.choice {
            return (self.name == member).then(|| self.kinds[0].1);
        }
        let of_type = member.strip_prefix(self.name)?;
        self.kinds.iter().find(|(name, _)| capitalised(of_type, name)).map(|(_, kind)| *kind)
    }

    /// All members that are this element.
    pub(crate) fn members(&self) -> Vec<Member> {
        let member = |(name, kind): &(&'static str, Kind)| {
            let of_type = name.trim_start_matches('@');
            let first = of_type.get(..1).unwrap_or_default().to_ascii_uppercase();
            let suffix = if self.choice { first + of_type.get(1..).unwrap_or_default() } else { String::new() };
            Member { name: format!("{}{suffix}", self.name), type_name: of_type, kind: *kind }
        };
        // Without a choice there may still be several types, as a Reference has one for each profile; one member is all.
        let all = self.kinds.iter().map(member);
        if self.choice { all.collect() } else { all.take(1).collect() }
    }
}

/// True when `text` is `name` with its first letter in upper case.
fn capitalised(text: &str, name: &str) -> bool {
    let (mut text, mut name) = (text.bytes(), name.bytes());
    text.next() == name.next().map(|b| b.to_ascii_uppercase()) && text.eq(name)
}

/// The whole table.
pub(crate) struct Table {
    blocks: BTreeMap<&'static str, Vec<Element>>,
}

impl Table {
    /// The elements of a type, or of a block within one.
    pub(crate) fn block(&self, name: &str) -> Option<&[Element]> {
        self.blocks.get(name).map(Vec::as_slice)
    }
}

/// The table, read when first asked for.
pub(crate) fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| read(TEXT))
}

fn read(text: &'static str) -> Table {
    let mut lines = text.lines();
    let mut list = || lines.next().unwrap_or_default().split(' ').skip(1).collect::<Vec<_>>();
    let (_resources, primitives) = (list(), list());
    let mut blocks = BTreeMap::<&str, Vec<Element>>::new();
    let mut current = "";
    for line in lines {
        match line.strip_prefix(' ') {
            None => current = line,
            Some(element) => blocks.entry(current).or_default().extend(read_element(element, &primitives)),
        }
    }
    Table { blocks }
}

fn read_element(line: &'static str, primitives: &[&str]) -> Option<Element> {
    let mut words = line.split(' ');
    let (name, min, max) = (words.next()?, words.next()?, words.next()?);
    let kinds: Vec<_> = words.map(|word| (word, kind(word, primitives))).collect();
    if max == "0" || kinds.is_empty() {
        return None;
    }
    let bare = name.strip_suffix("[x]");
    Some(Element { name: bare.unwrap_or(name), required: min != "0", many: max != "1", choice: bare.is_some(), kinds })
}

fn kind(word: &'static str, primitives: &[&str]) -> Kind {
    match word.strip_prefix('@') {
        Some(path) => Kind::Block(path),
        None if word == "Resource" => Kind::Resource,
        None if primitives.contains(&word) => Kind::Primitive(word),
        None => Kind::Block(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_the_types_that_this_crate_names() {
        let first = TEXT.lines().next().unwrap();
        assert_eq!(first.split(' ').skip(1).collect::<Vec<_>>(), crate::RESOURCE_TYPES);
    }

    #[test]
    fn every_block_named_exists() {
        for (name, elements) in &table().blocks {
            for element in elements {
                for (_, kind) in &element.kinds {
                    if let Kind::Block(block) = kind {
                        assert!(table().block(block).is_some(), "{name}.{} is a {block}", element.name);
                    }
                }
            }
        }
    }
}
