//! Every resource is found by each of its own values.

use super::*;
use crate::{Decimal, DecimalRange, Fact, Kind, Param, date::instant_of, params};

/// HL7's examples, as the tests of extraction have them.
const EXAMPLES: &str = include_str!("../../extract/tests/examples.ndjson");

fn escaped(text: &str) -> String {
    text.chars().flat_map(|c| if matches!(c, '\\' | ',' | '$' | '|') { vec!['\\', c] } else { vec![c] }).collect()
}

fn coded(system: Option<&str>, code: &str) -> String {
    format!("{}|{}", escaped(system.unwrap_or_default()), escaped(code))
}

fn decimal(value: Decimal) -> String {
    let unit = 10_i128.pow(15);
    let sign = if value.0 < 0 { "-" } else { "" };
    format!("{sign}{}.{:015}", (value.0 / unit).abs(), (value.0 % unit).abs())
}

/// A span with an end is reached from below, one without from above.
fn number(range: DecimalRange) -> String {
    if range.high == Decimal::MAX { format!("ge{}", decimal(range.low)) } else { format!("le{}", decimal(range.high)) }
}

/// Queries, after the parameter's name, that find what has this fact.
fn questions(param: &Param, fact: &Fact<'_>) -> Vec<String> {
    match *fact {
        Fact::Token { code: "", text, .. } => vec![format!(":text={}", escaped(text.unwrap()))],
        Fact::Token { system, code, .. } => {
            let by_system = system.map(|system| format!("={}|", escaped(system)));
            [format!("={}", escaped(code)), format!("={}", coded(system, code))].into_iter().chain(by_system).collect()
        }
        Fact::TypedIdentifier { system, code, value } => {
            vec![format!(":of-type={}|{}|{}", escaped(system), escaped(code), escaped(value))]
        }
        Fact::String(text) => {
            let half = text.chars().take(text.chars().count().div_ceil(2)).collect::<String>().to_uppercase();
            let all = escaped(text);
            vec![format!("={all}"), format!(":exact={all}"), format!(":contains={all}"), format!("={}", escaped(&half))]
        }
        Fact::Reference { resource_type, id, url } => {
            let here = id.map(|id| [format!("={id}"), format!("={BASE}/{}/{id}", resource_type.unwrap())]);
            let typed = id.map(|id| format!(":{}={id}", resource_type.unwrap()));
            let may = resource_type.is_none_or(|of| param.targets.is_empty() || param.targets.contains(&of));
            let here = here.filter(|_| may).into_iter().flatten();
            here.chain(typed).chain([format!("={}", escaped(url))]).collect()
        }
        Fact::ReferenceIdentifier { system, value } => vec![format!(":identifier={}", coded(system, value))],
        Fact::Date(range) => vec![format!("=le{}", instant_of(range.end)), format!("=ge{}", instant_of(range.start))],
        Fact::Number(range) => vec![format!("={}", number(range))],
        Fact::Quantity { range, system, code, unit } => {
            let number = number(range);
            let by_system = system.zip(code).map(|(system, code)| format!("={number}|{}", coded(Some(system), code)));
            let by_unit = code.or(unit).map(|unit| format!("={number}||{}", escaped(unit)));
            [format!("={number}")].into_iter().chain(by_system).chain(by_unit).collect()
        }
        Fact::Uri(text) => vec![format!("={}", escaped(text)), format!(":below={}", escaped(text))],
        Fact::Tuple | Fact::Component(_) => Vec::new(),
    }
}

/// Of each tuple one question, of the first value of each of its parts.
fn questions_of_tuples(param: &Param, facts: impl Iterator<Item = Fact<'static>>) -> Vec<String> {
    let (mut all, mut parts, mut at) = (Vec::new(), vec![None; param.components.len()], 0);
    for fact in facts.chain([Fact::Tuple]) {
        match fact {
            Fact::Tuple => {
                all.extend(parts.iter().cloned().collect::<Option<Vec<String>>>());
                parts.fill(None);
            }
            Fact::Component(component) => at = usize::from(component),
            fact => {
                let plain = questions(param.components[at], &fact)
                    .into_iter()
                    .find_map(|q| Some(q.strip_prefix('=')?.to_owned()));
                parts[at] = parts[at].take().or(plain);
            }
        }
    }
    all.into_iter().map(|parts| format!("={}", parts.join("$"))).collect()
}

/// Within a kilometre of each position.
fn places(facts: impl Iterator<Item = Fact<'static>>) -> Vec<String> {
    let numbers = facts.filter_map(|fact| if let Fact::Number(range) = fact { Some(decimal(range.low)) } else { None });
    numbers.collect::<Vec<_>>().chunks(2).map(|pair| format!("={}|1|km", pair.join("|"))).collect()
}

#[test]
fn every_example_is_found_by_each_of_its_values() {
    let resources = EXAMPLES.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>();
    let universe = universe(&resources);
    let mut asked = 0;
    for (key, resource) in (0..).zip(&resources) {
        let (of, id) = (resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
        let facts: &'static [u8] = universe.facts(&key).unwrap().bytes().to_vec().leak();
        for param in params(of).iter().filter(|param| !matches!(param.code, "_id" | "_lastUpdated")) {
            let found_by = || crate::FactsRef::new(facts).of(param.number);
            let mut all = match param.kind {
                Kind::Special => places(found_by()),
                Kind::Composite => questions_of_tuples(param, found_by()),
                _ => found_by().flat_map(|fact| questions(param, &fact)).collect(),
            };
            all.push(format!(":missing={}", found_by().next().is_none()));
            for question in all {
                let text = format!("{}{question}", param.code);
                let (name, value) = text.split_once('=').unwrap();
                let context = Context { base: BASE, now: 0 };
                let pairs = [(name.to_owned(), value.to_owned())];
                let query = Query::parse(Some(of), &pairs, &context, Handling::Strict);
                let query = query.unwrap_or_else(|fault| panic!("{of}?{text}: {fault}"));
                let hits = answer(&universe, &query, &LIMITS).matches;
                assert!(hits.iter().any(|hit| hit.id == id), "{of}/{id} is not found by {text}");
                asked += 1;
            }
        }
    }
    assert!(asked > 900, "only {asked} questions were asked");
}
