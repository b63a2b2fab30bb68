//! Documents that lie together: those of one type in one chart, by ascending number.
//!
//! ```text
//! block    = form turn count document…
//! document = number-difference record version last-updated length facts
//! ```

use std::ops::Range;

use vouchsafe_fhir_search::FactsRef;
use vouchsafe_types::RecordId;
use zeroize::Zeroizing;

use super::{
    Document,
    codec::{Reader, misformed, number, prefixed, signed},
};
use crate::records::OpenError;

/// The form that is written.
const FORM: u8 = 1;
/// What a document takes in memory besides its bytes.
const OVERHEAD: usize = 64;

/// Where a block lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct BlockKey {
    pub(super) chart: RecordId,
    /// The type's blinded name.
    pub(super) of_type: [u8; 16],
    /// The number that it begins with; no document in it has a lower one.
    pub(super) first: u32,
}

impl BlockKey {
    pub(super) fn bytes(&self) -> Vec<u8> {
        [self.chart.0.as_slice(), &self.of_type, &self.first.to_be_bytes()].concat()
    }
}

/// A document in a block.
pub(super) struct Lies {
    pub(super) number: u32,
    pub(super) record: RecordId,
    pub(super) version: u64,
    pub(super) last_updated: i64,
    facts: Range<usize>,
}

/// A block as it was opened. Its bytes leave memory zeroed.
pub(super) struct Block {
    /// The chart's turn in which it was written.
    pub(super) turn: u64,
    pub(super) lies: Vec<Lies>,
    bytes: Zeroizing<Vec<u8>>,
}

impl Block {
    /// Reads a block.
    pub(super) fn read(bytes: Zeroizing<Vec<u8>>) -> Result<Self, OpenError> {
        Self::parse(bytes).ok_or_else(|| misformed("a block"))
    }

    fn parse(bytes: Zeroizing<Vec<u8>>) -> Option<Self> {
        let mut reader = Reader::new(&bytes);
        if reader.byte()? != FORM {
            return None;
        }
        let turn = reader.number()?;
        let count = usize::try_from(reader.number()?).ok()?;
        let mut lies = Vec::with_capacity(count.min(bytes.len() / 20));
        let mut last = 0_u32;
        for _ in 0..count {
            last = last.checked_add(reader.small()?)?;
            let (record, version, last_updated) = (RecordId(reader.array()?), reader.number()?, reader.signed()?);
            let length = reader.prefixed()?.len();
            lies.push(Lies { number: last, record, version, last_updated, facts: reader.at() - length..reader.at() });
        }
        reader.ended().then_some(())?;
        Some(Self { turn, lies, bytes })
    }

    /// What a document can be found by.
    pub(super) fn facts(&self, lies: &Lies) -> FactsRef<'_> {
        FactsRef::new(&self.bytes[lies.facts.clone()])
    }

    /// The document with this number.
    pub(super) fn numbered(&self, number: u32) -> Option<&Lies> {
        self.lies.binary_search_by_key(&number, |lies| lies.number).ok().map(|at| &self.lies[at])
    }

    /// How many bytes it holds in memory.
    pub(super) fn cost(&self) -> usize {
        self.bytes.len() + self.lies.len() * OVERHEAD
    }
}

/// A document of a block that is being written: one that lay there, or a new one.
#[derive(Clone)]
pub(super) enum Held<'a> {
    Old(std::sync::Arc<Block>, usize),
    New(u32, &'a Document<'a>),
}

impl Held<'_> {
    pub(super) fn number(&self) -> u32 {
        match self {
            Self::Old(block, at) => block.lies[*at].number,
            Self::New(number, _) => *number,
        }
    }

    pub(super) fn record(&self) -> &RecordId {
        match self {
            Self::Old(block, at) => &block.lies[*at].record,
            Self::New(_, document) => &document.row.id,
        }
    }

    pub(super) fn facts(&self) -> FactsRef<'_> {
        match self {
            Self::Old(block, at) => block.facts(&block.lies[*at]),
            Self::New(_, document) => document.facts,
        }
    }

    /// About how many bytes it takes.
    pub(super) fn size(&self) -> usize {
        32 + self.facts().bytes().len()
    }

    fn write(&self, out: &mut Vec<u8>, before: u32) {
        let (record, version, last_updated) = match self {
            Self::Old(block, at) => {
                let lies = &block.lies[*at];
                (lies.record, lies.version, lies.last_updated)
            }
            Self::New(_, Document { row, .. }) => {
                (row.id, row.version.0, i64::try_from(row.last_updated.0).unwrap_or(i64::MAX))
            }
        };
        number(out, u64::from(self.number() - before));
        out.extend_from_slice(&record.0);
        number(out, version);
        signed(out, last_updated);
        prefixed(out, self.facts().bytes());
    }
}

/// The bytes of a block of these documents, which come by ascending number.
pub(super) fn encode(turn: u64, held: &[Held<'_>]) -> Zeroizing<Vec<u8>> {
    let size = held.iter().map(Held::size).sum::<usize>();
    // Room for all of it, so that no half-written copy is left behind unzeroed.
    let mut out = Zeroizing::new(Vec::with_capacity(size + held.len() * 24 + 24));
    out.push(FORM);
    number(&mut out, turn);
    number(&mut out, held.len() as u64);
    let mut before = 0;
    for one in held {
        one.write(&mut out, before);
        before = one.number();
    }
    out
}
