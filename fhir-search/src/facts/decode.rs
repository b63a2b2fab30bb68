//! Reading facts where they stand.

use std::str;

use super::{Fact, encode::tag};
use crate::{DateRange, Decimal, DecimalRange};

/// The facts of one parameter.
#[derive(Clone)]
pub struct FactsOf<'a> {
    body: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Iterator for FactsOf<'a> {
    type Item = Fact<'a>;

    #[inline]
    fn next(&mut self) -> Option<Fact<'a>> {
        if self.at >= self.end {
            return None;
        }
        let mut reader = Reader { bytes: self.body, at: self.at };
        let fact = reader.fact();
        // What cannot be read has no known end either.
        self.at = if fact.is_some() { reader.at } else { self.end };
        fact
    }
}

/// All facts with their parameters' numbers.
#[derive(Clone)]
pub struct Numbered<'a> {
    directory: Directory<'a>,
    body: &'a [u8],
    current: (u16, FactsOf<'a>),
}

impl<'a> Iterator for Numbered<'a> {
    type Item = (u16, Fact<'a>);

    fn next(&mut self) -> Option<(u16, Fact<'a>)> {
        loop {
            if let Some(fact) = self.current.1.next() {
                return Some((self.current.0, fact));
            }
            let (number, at, end) = self.directory.next()?;
            self.current = (number, FactsOf { body: self.body, at, end });
        }
    }
}

/// The parameters in turn, with where their facts begin and end in the body.
#[derive(Clone)]
struct Directory<'a> {
    entries: Reader<'a>,
    number: u16,
    end: usize,
}

impl Iterator for Directory<'_> {
    type Item = (u16, usize, usize);

    #[inline]
    fn next(&mut self) -> Option<(u16, usize, usize)> {
        let (difference, length) = (self.entries.length()?, self.entries.length()?);
        let start = self.end;
        self.number = self.number.checked_add(u16::try_from(difference).ok()?)?;
        self.end = start.checked_add(length)?;
        Some((self.number, start, self.end))
    }
}

fn open(bytes: &[u8]) -> (Directory<'_>, &[u8]) {
    let mut reader = Reader { bytes, at: 0 };
    let parts = reader.length().and_then(|length| bytes.get(reader.at..)?.split_at_checked(length));
    let (directory, body) = parts.unwrap_or_default();
    (Directory { entries: Reader { bytes: directory, at: 0 }, number: 0, end: 0 }, body)
}

#[inline]
pub(super) fn of(bytes: &[u8], number: u16) -> FactsOf<'_> {
    let (directory, body) = open(bytes);
    for (found, at, end) in directory {
        if found == number {
            return FactsOf { body, at, end };
        }
        if found > number {
            break;
        }
    }
    FactsOf { body, at: 0, end: 0 }
}

pub(super) fn all(bytes: &[u8]) -> Numbered<'_> {
    let (directory, body) = open(bytes);
    Numbered { directory, body, current: (0, FactsOf { body, at: 0, end: 0 }) }
}

/// The text that stands whole at this place.
pub(super) fn text_at(body: &[u8], at: usize) -> Option<&str> {
    let mut reader = Reader { bytes: body, at };
    match reader.length()? {
        length if length & 1 == 0 => reader.take(length >> 1),
        _ => None,
    }
}

/// The last two parts of an address, which are type and id when it is one of this server.
pub(super) fn last_two(url: &str) -> (Option<&str>, Option<&str>) {
    match url.rsplit_once('/') {
        None => (None, None),
        Some((rest, id)) => (Some(rest.rsplit_once('/').map_or(rest, |(_, last)| last)), Some(id)),
    }
}

#[derive(Clone)]
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    #[inline]
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    #[inline]
    fn length(&mut self) -> Option<usize> {
        let mut number = 0_usize;
        for shift in (0..usize::BITS).step_by(7) {
            let byte = self.byte()?;
            number |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i128> {
        let mut number = 0_u128;
        for shift in (0..u128::BITS).step_by(7) {
            let byte = self.byte()?;
            number |= u128::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
            }
        }
        None
    }

    #[inline]
    fn take(&mut self, length: usize) -> Option<&'a str> {
        let end = self.at.checked_add(length)?;
        let text = str::from_utf8(self.bytes.get(self.at..end)?).ok()?;
        self.at = end;
        Some(text)
    }

    #[inline]
    fn text(&mut self) -> Option<&'a str> {
        match self.length()? {
            // A reference leads back only, to a text that is whole: one step, so nothing can go round in circles.
            place if place & 1 == 1 => text_at(self.bytes, place >> 1),
            length => self.take(length >> 1),
        }
    }

    #[inline]
    fn text_if(&mut self, has: bool) -> Option<Option<&'a str>> {
        if has { self.text().map(Some) } else { Some(None) }
    }

    #[inline]
    fn fact(&mut self) -> Option<Fact<'a>> {
        let byte = self.byte()?;
        let has = |flag: u8| byte & flag != 0;
        Some(match byte & 0x0f {
            tag::TOKEN => {
                Fact::Token { system: self.text_if(has(tag::A))?, code: self.text()?, text: self.text_if(has(tag::B))? }
            }
            tag::TYPED_IDENTIFIER => {
                Fact::TypedIdentifier { system: self.text()?, code: self.text()?, value: self.text()? }
            }
            tag::STRING => Fact::String(self.text()?),
            tag::REFERENCE => self.reference(byte)?,
            tag::REFERENCE_IDENTIFIER => {
                Fact::ReferenceIdentifier { system: self.text_if(has(tag::A))?, value: self.text()? }
            }
            tag::DATE => {
                let start = self.signed()?;
                let end = start.checked_add(self.signed()?)?;
                Fact::Date(DateRange { start: i64::try_from(start).ok()?, end: i64::try_from(end).ok()? })
            }
            tag::NUMBER => Fact::Number(self.decimals()?),
            tag::QUANTITY => Fact::Quantity {
                range: self.decimals()?,
                system: self.text_if(has(tag::A))?,
                code: self.text_if(has(tag::B))?,
                unit: self.text_if(has(tag::C))?,
            },
            tag::URI => Fact::Uri(self.text()?),
            tag::TUPLE => Fact::Tuple,
            tag::COMPONENT => Fact::Component(self.byte()?),
            _ => return None,
        })
    }

    fn reference(&mut self, byte: u8) -> Option<Fact<'a>> {
        let url = self.text()?;
        let (resource_type, id) = match byte & tag::D {
            0 => (self.text_if(byte & tag::A != 0)?, self.text_if(byte & tag::B != 0)?),
            _ => last_two(url),
        };
        Some(Fact::Reference { resource_type, id, url })
    }

    fn decimals(&mut self) -> Option<DecimalRange> {
        let unit = 10_i128.checked_pow(u32::from(self.byte()?))?;
        let low = self.signed()?;
        let high = low.wrapping_add(self.signed()?);
        Some(DecimalRange { low: Decimal(low.checked_mul(unit)?), high: Decimal(high.checked_mul(unit)?) })
    }
}
