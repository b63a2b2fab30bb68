//! What blocks may hold: the terms of their documents as short hashes, so that a search over all charts opens few blocks.
//!
//! A list of terms lies sealed beside its block. The terms themselves, blinded or not, are never keys of the database: how
//! often a key occurs, and in which charts, would tell who holds the disk what a code is.

use std::sync::Arc;

use vouchsafe_fhir_search::{FactsRef, Need, terms};

use super::codec::{Reader, misformed, number};
use crate::records::OpenError;

/// The form that is written, which also names the terms that documents are filed under. A list of another form says
/// nothing, and then its block is looked at.
const FORM: u8 = 1;

/// Hashes a term; kept on the disk, so it is the same in every version of this program. It is no secret and keeps none:
/// two terms of one hash cost a look at a block.
pub(super) fn hash(term: &[u8]) -> u32 {
    const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut state = term.len() as u64 ^ PRIME;
    for chunk in term.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        let product = u128::from(state ^ u64::from_le_bytes(word)) * u128::from(PRIME);
        let [low, high] = [product, product >> 64].map(|half| u64::try_from(half & u128::from(u64::MAX)).unwrap_or(0));
        state = low ^ high;
    }
    let [.., a, b, c, d] = (state ^ state >> 32).wrapping_mul(PRIME).rotate_left(32).to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// What is needed, as hashes: of each inner list one at least.
pub(super) struct Needed(Vec<Vec<u32>>);

impl Needed {
    pub(super) fn of(need: &Need) -> Self {
        Self(need.iter().map(|any| any.iter().map(|term| hash(&term.0)).collect()).collect())
    }

    /// True when anything can lack it.
    pub(super) const fn says_something(&self) -> bool {
        !self.0.is_empty()
    }

    /// True when of each list one is there.
    pub(super) fn met(&self, there: impl Fn(u32) -> bool) -> bool {
        self.0.iter().all(|any| any.iter().any(|hash| there(*hash)))
    }
}

/// The terms that a block may hold, as ascending hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TermList {
    /// The turn of its block.
    pub(super) turn: u64,
    /// None when it is of another form and says nothing.
    pub(super) hashes: Option<Arc<[u32]>>,
}

impl TermList {
    /// Of the documents with these facts, and of the lists of blocks that they were in.
    pub(super) fn gather<'a>(turn: u64, new: impl Iterator<Item = FactsRef<'a>>, old: &[&Self]) -> Self {
        let mut hashes = Vec::new();
        for list in old {
            match &list.hashes {
                Some(known) => hashes.extend_from_slice(known),
                None => return Self { turn, hashes: None },
            }
        }
        for facts in new {
            hashes.extend(terms(facts).iter().map(|term| hash(&term.0)));
        }
        hashes.sort_unstable();
        hashes.dedup();
        Self { turn, hashes: Some(hashes.into()) }
    }

    /// True when the block may hold what is needed.
    pub(super) fn may_hold(&self, needed: &Needed) -> bool {
        self.hashes.as_ref().is_none_or(|hashes| needed.met(|hash| hashes.binary_search(&hash).is_ok()))
    }

    pub(super) fn len(&self) -> usize {
        self.hashes.as_ref().map_or(0, |hashes| hashes.len())
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let Some(hashes) = &self.hashes else {
            let mut out = vec![0];
            number(&mut out, self.turn);
            return out;
        };
        let mut out = Vec::with_capacity(10 + hashes.len() * 4);
        out.push(FORM);
        number(&mut out, self.turn);
        let mut before = 0;
        for hash in hashes.iter() {
            number(&mut out, u64::from(hash - before));
            before = *hash;
        }
        out
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, OpenError> {
        Self::parse(bytes).ok_or_else(|| misformed("a list of terms"))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let form = reader.byte()?;
        let turn = reader.number()?;
        if form != FORM {
            return Some(Self { turn, hashes: None });
        }
        let mut hashes = Vec::with_capacity(bytes.len() / 3);
        let mut before = 0_u32;
        while !reader.ended() {
            before = before.checked_add(reader.small()?)?;
            hashes.push(before);
        }
        Some(Self { turn, hashes: Some(hashes.into()) })
    }

    /// How many bytes it holds in memory.
    pub(super) fn cost(&self) -> usize {
        64 + self.hashes.as_ref().map_or(0, |hashes| hashes.len() * 4)
    }
}
