//! What a group of documents makes of a chart's blocks.
//!
//! New documents are added to the last block of their type, a new version takes the place of the one before, and a deletion
//! takes it out; so a document keeps its number, which is its place in the order of searches and pages, for as long as it
//! is not deleted. A block that grew too large is split and one that is nearly empty joins its neighbour, which changes no
//! number.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use vouchsafe_types::RecordId;

use super::{
    BLOCKS, Document, Filing, Index, TERMS,
    block::{Block, BlockKey, Held, encode},
    cache::{Kept, Name},
    catalog::{Entry, OfType},
    terms::TermList,
};
use crate::{records::OpenError, store::WriteBatch};

/// A block of so many bytes takes no more documents. It is opened, and on writing sealed, as a whole: larger ones make
/// single writes dearer, smaller ones searches. The database gives a value that takes more than a page of 16 KiB two of
/// them, so a full block with one more document stays below that.
pub(super) const FULL: usize = 15 << 10;
/// What fits the page, with the seal and the key.
const FITS: usize = (16 << 10) - 256;
/// A block of less than this is nearly empty.
const POOR: usize = FULL / 4;

/// No document has more terms; a list that holds more than its documents can have is made anew.
const MOST_TERMS: usize = 64;

/// What becomes of one document.
pub(super) enum Edit<'a> {
    /// It is put at this number, where there is none yet when it is a new number.
    Put(u32, &'a Document<'a>),
    /// It goes.
    Remove(u32, RecordId),
}

impl Edit<'_> {
    const fn number(&self) -> u32 {
        match self {
            Self::Put(number, _) | Self::Remove(number, _) => *number,
        }
    }

    const fn record(&self) -> &RecordId {
        match self {
            Self::Put(_, document) => &document.row.id,
            Self::Remove(_, record) => record,
        }
    }
}

/// A stretch of documents as it becomes.
enum Piece<'a> {
    Kept(Entry),
    Written {
        /// The number that it begins with; that of its first document when none.
        first: Option<u32>,
        held: Vec<Held<'a>>,
        /// The blocks that it is made of.
        of: Vec<Entry>,
    },
}

impl Piece<'_> {
    fn bytes(&self) -> usize {
        match self {
            Self::Kept(entry) => entry.bytes as usize,
            Self::Written { held, .. } => held.iter().map(Held::size).sum(),
        }
    }
}

/// The blocks of one type in one chart while they are changed.
pub(super) struct Change<'a> {
    pub(super) index: &'a Index,
    pub(super) chart: RecordId,
    pub(super) type_key: [u8; 16],
    pub(super) name: &'a str,
    /// The chart's turn.
    pub(super) turn: u64,
}

impl<'a> Change<'a> {
    /// Applies edits of distinct numbers. Numbers from `new` on are new.
    pub(super) fn apply(
        &self,
        of_type: &mut OfType,
        new: u32,
        edits: Vec<Edit<'a>>,
        batch: &mut WriteBatch,
        filing: &mut Filing,
    ) -> Result<(), OpenError> {
        let entries = std::mem::take(&mut of_type.blocks);
        let mut touched = Self::assign(&entries, new, edits)?;
        let mut pieces: Vec<Piece<'a>> = Vec::with_capacity(entries.len() + 1);
        let mut skip = false;
        for at in 0..=entries.len() {
            if std::mem::take(&mut skip) {
                continue;
            }
            let entry = entries.get(at).copied();
            let Some(edits) = touched.remove(&at) else {
                pieces.extend(entry.map(Piece::Kept));
                continue;
            };
            let mut piece = self.edited(entry, new, edits)?;
            if piece.bytes() < POOR {
                piece = self.join_before(piece, &mut pieces)?;
                let next = entries.get(at + 1).filter(|next| !touched.contains_key(&(at + 1)) && poor(&piece, next));
                if let Some(next) = next {
                    piece = self.joined(piece, Piece::Kept(*next))?;
                    skip = true;
                }
            }
            pieces.push(piece);
        }
        let mut pieces = pieces.into_iter().peekable();
        while let Some(piece) = pieces.next() {
            let last = pieces.peek().is_none();
            match piece {
                Piece::Kept(entry) => of_type.blocks.push(entry),
                Piece::Written { first, held, of } => {
                    let blocks = self.write(&chunks(held, last), first, &of, batch, filing)?;
                    of_type.blocks.extend(blocks);
                }
            }
        }
        Ok(())
    }

