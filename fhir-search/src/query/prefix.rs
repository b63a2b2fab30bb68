//! The prefixes of ordered values and what they mean for ranges (<https://hl7.org/fhir/R4/search.html#prefix>).

use crate::{DateRange, Decimal, DecimalRange};

/// How the value in a resource stands to the value in the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prefix {
    Eq,
    Ne,
    Gt,
    Lt,
    Ge,
    Le,
    Sa,
    Eb,
    Ap,
}

impl Prefix {
    /// Takes the prefix off; `eq` when there is none, None when it is none of R4's.
    pub(super) fn take(text: &str) -> Option<(Self, &str)> {
        let letters = text.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (prefix, rest) = text.split_at(letters);
        let prefix = match prefix {
            "" | "eq" => Self::Eq,
            "ne" => Self::Ne,
            "gt" => Self::Gt,
            "lt" => Self::Lt,
            "ge" => Self::Ge,
            "le" => Self::Le,
            "sa" => Self::Sa,
            "eb" => Self::Eb,
            "ap" => Self::Ap,
            _ => return None,
        };
        Some((prefix, rest))
    }
}

/// A span of time to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DateTest {
    pub(crate) prefix: Prefix,
    /// For `ap` already widened.
    pub(crate) range: DateRange,
}

impl DateTest {
    /// `ap` reaches a tenth of the time between now and the date to either side, which is what R4 recommends.
    pub(super) fn new(prefix: Prefix, range: DateRange, now: i64) -> Self {
        if prefix != Prefix::Ap {
            return Self { prefix, range };
        }
        let gap =
            if range.start > now { range.start.saturating_sub(now) } else { now.saturating_sub(range.end).max(0) };
        let reach = gap / 10;
        let range = DateRange { start: range.start.saturating_sub(reach), end: range.end.saturating_add(reach) };
        Self { prefix, range }
    }

    /// Does a span in a resource stand to it as the prefix says?
    #[inline]
    pub(crate) fn holds(&self, found: DateRange) -> bool {
        let asked = self.range;
        match self.prefix {
            Prefix::Eq => asked.contains(&found),
            Prefix::Ne => !asked.contains(&found),
            Prefix::Gt => found.end > asked.end,
            Prefix::Lt => found.start < asked.start,
            Prefix::Ge => found.end > asked.end || asked.contains(&found),
            Prefix::Le => found.start < asked.start || asked.contains(&found),
            Prefix::Sa => found.start > asked.end,
            Prefix::Eb => found.end < asked.start,
            Prefix::Ap => asked.overlaps(&found),
        }
    }
}

/// A number to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NumberTest {
    pub(crate) prefix: Prefix,
    /// What the number's precision leaves open, or its neighbourhood for `ap`; the number alone for all but `eq`, `ne`, `ap`.
    pub(crate) range: DecimalRange,
}

impl NumberTest {
    /// Reads the number. `ap` reaches a tenth of it to either side, and at least what its precision leaves open.
    pub(super) fn parse(prefix: Prefix, text: &str) -> Option<Self> {
        let exact = Decimal::parse(text)?;
        let implied = DecimalRange::of_text(text)?;
        let range = match prefix {
            Prefix::Eq | Prefix::Ne => implied,
            Prefix::Ap => {
                let reach = (exact.0 / 10).saturating_abs();
                DecimalRange {
                    low: implied.low.min(Decimal(exact.0.saturating_sub(reach))),
                    high: implied.high.max(Decimal(exact.0.saturating_add(reach))),
                }
            }
            // R4: with these the number is taken as exact, whatever its precision.
            _ => DecimalRange::exactly(exact),
        };
        Some(Self { prefix, range })
    }

    /// Does a number or a range in a resource stand to it as the prefix says?
    #[inline]
    pub(crate) fn holds(&self, found: DecimalRange) -> bool {
        let asked = self.range;
        match self.prefix {
            Prefix::Eq => asked.contains(&found),
            Prefix::Ne => !asked.contains(&found),
            Prefix::Gt => found.high > asked.high,
            Prefix::Lt => found.low < asked.low,
            Prefix::Ge => found.high > asked.high || asked.contains(&found),
            Prefix::Le => found.low < asked.low || asked.contains(&found),
            Prefix::Sa => found.low > asked.high,
            Prefix::Eb => found.high < asked.low,
            Prefix::Ap => asked.overlaps(&found),
        }
    }
}
