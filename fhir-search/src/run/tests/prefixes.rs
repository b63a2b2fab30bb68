//! Prefixes against sets: what R4 says of ranges, said once more of the points that ranges consist of.

use std::collections::BTreeSet;

use proptest::{prelude::*, sample::select};
use serde_json::json;

use super::*;

const PREFIXES: &[&str] = &["", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb"];

/// What R4's table says, word for word: "the range above the search value intersects the range of the target value".
/// `above` and `below` are without the search value itself.
fn holds(prefix: &str, asked: &BTreeSet<i64>, found: &BTreeSet<i64>) -> bool {
    let (first, last) = (*asked.first().unwrap(), *asked.last().unwrap());
    let above = |point: &i64| *point > last;
    let below = |point: &i64| *point < first;
    let contained = found.is_subset(asked);
    match prefix {
        "" | "eq" => contained,
        "ne" => !contained,
        "gt" => found.iter().any(above),
        "lt" => found.iter().any(below),
        "ge" => found.iter().any(above) || contained,
        "le" => found.iter().any(below) || contained,
        "sa" => found.iter().all(above),
        "eb" => found.iter().all(below),
        _ => unreachable!("no other is drawn"),
    }
}

/// Two years of days, by their distance from 2019-01-01: what a text of any precision covers.
fn days(text: &str) -> BTreeSet<i64> {
    let lengths = |year: i64| [31, if year == 2020 { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut all = Vec::new();
    for year in [2019, 2020] {
        for (month, length) in (1..).zip(lengths(year)) {
            all.extend((1..=length).map(|day| format!("{year}-{month:02}-{day:02}")));
        }
    }
    (0..).zip(&all).filter(|(_, day)| day.starts_with(text)).map(|(at, _)| at).collect()
}

fn date() -> impl Strategy<Value = String> {
    let texts = [
        "2019",
        "2020",
        "2019-12",
        "2020-01",
        "2020-02",
        "2019-12-31",
        "2020-01-01",
        "2020-01-31",
        "2020-02-01",
        "2020-02-29",
    ];
    select(texts.map(str::to_owned).to_vec())
}

/// Numbers in thousandths: a half unit of any precision is whole.
fn thousandths(text: &str) -> i64 {
    let value = text.parse::<f64>().unwrap() * 1000.0;
    #[allow(clippy::cast_possible_truncation, reason = "it is a small whole number")]
    return value.round() as i64;
}

/// What a number in a query covers: half a unit of its last digit to either side, the upper end not among them.
fn implied(text: &str, exact: bool) -> BTreeSet<i64> {
    let value = thousandths(text);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let places = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let unit = 10_f64.powi(exponent.parse::<i32>().unwrap() - i32::try_from(places).unwrap());
    #[allow(clippy::cast_possible_truncation, reason = "it is a small whole number")]
    let half = (unit * 500.0).round() as i64;
    if exact { BTreeSet::from([value]) } else { (value - half..value + half).collect() }
}

fn number() -> impl Strategy<Value = String> {
    let texts =
        ["9", "10", "10.0", "10.00", "9.5", "9.50", "1e1", "10.4", "10.5", "9.95", "10.05", "-1", "0", "0.5", "-0.5"];
    select(texts.map(str::to_owned).to_vec())
}

fn is_found(resource: &Value, query: &str) -> bool {
    found(&universe(std::slice::from_ref(resource)), query) == "x"
}

proptest! {
    #[test]
    fn dates(prefix in select(PREFIXES), asked in date(), start in date(), end in proptest::option::of(date())) {
        let (resource, covered) = match &end {
            None => (json!({"resourceType": "Procedure", "id": "x", "performedDateTime": start}), days(&start)),
            Some(end) if end >= &start => {
                let period = json!({"start": start, "end": end});
                let covered = (*days(&start).first().unwrap()..=*days(end).last().unwrap()).collect();
                (json!({"resourceType": "Procedure", "id": "x", "performedPeriod": period}), covered)
            }
            Some(_) => return Ok(()),
        };
        let expected = holds(prefix, &days(&asked), &covered);
        prop_assert_eq!(is_found(&resource, &format!("Procedure?date={prefix}{asked}")), expected);
    }

    #[test]
    fn numbers(prefix in select(PREFIXES), asked in number(), value in number()) {
        let resource = json!({"resourceType": "RiskAssessment", "id": "x", "prediction": [{
            "probabilityDecimal": serde_json::from_str::<Value>(&value).unwrap(),
        }]});
        let exact = !matches!(prefix, "" | "eq" | "ne");
        let expected = holds(prefix, &implied(&asked, exact), &BTreeSet::from([thousandths(&value)]));
        prop_assert_eq!(is_found(&resource, &format!("RiskAssessment?probability={prefix}{asked}")), expected);
    }

    #[test]
    fn quantities(prefix in select(PREFIXES), asked in number(), low in number(), high in number()) {
        prop_assume!(thousandths(&low) <= thousandths(&high));
        let end = |text: &str| json!({"value": serde_json::from_str::<Value>(text).unwrap(), "unit": "mg"});
        // Condition's age at onset may be a Range, which is a span in the resource too.
        let resource = json!({"resourceType": "Condition", "id": "x", "onsetRange": {"low": end(&low), "high": end(&high)}});
        let exact = !matches!(prefix, "" | "eq" | "ne");
        let covered = (thousandths(&low)..=thousandths(&high)).collect();
        let expected = holds(prefix, &implied(&asked, exact), &covered);
        prop_assert_eq!(is_found(&resource, &format!("Condition?onset-age={prefix}{asked}||mg")), expected);
    }
}