    /// Which edits go to which block; new documents to the last one, or beyond it when that is full.
    fn assign(entries: &[Entry], new: u32, edits: Vec<Edit<'a>>) -> Result<BTreeMap<usize, Vec<Edit<'a>>>, OpenError> {
        let mut touched: BTreeMap<usize, Vec<Edit<'a>>> = BTreeMap::new();
        for edit in edits {
            let at = if edit.number() >= new {
                match entries.last() {
                    Some(last) if (last.bytes as usize) < FULL => entries.len() - 1,
                    _ => entries.len(),
                }
            } else {
                let after = entries.partition_point(|entry| entry.first <= edit.number());
                after.checked_sub(1).ok_or_else(|| dangling(edit.record()))?
            };
            touched.entry(at).or_default().push(edit);
        }
        Ok(touched)
    }

    fn load(&self, entry: &Entry) -> Result<Vec<Held<'a>>, OpenError> {
        let block = self.block(entry)?;
        Ok((0..block.lies.len()).map(|at| Held::Old(Arc::clone(&block), at)).collect())
    }

    fn block(&self, entry: &Entry) -> Result<Arc<Block>, OpenError> {
        let block = self.index.block(&self.key(entry.first), entry.turn)?;
        block.ok_or_else(|| OpenError::Integrity("a block of the index is not the one that was written last".into()))
    }

    const fn key(&self, first: u32) -> BlockKey {
        BlockKey { chart: self.chart, of_type: self.type_key, first }
    }

    fn edited(&self, entry: Option<Entry>, new: u32, edits: Vec<Edit<'a>>) -> Result<Piece<'a>, OpenError> {
        let mut held = match &entry {
            Some(entry) => self.load(entry)?,
            None => Vec::new(),
        };
        for edit in edits {
            let at = held.binary_search_by_key(&edit.number(), Held::number);
            let at = match at {
                Ok(at) if held[at].record() == edit.record() => Ok(at),
                // Numbers that were given are never given again, so what lies there should be this record.
                Ok(_) => return Err(dangling(edit.record())),
                Err(at) => Err(at),
            };
            match (edit, at) {
                (Edit::Put(number, document), Ok(at)) => held[at] = Held::New(number, document),
                (Edit::Put(number, document), Err(at)) if number >= new => {
                    held.insert(at, Held::New(number, document));
                }
                (Edit::Remove(..), Ok(at)) => drop(held.remove(at)),
                (edit, Err(_)) => return Err(dangling(edit.record())),
            }
        }
        Ok(Piece::Written { first: entry.map(|entry| entry.first), held, of: entry.into_iter().collect() })
    }

    /// Joins a nearly empty piece with the one before it, if both together are still small.
    fn join_before(&self, piece: Piece<'a>, pieces: &mut Vec<Piece<'a>>) -> Result<Piece<'a>, OpenError> {
        let small = pieces.last().is_some_and(|before| before.bytes() + piece.bytes() <= FULL / 2);
        match pieces.pop() {
            Some(before) if small => self.joined(before, piece),
            before => {
                pieces.extend(before);
                Ok(piece)
            }
        }
    }

