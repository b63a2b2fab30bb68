//! Writing facts.

use std::collections::HashMap;

use zeroize::Zeroizing;

use super::{Fact, Facts};
use crate::{DateRange, DecimalRange};

/// What kind of fact follows, in the low four bits of its first byte; the high bits say which parts it has.
pub(super) mod tag {
    pub(in crate::facts) const TOKEN: u8 = 0;
    pub(in crate::facts) const TYPED_IDENTIFIER: u8 = 1;
    pub(in crate::facts) const STRING: u8 = 2;
    pub(in crate::facts) const REFERENCE: u8 = 3;
    pub(in crate::facts) const REFERENCE_IDENTIFIER: u8 = 4;
    pub(in crate::facts) const DATE: u8 = 5;
    pub(in crate::facts) const NUMBER: u8 = 6;
    pub(in crate::facts) const QUANTITY: u8 = 7;
    pub(in crate::facts) const URI: u8 = 8;
    pub(in crate::facts) const TUPLE: u8 = 9;
    pub(in crate::facts) const COMPONENT: u8 = 10;

    pub(in crate::facts) const A: u8 = 0x10;
    pub(in crate::facts) const B: u8 = 0x20;
    pub(in crate::facts) const C: u8 = 0x40;
    /// Of references: type and id are the last two parts of the address and are not written again.
    pub(in crate::facts) const D: u8 = 0x80;
}

/// Shorter texts than this are not worth a reference back.
const SHORTEST_REPEATED: usize = 3;

/// Gathers facts, by ascending parameter number.
#[derive(Default)]
pub struct FactsBuilder {
    directory: Vec<(u16, usize)>,
    body: Zeroizing<Vec<u8>>,
    texts: Texts,
}

impl FactsBuilder {
    /// Adds a fact to a parameter, whose number is not lower than the one before.
    pub fn push(&mut self, number: u16, fact: Fact<'_>) {
        debug_assert!(
            self.directory.last().is_none_or(|(last, _)| *last <= number),
            "parameters come in ascending order"
        );
        let before = self.body.len();
        self.write(fact);
        let length = self.body.len() - before;
        match self.directory.last_mut() {
            Some((last, sum)) if *last == number => *sum += length,
            _ => self.directory.push((number, length)),
        }
    }

    /// All of it.
    pub fn finish(self) -> Facts {
        let mut directory = Vec::with_capacity(self.directory.len() * 3);
        let mut last = 0;
        for (number, length) in &self.directory {
            varint(&mut directory, u128::from(number.saturating_sub(last)));
            varint(&mut directory, *length as u128);
            last = *number;
        }
        let mut bytes = Vec::with_capacity(directory.len() + self.body.len() + 4);
        varint(&mut bytes, directory.len() as u128);
        bytes.extend_from_slice(&directory);
        bytes.extend_from_slice(&self.body);
        Facts::from_bytes(bytes)
    }

    fn write(&mut self, fact: Fact<'_>) {
        match fact {
            Fact::Token { system, code, text } => {
                self.tag(tag::TOKEN, [system.is_some(), text.is_some(), false, false]);
                self.texts([system, Some(code), text]);
            }
            Fact::TypedIdentifier { system, code, value } => {
                self.tag(tag::TYPED_IDENTIFIER, [false; 4]);
                self.texts([Some(system), Some(code), Some(value)]);
            }
            Fact::String(text) => {
                self.tag(tag::STRING, [false; 4]);
                self.text(text);
            }
            Fact::Reference { resource_type, id, url } => self.reference(resource_type, id, url),
            Fact::ReferenceIdentifier { system, value } => {
                self.tag(tag::REFERENCE_IDENTIFIER, [system.is_some(), false, false, false]);
                self.texts([system, Some(value), None]);
            }
            Fact::Date(DateRange { start, end }) => {
                self.tag(tag::DATE, [false; 4]);
                signed(&mut self.body, i128::from(start));
                signed(&mut self.body, i128::from(end) - i128::from(start));
            }
            Fact::Number(range) => {
                self.tag(tag::NUMBER, [false; 4]);
                decimals(&mut self.body, range);
            }
            Fact::Quantity { range, system, code, unit } => {
                self.tag(tag::QUANTITY, [system.is_some(), code.is_some(), unit.is_some(), false]);
                decimals(&mut self.body, range);
                self.texts([system, code, unit]);
            }
            Fact::Uri(text) => {
                self.tag(tag::URI, [false; 4]);
                self.text(text);
            }
            Fact::Tuple => self.tag(tag::TUPLE, [false; 4]),
            Fact::Component(number) => {
                self.tag(tag::COMPONENT, [false; 4]);
                self.body.push(number);
            }
        }
    }

