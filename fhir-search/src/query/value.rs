//! One value of a query, and whether a fact is what it asks for.

use super::prefix::{DateTest, NumberTest};
use crate::{Fact, FactsRef, fold};

/// What a token says of its system.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum System {
    /// `code`: any or none.
    Any,
    /// `|code`: none.
    Absent,
    /// `system|code`.
    Is(Box<str>),
}

impl System {
    fn holds(&self, found: Option<&str>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => found.is_none(),
            Self::Is(system) => found == Some(system),
        }
    }
}

/// How texts are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compare {
    /// Begins with it, whatever the case and the accents.
    Begins,
    /// Contains it, whatever the case and the accents.
    Contains,
    /// Is it, letter by letter.
    Exact,
}

/// How addresses are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compass {
    /// Is it. A canonical address is among the facts with its version and without, so that either finds it.
    Is,
    /// Begins with it.
    Below,
    /// It begins with what the resource has, up to a `/`.
    Above,
}

/// One of the values of which one must be found.
#[derive(Clone)]
pub(crate) enum Value {
    Token {
        system: System,
        /// None for `system|`: any code of the system.
        code: Option<Box<str>>,
        /// Upper and lower case differ: only for identifiers.
        cased: bool,
    },
    /// `:text`, folded.
    TokenText(Box<str>),
    /// `:of-type`.
    OfType {
        system: Box<str>,
        code: Box<str>,
        value: Box<str>,
    },
    /// Folded unless exact.
    String {
        text: Box<str>,
        compare: Compare,
    },
    Reference(Reference),
    /// `:identifier`.
    Logical {
        system: System,
        value: Option<Box<str>>,
    },
    Date(DateTest),
    Number(NumberTest),
    Quantity {
        number: NumberTest,
        system: System,
        /// The code; without a system also the unit for people.
        unit: Option<Box<str>>,
    },
    Uri {
        text: Box<str>,
        compass: Compass,
    },
    /// One value for each component.
    Composite(Box<[Value]>),
    Near(super::near::Near),
}

/// A reference that is asked for.
#[derive(Clone)]
pub(crate) struct Reference {
    /// The type, when the query says it.
    pub(crate) resource_type: Option<&'static str>,
    /// The types that the parameter's references may lead to; what an id alone may mean.
    pub(crate) targets: &'static [&'static str],
    /// The id, when it is one of this server; then nothing else is compared, so that no spelling of a reference to a local
    /// document is found without its id being known.
    pub(crate) id: Option<Box<str>>,
    /// The address of what is elsewhere, as it was given.
    pub(crate) url: Box<str>,
}

impl Reference {
    #[inline]
    fn holds(&self, resource_type: Option<&str>, id: Option<&str>, url: &str) -> bool {
        match (self.id.as_deref(), id) {
            (Some(asked), Some(id)) => asked == id && self.may_be(resource_type),
            (None, None) => *self.url == *url,
            _ => false,
        }
    }

    fn may_be(&self, found: Option<&str>) -> bool {
        match (self.resource_type, found) {
            (_, None) => true,
            (Some(asked), Some(found)) => asked == found,
            (None, Some(found)) => self.targets.is_empty() || self.targets.contains(&found),
        }
    }
}

impl Value {
    /// Do the parameter's facts together say what is asked for? Of kinds whose values take more than one fact.
    #[inline]
    pub(crate) fn among(&self, facts: FactsRef<'_>, number: u16) -> bool {
        match self {
            Self::Composite(parts) => in_one_tuple(parts, facts, number),
            Self::Near(near) => near.among(facts, number),
            _ => facts.of(number).any(|fact| self.holds(&fact)),
        }
    }

    #[inline]
    pub(crate) fn holds(&self, fact: &Fact<'_>) -> bool {
        match (self, *fact) {
            (Self::Date(test), Fact::Date(range)) => test.holds(range),
            (Self::Reference(asked), Fact::Reference { resource_type, id, url }) => asked.holds(resource_type, id, url),
            (Self::Token { system, code, cased }, Fact::Token { system: found, code: text, .. }) => {
                let same = |code: &str| if *cased { code == text } else { code.eq_ignore_ascii_case(text) };
                code.as_deref().is_none_or(same) && system.holds(found)
            }
            (Self::TokenText(asked), Fact::Token { text: Some(text), .. }) => a_word_begins(text, asked),
            (Self::OfType { system, code, value }, Fact::TypedIdentifier { system: s, code: c, value: v }) => {
                **system == *s && **code == *c && **value == *v
            }
            (Self::String { text, compare }, Fact::String(found)) => match compare {
                Compare::Begins => begins(found, text),
                Compare::Contains => contains(found, text),
                Compare::Exact => **text == *found,
            },
            (Self::Logical { system, value }, Fact::ReferenceIdentifier { system: s, value: v }) => {
                value.as_deref().is_none_or(|value| value == v) && system.holds(s)
            }
            (Self::Number(test), Fact::Number(range)) => test.holds(range),
            (Self::Quantity { number, system, unit }, Fact::Quantity { range, system: s, code, unit: u }) => {
                number.holds(range) && measured_in(system, unit.as_deref(), s, code, u)
            }
            (Self::Uri { text, compass }, Fact::Uri(found)) => match compass {
                Compass::Is => **text == *found,
                Compass::Below => found.starts_with(&**text),
                Compass::Above => text.strip_prefix(found).is_some_and(|rest| {
                    rest.is_empty() || rest.starts_with('/') || (found.ends_with('/') && !found.is_empty())
                }),
            },
            _ => false,
        }
    }
}

/// `|system|code` asks for the code, `||code` for the code or what people write for it.
fn measured_in(
    asked: &System,
    unit: Option<&str>,
    system: Option<&str>,
    code: Option<&str>,
    written: Option<&str>,
) -> bool {
    let by_people = matches!(asked, System::Any) && unit == written;
    unit.is_none_or(|unit| code == Some(unit) || by_people) && asked.holds(system)
}

fn begins(text: &str, folded: &str) -> bool {
    let mut text = fold(text);
    folded.chars().all(|c| text.next() == Some(c))
}

fn contains(text: &str, folded: &str) -> bool {
    if text.is_ascii() {
        return folded.is_empty()
            || text.as_bytes().windows(folded.len()).any(|part| part.eq_ignore_ascii_case(folded.as_bytes()));
    }
    fold(text).collect::<String>().contains(folded)
}

/// R4 compares `:text` as a string; here it may begin at any word, because a display is a phrase and not a name.
fn a_word_begins(text: &str, folded: &str) -> bool {
    let starts = text.char_indices().scan(' ', |before, (at, c)| {
        let start = c.is_alphanumeric() && !before.is_alphanumeric();
        *before = c;
        Some((at, start))
    });
    begins(text, folded) || starts.filter(|(_, start)| *start).any(|(at, _)| begins(&text[at..], folded))
}

/// Is there one element that has all of the parts?
fn in_one_tuple(parts: &[Value], facts: FactsRef<'_>, number: u16) -> bool {
    let (mut component, mut have) = (usize::MAX, 0_u32);
    let all = |have: u32| have.count_ones() as usize == parts.len();
    for fact in facts.of(number) {
        match fact {
            Fact::Tuple if all(have) => return true,
            Fact::Tuple => (component, have) = (usize::MAX, 0),
            Fact::Component(at) => component = usize::from(at),
            fact if parts.get(component).is_some_and(|part| part.holds(&fact)) => have |= 1 << component,
            _ => {}
        }
    }
    all(have)
}
