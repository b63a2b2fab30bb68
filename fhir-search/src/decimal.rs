//! Decimals without floats: what a number's text says, and the span that its precision leaves open.

/// A decimal in units of 10⁻¹⁵, saturated at the ends of what fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal(pub i128);

/// From the lowest to the highest value that is meant, both within.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DecimalRange {
    /// The lowest.
    pub low: Decimal,
    /// The highest.
    pub high: Decimal,
}
