//! The JSON types and formats of R4's primitives (<https://hl7.org/fhir/R4/datatypes.html#primitive>).

use std::ops::RangeInclusive;

use serde_json::Value;

/// What is wrong with a value of the primitive type `name`, or nothing.
pub(crate) fn fault(name: &str, value: &Value) -> Option<&'static str> {
    match name {
        "boolean" => (!value.is_boolean()).then_some("must be true or false"),
        "decimal" => (!value.is_number()).then_some("must be a number"),
        "integer" => integer(value, i32::MIN.into()),
        "unsignedInt" => integer(value, 0),
        "positiveInt" => integer(value, 1),
        _ => match value.as_str() {
            None => Some("must be a string"),
            Some("") => Some("must not be empty"),
            Some(text) => of_form(name, text),
        },
    }
}

fn integer(value: &Value, least: i64) -> Option<&'static str> {
    match value.as_i64() {
        Some(n) if (least..=i32::MAX.into()).contains(&n) => None,
        Some(_) => Some("is outside the integers that R4 allows here"),
        None => Some("must be an integer"),
    }
}

fn of_form(name: &str, text: &str) -> Option<&'static str> {
    let (holds, what) = match name {
        "date" => (is_date(text), "must be a date as R4 writes it"),
        "dateTime" => (is_date_time(text), "must be a date or a time with its zone, as R4 writes it"),
        "instant" => (text.contains('T') && is_date_time(text), "must be an instant as R4 writes it"),
        "time" => (is_clock(text), "must be a time of day as R4 writes it"),
        "id" => (is_id(text), "must be 1 to 64 letters, digits, hyphens and dots"),
        "code" => (is_code(text), "must have no spaces but single ones within"),
        "uri" | "url" | "canonical" | "oid" | "uuid" => (!text.contains(WHITE), "must have no spaces"),
        "base64Binary" => (is_base64(text), "must be base64"),
        "string" | "markdown" => (!text.contains('\0'), "must have no NUL"),
        _ => (true, ""),
    };
    (!holds).then_some(what)
}

fn is_id(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
}

/// White space as R4 means it, whose patterns are those of XML Schema; a no-break space is a character like others.
const WHITE: [char; 4] = [' ', '\t', '\n', '\r'];

fn is_code(text: &str) -> bool {
    text.trim_matches(WHITE) == text && !text.contains("  ") && !text.contains(['\t', '\n', '\r'])
}

fn is_base64(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/= \t\r\n".contains(&b))
}

/// `YYYY`, `YYYY-MM` or `YYYY-MM-DD`.
fn is_date(text: &str) -> bool {
    const PARTS: [(usize, RangeInclusive<u16>); 3] = [(4, 1..=9999), (2, 1..=12), (2, 1..=31)];
    let parts: Vec<&str> = text.split('-').collect();
    parts.len() <= PARTS.len() && parts.iter().zip(&PARTS).all(|(part, (digits, range))| number(part, *digits, range))
}

/// A date, or a day and a time to the second with its zone.
fn is_date_time(text: &str) -> bool {
    let Some((day, time)) = text.split_once('T') else { return is_date(text) };
    let Some(at) = time.find(['Z', '+', '-']) else { return false };
    let (clock, zone) = time.split_at(at);
    let offset = |z: &str| z.split_once(':').is_some_and(|(h, m)| number(h, 2, &(0..=14)) && number(m, 2, &(0..=59)));
    day.len() == 10 && is_date(day) && is_clock(clock) && (zone == "Z" || offset(&zone[1..]))
}

/// `hh:mm:ss` with an optional fraction.
fn is_clock(text: &str) -> bool {
    let (clock, fraction) = text.split_once('.').map_or((text, None), |(clock, fraction)| (clock, Some(fraction)));
    let parts: Vec<&str> = clock.split(':').collect();
    parts.len() == 3
        && number(parts[0], 2, &(0..=23))
        && number(parts[1], 2, &(0..=59))
        && number(parts[2], 2, &(0..=60))
        && fraction.is_none_or(|f| !f.is_empty() && f.bytes().all(|b| b.is_ascii_digit()))
}

fn number(text: &str, digits: usize, range: &RangeInclusive<u16>) -> bool {
    text.len() == digits
        && text.bytes().all(|b| b.is_ascii_digit())
        && text.parse().is_ok_and(|n: u16| range.contains(&n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for good in ["2026", "2026-11", "2026-11-22", "2026-11-22T20:54:03Z", "2026-11-22T20:54:03.123+01:00"] {
            assert!(is_date_time(good), "{good}");
        }
        for bad in ["26", "2026-13", "2026-11-22T20:54Z", "2026-11-22T20:54:03", "2026T20:54:03Z", "22.11.2026", "-"] {
            assert!(!is_date_time(bad), "{bad}");
        }
    }
}
