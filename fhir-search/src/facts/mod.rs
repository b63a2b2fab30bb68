//! What one resource can be found by, in a compact form that is matched without being unpacked.
//!
//! ```text
//! facts     = length(directory) directory body
//! directory = (number-difference length)…      one entry per parameter, ascending
//! body      = facts of the first parameter, facts of the second, …
//! ```
//!
//! A search looks at few parameters of many documents, so the directory comes first and is short. A text that came before
//! in the same body is a reference back to it: the code of an Observation is in four parameters and is written once.
//! Lengths and numbers are of variable length (LEB128).

mod decode;
mod encode;
#[cfg(test)]
mod tests;

use zeroize::Zeroizing;

use crate::{DateRange, DecimalRange};

pub use decode::{FactsOf, Numbered};
pub use encode::FactsBuilder;

/// One value that a resource can be found by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fact<'a> {
    /// A code, an identifier, a boolean, a contact point; `text` is the display or the concept's text, for `:text`.
    Token {
        /// Its system; none when it has none.
        system: Option<&'a str>,
        /// The code or the identifier's value; empty when there is only text.
        code: &'a str,
        /// For people.
        text: Option<&'a str>,
    },
    /// An identifier with its type, for `:of-type`.
    TypedIdentifier {
        /// The type's system.
        system: &'a str,
        /// The type's code.
        code: &'a str,
        /// The identifier's value.
        value: &'a str,
    },
    /// Text, as it stands.
    String(&'a str),
    /// A reference.
    Reference {
        /// The target's type, when known.
        resource_type: Option<&'a str>,
        /// The target's id, when it is on this server: relative, or below the base it was extracted with.
        id: Option<&'a str>,
        /// The text as it stands; without its version.
        url: &'a str,
    },
    /// The identifier of a logical reference, for `:identifier`.
    ReferenceIdentifier {
        /// Its system.
        system: Option<&'a str>,
        /// Its value.
        value: &'a str,
    },
    /// A span of time.
    Date(DateRange),
    /// A number.
    Number(DecimalRange),
    /// A number with a unit.
    Quantity {
        /// The number.
        range: DecimalRange,
        /// The unit's system.
        system: Option<&'a str>,
        /// The unit's code.
        code: Option<&'a str>,
        /// The unit for people.
        unit: Option<&'a str>,
    },
    /// An address.
    Uri(&'a str),
    /// Where one element's values of a composite begin; those of its components follow, each preceded by `Component`,
    /// until the next `Tuple` or another parameter.
    Tuple,
    /// The values that follow are of this component of the composite, counted from 0.
    Component(u8),
}

/// What a resource can be found by; health data, so no Debug, and zeroed when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Facts(Zeroizing<Vec<u8>>);

impl Facts {
    /// Takes the bytes that [`Facts::bytes`] gave; whether they are whole shows when they are read.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The same, borrowed.
    pub fn as_ref(&self) -> FactsRef<'_> {
        FactsRef(&self.0)
    }

    /// The compact form.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The same, borrowed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FactsRef<'a>(&'a [u8]);

impl<'a> FactsRef<'a> {
    /// Takes the bytes that [`Facts::bytes`] gave. Bytes that are cut off or are none of ours end early and never panic.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The compact form.
    pub fn bytes(&self) -> &'a [u8] {
        self.0
    }

    /// The facts of one parameter, in the order of the resource; nothing is allocated.
    pub fn of(&self, number: u16) -> FactsOf<'a> {
        decode::of(self.0, number)
    }

    /// All facts with their parameters' numbers, ascending.
    pub fn all(&self) -> Numbered<'a> {
        decode::all(self.0)
    }
}
