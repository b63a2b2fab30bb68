//! How elements become facts, by their type and the parameter's kind (<https://hl7.org/fhir/R4/search.html#ptypes>).

use serde_json::Value;

use super::{number, plan::Parts, reference};
use crate::{DateRange, Fact, FactsBuilder, Kind};

/// How an element becomes facts.
pub(super) enum How {
    Code,
    Boolean,
    Coding,
    Concept,
    Identifier,
    Contact,
    Text,
    Name,
    Address,
    Reference,
    Canonical,
    /// A resource that is itself in place of a reference, when it is of one of these types.
    Resource(&'static [&'static str]),
    Date,
    Period,
    Timing,
    Number,
    NumberRange,
    Quantity,
    Money,
    Range,
    Sampled,
    Uri,
    CanonicalUri,
    Position,
    Composite(Box<Parts>),
}

impl How {
    /// How an element of this type becomes facts of a parameter of this kind; none when R4 has no such way.
    pub(super) fn of(kind: Kind, targets: &'static [&'static str], of: &str) -> Option<Self> {
        Some(match (kind, of) {
            (Kind::Token, "Coding") => Self::Coding,
            (Kind::Token, "CodeableConcept") => Self::Concept,
            (Kind::Token, "Identifier") => Self::Identifier,
            (Kind::Token, "ContactPoint") => Self::Contact,
            (Kind::Token, "boolean") => Self::Boolean,
            (Kind::Token, "code" | "id" | "string" | "uri" | "url" | "canonical" | "oid" | "uuid") => Self::Code,
            (Kind::String, "string" | "markdown" | "code" | "id" | "uri") => Self::Text,
            (Kind::String, "HumanName") => Self::Name,
            (Kind::String, "Address") => Self::Address,
            (Kind::Reference, "Reference") => Self::Reference,
            (Kind::Reference, "canonical" | "uri" | "url") => Self::Canonical,
            (Kind::Reference, "Resource") => Self::Resource(targets),
            (Kind::Date, "date" | "dateTime" | "instant") => Self::Date,
            (Kind::Date, "Period") => Self::Period,
            (Kind::Date, "Timing") => Self::Timing,
            (Kind::Number, "decimal" | "integer" | "positiveInt" | "unsignedInt") => Self::Number,
            (Kind::Number, "Range") => Self::NumberRange,
            (Kind::Quantity, "Quantity" | "Age" | "Duration" | "Count" | "Distance") => Self::Quantity,
            (Kind::Quantity, "Money") => Self::Money,
            (Kind::Quantity, "Range") => Self::Range,
            (Kind::Quantity, "SampledData") => Self::Sampled,
            (Kind::Uri, "canonical") => Self::CanonicalUri,
            (Kind::Uri, "uri" | "url" | "oid" | "uuid") => Self::Uri,
            (Kind::Special, "Location.position") => Self::Position,
            _ => return None,
        })
    }
}

/// Where the facts of one parameter go.
pub(super) struct Out<'a> {
    pub(super) facts: &'a mut FactsBuilder,
    pub(super) number: u16,
    /// The server's FHIR base.
    pub(super) base: &'a str,
}

impl Out<'_> {
    pub(super) fn push(&mut self, fact: Fact<'_>) {
        self.facts.push(self.number, fact);
    }

    fn token(&mut self, system: Option<&str>, code: Option<&str>, text: Option<&str>) {
        // A system alone names nothing.
        if code.is_some() || text.is_some() {
            self.push(Fact::Token { system, code: code.unwrap_or_default(), text });
        }
    }

    fn string(&mut self, text: Option<&str>) {
        if let Some(text) = text {
            self.push(Fact::String(text));
        }
    }
}

/// The text of a member.
pub(super) fn text<'v>(element: &'v Value, member: &str) -> Option<&'v str> {
    element.get(member)?.as_str().filter(|text| !text.is_empty())
}

