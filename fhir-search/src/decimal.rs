//! Decimals without floats: what a number's text says, and the span that its precision leaves open.

/// How many decimal places are kept.
const PLACES: i64 = 15;

/// A decimal in units of 10⁻¹⁵, saturated at the ends of what fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal(pub i128);

impl Decimal {
    /// The lowest there is, and everything below.
    pub const MIN: Self = Self(i128::MIN);
    /// The highest there is, and everything above.
    pub const MAX: Self = Self(i128::MAX);

    /// Reads a number as FHIR and JSON write it, with or without a fraction and an exponent. Digits beyond 10⁻¹⁵ are cut
    /// off; a `+` before the number and zeros before its digits are let pass.
    pub fn parse(text: &str) -> Option<Self> {
        Read::parse(text).map(|read| Self(read.value))
    }
}

/// From the lowest to the highest value that is meant, both within.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DecimalRange {
    /// The lowest.
    pub low: Decimal,
    /// The highest.
    pub high: Decimal,
}

impl DecimalRange {
    /// The values that a number in a query stands for: half a unit of its last digit to either side, the upper end not
    /// among them; `100` is [99.5, 100.5) and `1e2` is [50, 150).
    pub fn of_text(text: &str) -> Option<Self> {
        let read = Read::parse(text)?;
        let half = scaled(5, read.last_digit.saturating_sub(1));
        let low = read.value.saturating_sub(half);
        // The last unit is taken off because both ends are within.
        let high = read.value.saturating_add(half).saturating_sub(1).max(read.value);
        Some(Self { low: Decimal(low), high: Decimal(high) })
    }

    /// One value alone. Numbers in resources are such: R4 gives their precision no meaning in a search.
    pub fn exactly(value: Decimal) -> Self {
        Self { low: value, high: value }
    }

    /// True when both share a value.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.low <= other.high && other.low <= self.high
    }

    /// True when `other` lies within.
    pub fn contains(&self, other: &Self) -> bool {
        self.low <= other.low && other.high <= self.high
    }
}

/// A number's text taken apart.
struct Read {
    value: i128,
    /// The power of ten of the last digit that is written.
    last_digit: i64,
}

impl Read {
    fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], exponent(&text[at + 1..])?),
            None => (text, 0),
        };
        let (negative, digits) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        let empty = whole.is_empty() || (fraction.is_empty() && digits.contains('.'));
        if empty || !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        let last_digit = exponent.saturating_sub(i64::try_from(fraction.len()).ok()?);
        let beyond = usize::try_from((-PLACES).saturating_sub(last_digit)).unwrap_or(0);
        let kept = (whole.len() + fraction.len()).saturating_sub(beyond);
        let digits = whole.bytes().chain(fraction.bytes()).take(kept);
        let sum = digits.fold(0_i128, |sum, digit| sum.saturating_mul(10).saturating_add(i128::from(digit - b'0')));
        let value = scaled(sum, last_digit.max(-PLACES));
        Some(Self { value: if negative { value.saturating_neg() } else { value }, last_digit })
    }
}

/// `number` × 10^`power` in units of 10⁻¹⁵, cut off and saturated.
fn scaled(number: i128, power: i64) -> i128 {
    match u32::try_from(power.saturating_add(PLACES)) {
        Err(_) if power < 0 => 0,
        _ if number == 0 => 0,
        Err(_) => i128::MAX,
        Ok(places) => 10_i128.checked_pow(places).map_or(i128::MAX, |unit| number.saturating_mul(unit)),
    }
}

/// An exponent, saturated: what is beyond nine digits is beyond all that fits.
fn exponent(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number = digits.parse().unwrap_or(i64::MAX).min(1_000_000_000);
    Some(if negative { -number } else { number })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: i128 = 1_000_000_000_000_000;

    fn parsed(text: &str) -> i128 {
        Decimal::parse(text).unwrap().0
    }

    #[test]
    fn numbers_are_read_exactly() {
        for (text, value) in [
            ("0", 0),
            ("-0.0", 0),
            ("1", ONE),
            ("+1", ONE),
            ("007", 7 * ONE),
            ("70.5", 705 * ONE / 10),
            ("-70.50", -705 * ONE / 10),
            ("1e2", 100 * ONE),
            ("1.5E+3", 1500 * ONE),
            ("5.40e-3", 54 * ONE / 10_000),
            ("0.000000000000001", 1),
            ("0.0000000000000019", 1),
            ("1e-16", 0),
            ("-1e-999999999999999999999", 0),
            ("0e999999999999999999999", 0),
            ("1e999999999999999999999", i128::MAX),
            ("-1e30", i128::MIN + 1),
            ("123456789012345678901234567890", i128::MAX),
        ] {
            assert_eq!(parsed(text), value, "{text}");
        }
        assert_eq!(parsed(&format!("1.{}", "3".repeat(5000))), ONE + ONE / 3);
    }

    #[test]
    fn what_is_no_number_is_none() {
        for bad in ["", "-", "+", ".", ".5", "5.", "1e", "e2", "1e+", "--1", "1 ", "0x1", "1e2.5", "NaN", "½", "1_000"]
        {
            assert_eq!(Decimal::parse(bad), None, "{bad}");
            assert_eq!(DecimalRange::of_text(bad), None, "{bad}");
        }
    }

    /// The examples of <https://hl7.org/fhir/R4/search.html#number> and of the section on quantities.
    #[test]
    fn a_query_means_half_a_unit_to_either_side() {
        for (text, low, above) in [
            ("100", "99.5", "100.5"),
            ("100.00", "99.995", "100.005"),
            ("5.4", "5.35", "5.45"),
            ("5.40e-3", "0.005395", "0.005405"),
            ("-5.4", "-5.45", "-5.35"),
            ("1e2", "50", "150"),
            ("0", "-0.5", "0.5"),
        ] {
            let range = DecimalRange::of_text(text).unwrap();
            assert_eq!((range.low.0, range.high.0), (parsed(low), parsed(above) - 1), "{text}");
        }
        let tiny = DecimalRange::of_text("1e-20").unwrap();
        assert_eq!((tiny.low.0, tiny.high.0), (0, 0));
    }

    proptest! {
        #[test]
        fn a_query_finds_its_own_number(text in "-?[0-9]{1,40}(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?") {
            let value = DecimalRange::exactly(Decimal::parse(&text).unwrap());
            prop_assert!(DecimalRange::of_text(&text).unwrap().contains(&value));
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "[-+0-9.eE]{0,30}|.{0,20}") {
            let _ = DecimalRange::of_text(&text);
        }
    }
}
