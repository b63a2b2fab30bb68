//! What a chart's blocks are: one row a chart, which pins every block and says at which root of the chart's map it stands.
//!
//! ```text
//! catalog = form turn handle root count type…
//! type    = name next count entry…
//! entry   = first-difference turns-ago count bytes
//! ```

use vouchsafe_types::{Handle, Hash32};

use super::codec::{Reader, misformed, number, prefixed};
use crate::records::OpenError;

/// The form that is written.
const FORM: u8 = 1;

/// A block, as the catalog knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The number that it begins with.
    pub(super) first: u32,
    /// The turn in which it was written.
    pub(super) turn: u64,
    /// How many documents it holds.
    pub(super) count: u32,
    /// About how many bytes they take.
    pub(super) bytes: u32,
}

/// The blocks of one type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OfType {
    pub(super) name: String,
    /// The number that the next new document gets; none comes twice.
    pub(super) next: u32,
    /// By ascending first number.
    pub(super) blocks: Vec<Entry>,
}

impl OfType {
    /// Which block holds a number.
    pub(super) fn holding(&self, number: u32) -> Option<usize> {
        self.blocks.partition_point(|entry| entry.first <= number).checked_sub(1)
    }
}

/// A chart's blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::records) struct Catalog {
    /// How often the chart was written to.
    pub(super) turn: u64,
    pub(in crate::records) handle: Handle,
    /// The root of the chart's map that belongs to this state.
    pub(in crate::records) root: Hash32,
    /// By name.
    pub(super) types: Vec<OfType>,
}

impl Catalog {
    pub(super) const fn new(handle: Handle) -> Self {
        Self { turn: 0, handle, root: Hash32([0; 32]), types: Vec::new() }
    }

    pub(super) fn of_type(&self, name: &str) -> Option<&OfType> {
        let at = self.types.binary_search_by(|of_type| of_type.name.as_str().cmp(name)).ok()?;
        Some(&self.types[at])
    }

    pub(super) fn of_type_mut(&mut self, name: &str) -> &mut OfType {
        let at = match self.types.binary_search_by(|of_type| of_type.name.as_str().cmp(name)) {
            Ok(at) => at,
            Err(at) => {
                self.types.insert(at, OfType { name: name.to_owned(), next: 0, blocks: Vec::new() });
                at
            }
        };
        &mut self.types[at]
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORM];
        number(&mut out, self.turn);
        out.extend_from_slice(&self.handle.0);
        out.extend_from_slice(&self.root.0);
        number(&mut out, self.types.len() as u64);
        for of_type in &self.types {
            prefixed(&mut out, of_type.name.as_bytes());
            number(&mut out, of_type.next.into());
            number(&mut out, of_type.blocks.len() as u64);
            let mut before = 0;
            for entry in &of_type.blocks {
                number(&mut out, (entry.first - before).into());
                number(&mut out, self.turn - entry.turn);
                number(&mut out, entry.count.into());
                number(&mut out, entry.bytes.into());
                before = entry.first;
            }
        }
        out
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, OpenError> {
        Self::parse(bytes).ok_or_else(|| misformed("a catalog"))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        if reader.byte()? != FORM {
            return None;
        }
        let turn = reader.number()?;
        let (handle, root) = (Handle(reader.array()?), Hash32(reader.array()?));
        let mut types = Vec::new();
        for _ in 0..reader.number()? {
            let name = reader.text()?.to_owned();
            let next = reader.small()?;
            let mut blocks = Vec::new();
            let mut before = 0_u32;
            for _ in 0..reader.number()? {
                let first = before.checked_add(reader.small()?)?;
                let turn = turn.checked_sub(reader.number()?)?;
                blocks.push(Entry { first, turn, count: reader.small()?, bytes: reader.small()? });
                before = first;
            }
            types.push(OfType { name, next, blocks });
        }
        reader.ended().then_some(Self { turn, handle, root, types })
    }

    /// About how many bytes it holds in memory.
    pub(super) fn cost(&self) -> usize {
        let of_type = |of_type: &OfType| of_type.name.len() + 64 + of_type.blocks.len() * size_of::<Entry>();
        128 + self.types.iter().map(of_type).sum::<usize>()
    }
}