    fn reference(&mut self, resource_type: Option<&str>, id: Option<&str>, url: &str) {
        let implied = id.is_some() && super::decode::last_two(url) == (resource_type, id);
        let apart = !implied;
        self.tag(tag::REFERENCE, [apart && resource_type.is_some(), apart && id.is_some(), false, implied]);
        self.text(url);
        if apart {
            self.texts([resource_type, id, None]);
        }
    }

    fn tag(&mut self, kind: u8, has: [bool; 4]) {
        let flags = [tag::A, tag::B, tag::C, tag::D];
        self.body.push(has.iter().zip(flags).filter(|(has, _)| **has).fold(kind, |byte, (_, flag)| byte | flag));
    }

    fn texts(&mut self, texts: [Option<&str>; 3]) {
        texts.into_iter().flatten().for_each(|text| self.text(text));
    }

    /// A text is `length << 1` and its bytes, or `place << 1 | 1` where it stands already.
    fn text(&mut self, text: &str) {
        match self.texts.place(text, &self.body) {
            Some(place) => varint(&mut self.body, (place as u128) << 1 | 1),
            None => {
                varint(&mut self.body, (text.len() as u128) << 1);
                self.body.extend_from_slice(text.as_bytes());
            }
        }
    }
}

/// Where texts stand in the body, by their hash. Of two with one hash only the first is found again, which costs a few
/// bytes and changes no meaning.
#[derive(Default)]
struct Texts(HashMap<u64, usize>);

impl Texts {
    /// Where this text stands, if it does; else it is noted that it will stand at the end.
    fn place(&mut self, text: &str, body: &[u8]) -> Option<usize> {
        if text.len() < SHORTEST_REPEATED {
            return None;
        }
        let hash = std::hash::BuildHasher::hash_one(self.0.hasher(), text);
        let place = *self.0.entry(hash).or_insert(body.len());
        (super::decode::text_at(body, place) == Some(text)).then_some(place)
    }
}

pub(super) fn varint(out: &mut Vec<u8>, mut number: u128) {
    loop {
        let low = u8::try_from(number & 0x7f).expect("seven bits are a byte");
        number >>= 7;
        if number == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

fn signed(out: &mut Vec<u8>, number: i128) {
    varint(out, ((number << 1) ^ (number >> 127)).cast_unsigned());
}

/// How many zeros both end in, then the lower without them, then the difference.
fn decimals(out: &mut Vec<u8>, DecimalRange { low, high }: DecimalRange) {
    let (mut low, mut high, mut zeros) = (low.0, high.0, 0_u8);
    // Nearly all numbers fit 64 bits, where a division costs a tenth.
    if let (Ok(mut l), Ok(mut h)) = (i64::try_from(low), i64::try_from(high)) {
        while (l != 0 || h != 0) && l % 10 == 0 && h % 10 == 0 {
            (l, h, zeros) = (l / 10, h / 10, zeros + 1);
        }
        (low, high) = (i128::from(l), i128::from(h));
    } else {
        while low % 10 == 0 && high % 10 == 0 {
            (low, high, zeros) = (low / 10, high / 10, zeros + 1);
        }
    }
    out.push(zeros);
    signed(out, low);
    signed(out, high.wrapping_sub(low));
}