    fn joined(&self, one: Piece<'a>, other: Piece<'a>) -> Result<Piece<'a>, OpenError> {
        let (first, mut held, mut of) = self.opened(one)?;
        let (_, more, of_more) = self.opened(other)?;
        held.extend(more);
        of.extend(of_more);
        Ok(Piece::Written { first, held, of })
    }

    #[expect(clippy::type_complexity, reason = "the parts of a piece, taken apart at once")]
    fn opened(&self, piece: Piece<'a>) -> Result<(Option<u32>, Vec<Held<'a>>, Vec<Entry>), OpenError> {
        Ok(match piece {
            Piece::Kept(entry) => (Some(entry.first), self.load(&entry)?, vec![entry]),
            Piece::Written { first, held, of } => (first, held, of),
        })
    }

    /// Adds a piece's blocks to the batch, and the removal of those that it is made of and that are no more.
    fn write(
        &self,
        chunks: &[Vec<Held<'a>>],
        first: Option<u32>,
        of: &[Entry],
        batch: &mut WriteBatch,
        filing: &mut Filing,
    ) -> Result<Vec<Entry>, OpenError> {
        let mut blocks = Vec::with_capacity(chunks.len());
        let alone = chunks.len() == 1;
        let mut written = HashSet::new();
        for (n, chunk) in chunks.iter().enumerate() {
            let first = first.filter(|_| n == 0).unwrap_or_else(|| chunk[0].number());
            written.insert(first);
            let terms = if alone { self.terms(chunk, of)? } else { self.terms(chunk, &[])? };
            let bytes = encode(self.turn, chunk);
            let key = self.key(first);
            let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            let size = chunk.iter().map(Held::size).sum();
            blocks.push(Entry { first, turn: self.turn, count: count(chunk.len()), bytes: count(size) });
            batch.put(BLOCKS, key.bytes(), bytes.as_slice());
            batch.put(TERMS, key.bytes(), terms.encode());
            filing.add_terms(self.name, &self.chart, &terms);
            filing.changes.push((Name::Block(key), Some(Kept::Block(Arc::new(Block::read(bytes)?)))));
            filing.changes.push((Name::Terms(key), Some(Kept::Terms(Arc::new(terms)))));
        }
        for entry in of.iter().filter(|entry| !written.contains(&entry.first)) {
            let key = self.key(entry.first);
            batch.remove(BLOCKS, key.bytes());
            batch.remove(TERMS, key.bytes());
            filing.changes.push((Name::Block(key), None));
            filing.changes.push((Name::Terms(key), None));
        }
        Ok(blocks)
    }

    /// The terms of a block: those of the blocks it is made of, whole, and of what is new in it; else of all in it. What
    /// went stays in the list until the block is split or the list grows too long, which costs a look in vain.
    fn terms(&self, held: &[Held<'_>], of: &[Entry]) -> Result<TermList, OpenError> {
        let mut known = Vec::with_capacity(of.len());
        for entry in of {
            known.push(self.index.terms(&self.key(entry.first), entry.turn)?.ok_or_else(|| {
                OpenError::Integrity("a list of terms of the index is not the one that was written last".into())
            })?);
        }
        let mut known: Vec<&TermList> = known.iter().map(|list| &**list).collect();
        if known.iter().map(|list| list.len()).sum::<usize>() > held.len() * MOST_TERMS {
            known.clear();
        }
        let new = held.iter().filter(|held| known.is_empty() || matches!(held, Held::New(..)));
        Ok(TermList::gather(self.turn, new.map(Held::facts), &known))
    }
}

/// True when a piece and the block after it are small together.
fn poor(piece: &Piece<'_>, next: &Entry) -> bool {
    piece.bytes() < POOR && piece.bytes() + next.bytes as usize <= FULL / 2
}

/// Cuts documents into blocks: the last blocks of a type into full ones and a rest, which will grow; others evenly.
fn chunks(held: Vec<Held<'_>>, last: bool) -> Vec<Vec<Held<'_>>> {
    let total = held.iter().map(Held::size).sum::<usize>();
    let most = match total {
        0..=FITS => usize::MAX,
        _ if last => FULL,
        _ => total / total.div_ceil(FULL),
    };
    let mut chunks: Vec<Vec<Held<'_>>> = Vec::new();
    let mut size = usize::MAX;
    for one in held {
        if size >= most {
            chunks.push(Vec::new());
            size = 0;
        }
        size += one.size();
        if let Some(chunk) = chunks.last_mut() {
            chunk.push(one);
        }
    }
    chunks
}

fn dangling(record: &RecordId) -> OpenError {
    OpenError::Integrity(format!("the index has no document of {record} where its row says"))
}
