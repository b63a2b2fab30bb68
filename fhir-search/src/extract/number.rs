//! Numbers, quantities and their ranges (<https://hl7.org/fhir/R4/search.html#quantity>).

use serde_json::Value;

use super::convert::{Out, text};
use crate::{Decimal, DecimalRange, Fact};

/// The system of the currencies of Money.
const CURRENCIES: &str = "urn:iso:std:iso:4217";

/// The number that a JSON number's own text says.
fn decimal(value: &Value) -> Option<Decimal> {
    match value {
        Value::Number(number) => Decimal::parse(number.as_str()),
        _ => None,
    }
}

/// A number alone.
pub(super) fn number(element: &Value, out: &mut Out<'_>) {
    if let Some(value) = decimal(element) {
        out.push(Fact::Number(DecimalRange::exactly(value)));
    }
}

/// A Range as a number, without its units.
pub(super) fn number_range(element: &Value, out: &mut Out<'_>) {
    if let Some(range) = span(element) {
        out.push(Fact::Number(range));
    }
}

/// A Quantity, or what is made like it: an Age, a Duration, a Count, a Distance.
pub(super) fn quantity(element: &Value, out: &mut Out<'_>) {
    let Some(value) = element.get("value").and_then(decimal) else { return };
    let (low, high) = match text(element, "comparator") {
        Some("<") => (Decimal::MIN, Decimal(value.0.saturating_sub(1))),
        Some("<=") => (Decimal::MIN, value),
        Some(">") => (Decimal(value.0.saturating_add(1)), Decimal::MAX),
        Some(">=") => (value, Decimal::MAX),
        _ => (value, value),
    };
    with_unit(DecimalRange { low, high }, element, out);
}

/// An amount of money; its currency is its unit.
pub(super) fn money(element: &Value, out: &mut Out<'_>) {
    let Some(value) = element.get("value").and_then(decimal) else { return };
    let currency = text(element, "currency");
    out.push(Fact::Quantity {
        range: DecimalRange::exactly(value),
        system: currency.map(|_| CURRENCIES),
        code: currency,
        unit: None,
    });
}

/// A Range.
pub(super) fn range(element: &Value, out: &mut Out<'_>) {
    let unit = element.get("low").or_else(|| element.get("high"));
    if let (Some(range), Some(unit)) = (span(element), unit) {
        with_unit(range, unit, out);
    }
}

/// The bounds of sampled data, which is what R4 searches them by.
pub(super) fn sampled(element: &Value, out: &mut Out<'_>) {
    let (Some(origin), Some(data)) = (element.get("origin"), text(element, "data")) else { return };
    let Some(zero) = origin.get("value").and_then(decimal) else { return };
    let member = |name| element.get(name).and_then(decimal);
    let factor = member("factor");
    let scaled = |sample: Decimal| match factor {
        None => sample.0.saturating_add(zero.0),
        Some(factor) => product(sample.0, factor.0).saturating_add(zero.0),
    };
    let mut bounds = None::<(i128, i128)>;
    for sample in data.split_ascii_whitespace() {
        // `E` is a sample that failed; `L` and `U` are ones beyond what could be measured.
        let value = match sample {
            "L" => member("lowerLimit").map(scaled),
            "U" => member("upperLimit").map(scaled),
            number => Decimal::parse(number).map(scaled),
        };
        if let Some(value) = value {
            let (low, high) = bounds.unwrap_or((value, value));
            bounds = Some((low.min(value), high.max(value)));
        }
    }
    if let Some((low, high)) = bounds {
        with_unit(DecimalRange { low: Decimal(low), high: Decimal(high) }, origin, out);
    }
}

/// A position (`Location.position`): latitude and longitude, as the two components of a tuple.
pub(super) fn position(element: &Value, out: &mut Out<'_>) {
    let member = |name| element.get(name).and_then(decimal).map(DecimalRange::exactly);
    if let (Some(latitude), Some(longitude)) = (member("latitude"), member("longitude")) {
        let parts = [Fact::Component(0), Fact::Number(latitude), Fact::Component(1), Fact::Number(longitude)];
        out.push(Fact::Tuple);
        parts.into_iter().for_each(|fact| out.push(fact));
    }
}

/// From the low to the high of a Range; an end that is missing is open.
fn span(element: &Value) -> Option<DecimalRange> {
    let end = |name| element.get(name).and_then(|end| end.get("value")).and_then(decimal);
    match (end("low"), end("high")) {
        (None, None) => None,
        (low, high) => Some(DecimalRange { low: low.unwrap_or(Decimal::MIN), high: high.unwrap_or(Decimal::MAX) }),
    }
}

fn with_unit(range: DecimalRange, quantity: &Value, out: &mut Out<'_>) {
    let (system, code, unit) = (text(quantity, "system"), text(quantity, "code"), text(quantity, "unit"));
    out.push(Fact::Quantity { range, system, code, unit });
}

/// The product of two numbers in units of 10⁻¹⁵, saturated.
fn product(a: i128, b: i128) -> i128 {
    const UNIT: i128 = 1_000_000_000_000_000;
    match a.checked_mul(b) {
        Some(product) => product / UNIT,
        // Too large as it is: the last places are given up first.
        None => (a / 1_000_000).saturating_mul(b / 1_000_000).saturating_div(1000),
    }
}
