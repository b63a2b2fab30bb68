//! What is found in HL7's own examples, written out and compared with what was found to be right by hand.
//!
//! `examples.ndjson` holds examples of HL7's package hl7.fhir.r4.examples 4.0.1 (CC0) without their narrative, and of the
//! electrocardiogram only the first samples of one lead. `facts.txt` is what they can be found by.

use std::fmt::Write;

use super::*;
use crate::{Decimal, DecimalRange, Fact, date::instant_of};

const EXAMPLES: &str = include_str!("examples.ndjson");
const FACTS: &str = include_str!("facts.txt");

#[test]
fn hl7s_examples_are_found_by_what_they_say() {
    let mut written = String::new();
    for line in EXAMPLES.lines() {
        let resource: Value = serde_json::from_str(line).unwrap();
        let name = resource["resourceType"].as_str().unwrap();
        writeln!(written, "{name}/{}", resource["id"].as_str().unwrap()).unwrap();
        written.push_str(&written_out(name, &resource));
    }
    for (n, (found, expected)) in written.lines().zip(FACTS.lines()).enumerate() {
        assert_eq!(found, expected, "facts.txt:{}", n + 1);
    }
    assert_eq!(written.lines().count(), FACTS.lines().count(), "{written}");
}

/// A resource's facts as text, a line for each parameter and tuple, by the parameters' codes.
pub(super) fn written_out(resource_type: &str, resource: &Value) -> String {
    let facts = extract(resource_type, resource, "https://ehr.example/fhir");
    let mut lines = Vec::new();
    for param in crate::params(resource_type) {
        let mut line = format!("  {}:", param.code);
        for (n, fact) in facts.as_ref().of(param.number).enumerate() {
            if n > 0 && matches!(fact, Fact::Tuple) {
                lines.push(std::mem::replace(&mut line, format!("  {}:", param.code)));
            }
            write!(line, " {}", fact_text(fact)).unwrap();
        }
        if !line.ends_with(':') {
            lines.push(line);
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn fact_text(fact: Fact<'_>) -> String {
    let or = |text: Option<&str>| text.unwrap_or("-").to_owned();
    match fact {
        Fact::Token { system, code, text } => format!("[{}|{code} {}]", or(system), or(text)),
        Fact::TypedIdentifier { system, code, value } => format!("[of-type {system}|{code}|{value}]"),
        Fact::String(text) => format!("{text:?}"),
        Fact::Reference { resource_type, id, url } => format!("[{}/{} {url}]", or(resource_type), or(id)),
        Fact::ReferenceIdentifier { system, value } => format!("[identifier {}|{value}]", or(system)),
        Fact::Date(range) => format!("{}…{}", instant_of(range.start), instant_of(range.end)),
        Fact::Number(range) => span(range),
        Fact::Quantity { range, system, code, unit } => {
            format!("[{} {}|{} {}]", span(range), or(system), or(code), or(unit))
        }
        Fact::Uri(text) => format!("<{text}>"),
        Fact::Tuple => "(".to_owned(),
        Fact::Component(number) => format!("{number}="),
    }
}

fn span(DecimalRange { low, high }: DecimalRange) -> String {
    if low == high { decimal(low) } else { format!("{}…{}", decimal(low), decimal(high)) }
}

/// A decimal with all its places, less the zeros at its end.
fn decimal(value: Decimal) -> String {
    match value {
        Decimal::MIN => "-∞".to_owned(),
        Decimal::MAX => "∞".to_owned(),
        Decimal(units) => {
            let digits = format!("{:016}", units.unsigned_abs());
            let (whole, places) = digits.split_at(digits.len() - 15);
            let sign = if units < 0 { "-" } else { "" };
            format!("{sign}{whole}.{places}").trim_end_matches('0').trim_end_matches('.').to_owned()
        }
    }
}
