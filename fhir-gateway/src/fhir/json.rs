//! Resources as exact bytes: what was submitted is what is sealed, to the last digit and the last space.
//!
//! `parse` refuses what two readers of JSON could understand differently. `sealed_form` takes out what the server
//! itself says about a resource, `splice` puts it in at reading, and neither touches another byte.

mod links;
mod scan;
mod splice;
mod subset;

use std::fmt;

use serde_json::Value;

pub use links::{Found, Link, rewrite_links};
pub(crate) use splice::{Item, level, string_at};
pub use splice::{Splice, rewrite_references, sealed_form, splice, strip};
pub use subset::subset;

use scan::Scanner;

/// How deep a resource may nest. FHIR's own deepest examples stay below thirty.
pub const MAX_DEPTH: usize = 100;

/// With `arbitrary_precision`, serde_json reads an object of this one member as a number; nobody else does.
const PRIVATE_NUMBER: &str = "$serde_json::private::Number";

/// A resource as it came, and as a tree for looking into. Debug shows neither, because it is health data.
#[derive(Clone)]
pub struct Document {
    bytes: Vec<u8>,
    value: Value,
}

impl Document {
    /// The bytes, exactly.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, given away.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Bytes and tree, given away.
    pub fn into_parts(self) -> (Vec<u8>, Value) {
        (self.bytes, self.value)
    }

    /// The tree; numbers keep their text.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The resource's type as it calls itself.
    pub fn resource_type(&self) -> Option<&str> {
        self.value.get("resourceType")?.as_str()
    }

    /// The resource's id as it calls itself.
    pub fn id(&self) -> Option<&str> {
        self.value.get("id")?.as_str()
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Document({} bytes)", self.bytes.len())
    }
}

/// Why bytes are no acceptable JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The bytes are not UTF-8.
    NotUtf8,
    /// Against the grammar, or something that readers understand differently.
    Syntax(&'static str),
    /// One object has a member twice.
    Duplicate,
    /// Nested deeper than [`MAX_DEPTH`].
    TooDeep,
    /// A NUL character, raw or escaped; FHIR forbids it.
    Nul,
    /// serde_json's private number member.
    PrivateNumber,
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8 => f.write_str("not UTF-8"),
            Self::Syntax(what) => f.write_str(what),
            Self::Duplicate => f.write_str("a member that the object has already"),
            Self::TooDeep => write!(f, "nested deeper than {MAX_DEPTH}"),
            Self::Nul => f.write_str("a NUL character"),
            Self::PrivateNumber => f.write_str("a member of a reserved name"),
        }
    }
}

/// Where and why bytes were refused. It never quotes a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {what}")]
pub struct JsonFault {
    /// Byte offset of the fault.
    pub offset: usize,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The element as a FHIRPath, such as `Patient.name[0].given`; empty when unknown.
    pub expression: String,
    /// What is wrong.
    pub what: FaultKind,
}

impl JsonFault {
    fn at(bytes: &[u8], offset: usize, expression: String, what: FaultKind) -> Self {
        let before = &bytes[..offset.min(bytes.len())];
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        let start = before.iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
        // Continuation bytes do not begin a character.
        let column = before[start..].iter().filter(|b| **b & 0xC0 != 0x80).count() + 1;
        Self { offset, line, column, expression, what }
    }
}

/// Reads one JSON object strictly.
///
/// # Errors
/// The first fault, with its place.
pub fn parse(bytes: &[u8]) -> Result<Document, JsonFault> {
    check(bytes)?;
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|_| JsonFault::at(bytes, 0, String::new(), FaultKind::Syntax("JSON that cannot be read")))?;
    if !value.is_object() {
        return Err(JsonFault::at(bytes, 0, String::new(), FaultKind::Syntax("no JSON object")));
    }
    Ok(Document { bytes: bytes.to_vec(), value })
}

/// Reads JSON strictly without keeping anything of it.
///
/// # Errors
/// The first fault, with its place.
pub fn check(bytes: &[u8]) -> Result<(), JsonFault> {
    let mut scanner = Scanner::new(bytes)?;
    while scanner.next()?.is_some() {}
    Ok(())
}

#[cfg(test)]
mod tests;