/// The items of a member that may come more than once.
fn items<'v>(element: &'v Value, member: &str) -> &'v [Value] {
    element.get(member).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Writes the facts of an element; none when it is not of its form.
pub(super) fn convert(how: &How, element: &Value, out: &mut Out<'_>) {
    match how {
        How::Code => out.token(None, element.as_str().filter(|code| !code.is_empty()), None),
        How::Boolean => {
            if let Some(is) = element.as_bool() {
                out.token(None, Some(if is { "true" } else { "false" }), None);
            }
        }
        How::Coding => coding(element, out),
        How::Concept => {
            items(element, "coding").iter().for_each(|item| coding(item, out));
            out.token(None, None, text(element, "text"));
        }
        How::Identifier => identifier(element, out),
        How::Contact => {
            if let Some(value) = text(element, "value") {
                out.token(None, Some(value), None);
            }
        }
        How::Text => out.string(element.as_str().filter(|text| !text.is_empty())),
        How::Name => parts(element, &["text", "family", "given", "prefix", "suffix"], out),
        How::Address => {
            parts(element, &["text", "line", "city", "district", "state", "postalCode", "country"], out);
        }
        How::Reference => reference::reference(element, out),
        How::Canonical => reference::canonical(element, out),
        How::Resource(targets) => reference::resource(element, targets, out),
        How::Date => date(element.as_str().and_then(DateRange::parse), out),
        How::Period => date(period(element), out),
        How::Timing => date(timing(element), out),
        How::Number => number::number(element, out),
        How::NumberRange => number::number_range(element, out),
        How::Quantity => number::quantity(element, out),
        How::Money => number::money(element, out),
        How::Range => number::range(element, out),
        How::Sampled => number::sampled(element, out),
        How::Uri => uri(element.as_str(), out),
        How::CanonicalUri => {
            let url = element.as_str();
            uri(url.and_then(|url| url.split_once('|')).map(|(plain, _)| plain), out);
            uri(url, out);
        }
        How::Position => number::position(element, out),
        // HL7 has no composite of composites.
        How::Composite(_) => {}
    }
}

fn coding(element: &Value, out: &mut Out<'_>) {
    out.token(text(element, "system"), text(element, "code"), text(element, "display"));
}

/// An identifier, and once more with each of its types.
fn identifier(element: &Value, out: &mut Out<'_>) {
    let kind = element.get("type");
    let value = text(element, "value");
    out.token(text(element, "system"), value, kind.and_then(|kind| text(kind, "text")));
    let (Some(kind), Some(value)) = (kind, value) else { return };
    for coding in items(kind, "coding") {
        if let (Some(system), Some(code)) = (text(coding, "system"), text(coding, "code")) {
            out.push(Fact::TypedIdentifier { system, code, value });
        }
    }
}

/// The texts of an element's members, each by itself.
fn parts(element: &Value, members: &[&str], out: &mut Out<'_>) {
    for member in members {
        match element.get(*member) {
            Some(Value::String(text)) if !text.is_empty() => out.string(Some(text)),
            Some(Value::Array(items)) => items.iter().for_each(|item| out.string(item.as_str())),
            _ => {}
        }
    }
}

fn date(range: Option<DateRange>, out: &mut Out<'_>) {
    if let Some(range) = range {
        out.push(Fact::Date(range));
    }
}

fn period(element: &Value) -> Option<DateRange> {
    DateRange::of_period(text(element, "start"), text(element, "end"))
}

/// The outer limits of a Timing; R4 looks at nothing else of it.
fn timing(element: &Value) -> Option<DateRange> {
    let events = items(element, "event").iter().filter_map(|event| DateRange::parse(event.as_str()?));
    let bounds = element.get("repeat").and_then(|repeat| repeat.get("boundsPeriod")).and_then(period);
    events.chain(bounds).reduce(|a, b| DateRange { start: a.start.min(b.start), end: a.end.max(b.end) })
}

fn uri(text: Option<&str>, out: &mut Out<'_>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        out.push(Fact::Uri(text));
    }
}
