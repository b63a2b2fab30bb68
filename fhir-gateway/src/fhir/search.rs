//! Search parameters (<https://hl7.org/fhir/R4/search.html>): the few that the first gateway needs, strictly. What is
//! not known is refused by name, because a filter silently left out would answer another question than was asked.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Fault,
    category::{Category, categorize},
    compartment::{self, Reference},
    date::{self, DateRange},
    json_path,
};

/// How many matches a page has when the caller does not say.
pub const DEFAULT_COUNT: usize = 50;
/// How many matches a page may have.
pub const MAX_COUNT: usize = 1000;

/// A code with its system, where it has one.
pub type Token = (Option<String>, String);

/// What a resource can be found by. It is health data: no Debug.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchFacts {
    /// The patient it is about.
    pub patient: Option<Reference>,
    /// Its own id, as it calls itself.
    pub id: Option<String>,
    /// Its business identifiers.
    pub identifiers: Vec<Token>,
    /// What it is about: `code`, `type`, `vaccineCode`, `medicationCodeableConcept` …
    pub codes: Vec<Token>,
    /// Its status.
    pub status: Vec<Token>,
    /// Its category in the words of the resource.
    pub categories: Vec<Token>,
    /// Its category for consent.
    pub category: Category,
    /// When what it tells of happened.
    pub date: Option<DateRange>,
}

/// What this resource can be found by.
pub fn facts(resource_type: &str, resource: &Value) -> SearchFacts {
    let gather = |paths: &[&str]| paths.iter().flat_map(|p| json_path::codes(resource, p)).collect();
    SearchFacts {
        patient: compartment::patient_of(resource_type, resource),
        id: json_path::text(resource, "id").map(str::to_owned),
        identifiers: identifiers(resource),
        codes: gather(&["code", "type", "vaccineCode", "medicationCodeableConcept", "component.code"]),
        status: gather(&["status", "clinicalStatus"]),
        categories: gather(&["category", "class"]),
        category: categorize(resource_type, resource),
        date: date::clinical_date(resource_type, resource),
    }
}

fn identifiers(resource: &Value) -> Vec<Token> {
    let one = |identifier: &Value| {
        let value = identifier.get("value")?.as_str()?.to_owned();
        Some((identifier.get("system").and_then(Value::as_str).map(str::to_owned), value))
    };
    json_path::at(resource, "identifier").into_iter().filter_map(one).collect()
}

/// The parameters that `Query::parse` knows for a type, and their kinds.
pub fn parameters(resource_type: &str) -> Vec<(&'static str, &'static str)> {
    let mut out = vec![("_id", "token"), ("_lastUpdated", "date"), ("identifier", "token")];
    if compartment::class_of(resource_type) == compartment::ResourceClass::Patient {
        out.push(("patient", "reference"));
        if resource_type != "Patient" {
            out.push(("subject", "reference"));
        }
    }
    if resource_type != "Patient" {
        out.extend([("code", "token"), ("status", "token"), ("category", "token"), ("date", "date")]);
    }
    out
}

/// A comparison of dates, by its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix {
    /// The resource's range lies within the parameter's.
    Eq,
    /// It does not.
    Ne,
    /// Something of it lies after.
    Gt,
    /// Something of it lies before.
    Lt,
    /// Within or after.
    Ge,
    /// Within or before.
    Le,
    /// It starts after.
    Sa,
    /// It ends before.
    Eb,
}

/// One comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateTest {
    /// How.
    pub prefix: Prefix,
    /// With what.
    pub range: DateRange,
}

/// One value of a token parameter.
#[derive(Clone, PartialEq, Eq)]
pub enum TokenTest {
    /// `code`: any system.
    Code(String),
    /// `system|code`
    Both(String, String),
    /// `|code`: no system.
    NoSystem(String),
    /// `system|`: any code.
    System(String),
}

/// A search. Each list is an `and` of lists that are each an `or`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// `_id`
    pub ids: Vec<Vec<String>>,
    /// `patient`, `subject`
    pub patients: Vec<Vec<Reference>>,
    /// `identifier`
    pub identifiers: Vec<Vec<TokenTest>>,
    /// `code`
    pub codes: Vec<Vec<TokenTest>>,
    /// `status`
    pub status: Vec<Vec<TokenTest>>,
    /// `category`
    pub categories: Vec<Vec<TokenTest>>,
    /// `date`
    pub dates: Vec<Vec<DateTest>>,
    /// `_lastUpdated`, which the caller matches against the version's own.
    pub last_updated: Vec<Vec<DateTest>>,
    /// `_count`
    pub count: Option<usize>,
}

impl Query {
    /// Reads the decoded parameters of a search of one type.
    ///
    /// # Errors
    /// 400 with the name of a parameter that is not known here or has no usable value.
    pub fn parse(resource_type: &str, parameters: &[(String, String)]) -> Result<Self, Fault> {
        let known = self::parameters(resource_type);
        let mut query = Self::default();
        for (name, value) in parameters {
            if name == "_count" {
                query.count = Some(count(value)?);
                continue;
            }
            // The representation is always JSON; a client may say so.
            if name == "_format" {
                continue;
            }
            if !known.iter().any(|(n, _)| n == name) {
                let shown: String = name.chars().take(64).collect();
                return Err(Fault::malformed(
                    shown.as_str(),
                    format!("The search parameter {shown:?} is not supported."),
                ));
            }
            query.add(name, value)?;
        }
        Ok(query)
    }

    fn add(&mut self, name: &str, value: &str) -> Result<(), Fault> {
        let parts = split(value, ',');
        if parts.iter().any(String::is_empty) {
            return Err(Fault::malformed(name, format!("The search parameter {name:?} has an empty value.")));
        }
        match name {
            "_id" => self.ids.push(parts),
            "patient" | "subject" => {
                self.patients.push(parts.iter().map(|p| patient(name, p)).collect::<Result<_, _>>()?);
            }
            "_lastUpdated" => self.last_updated.push(dates(name, &parts)?),
            "date" => self.dates.push(dates(name, &parts)?),
            _ => {
                let tests = parts.iter().map(|p| token(p)).collect();
                match name {
                    "identifier" => self.identifiers.push(tests),
                    "code" => self.codes.push(tests),
                    "status" => self.status.push(tests),
                    _ => self.categories.push(tests),
                }
            }
        }
        Ok(())
    }

    /// True when all parameters of content match; `_lastUpdated` and paging are the caller's, who knows versions, and
    /// `_id` is compared with the id that the caller serves the resource under.
    pub fn matches(&self, served_id: &str, facts: &SearchFacts) -> bool {
        let tokens = |tests: &[Vec<TokenTest>], values: &[Token]| {
            tests.iter().all(|any| any.iter().any(|t| values.iter().any(|v| t.matches(v))))
        };
        self.ids.iter().all(|any| any.iter().any(|id| id == served_id))
            && self.patients.iter().all(|any| any.iter().any(|p| is_patient(facts, p)))
            && tokens(&self.identifiers, &facts.identifiers)
            && tokens(&self.codes, &facts.codes)
            && tokens(&self.status, &facts.status)
            && self.dates.iter().all(|any| facts.date.is_some_and(|d| any.iter().any(|t| t.matches(&d))))
            && self.matches_category(facts)
    }

    fn matches_category(&self, facts: &SearchFacts) -> bool {
        let ours = facts.category.token();
        self.categories
            .iter()
            .all(|any| any.iter().any(|t| facts.categories.iter().chain([&ours]).any(|v| t.matches(v))))
    }

    /// True when the version's time fits `_lastUpdated`.
    pub fn matches_last_updated(&self, range: &DateRange) -> bool {
        self.last_updated.iter().all(|any| any.iter().any(|t| t.matches(range)))
    }
}

/// [`Query::matches`] for a resource under its own id.
pub fn matches(facts: &SearchFacts, query: &Query) -> bool {
    query.matches(facts.id.as_deref().unwrap_or_default(), facts)
}

fn is_patient(facts: &SearchFacts, wanted: &Reference) -> bool {
    facts.patient.as_ref().is_some_and(|p| p.id == wanted.id)
}

impl TokenTest {
    /// True when the value is what is asked for.
    pub fn matches(&self, (system, code): &Token) -> bool {
        match self {
            Self::Code(wanted) => code == wanted,
            Self::Both(s, wanted) => code == wanted && system.as_deref() == Some(s),
            Self::NoSystem(wanted) => code == wanted && system.is_none(),
            Self::System(s) => system.as_deref() == Some(s),
        }
    }
}

impl DateTest {
    /// True when the resource's range is what is asked for.
    pub fn matches(&self, of: &DateRange) -> bool {
        let with = &self.range;
        match self.prefix {
            Prefix::Eq => with.contains(of),
            Prefix::Ne => !with.contains(of),
            Prefix::Gt => of.end > with.end,
            Prefix::Lt => of.start < with.start,
            Prefix::Ge => of.end > with.end || with.contains(of),
            Prefix::Le => of.start < with.start || with.contains(of),
            Prefix::Sa => of.start > with.end,
            Prefix::Eb => of.end < with.start,
        }
    }
}

fn count(value: &str) -> Result<usize, Fault> {
    match value.parse::<usize>() {
        Ok(n) => Ok(n.min(MAX_COUNT)),
        Err(_) => Err(Fault::malformed("_count", "_count must be a whole number.")),
    }
}

fn patient(name: &str, value: &str) -> Result<Reference, Fault> {
    let full = if value.contains('/') { value.to_owned() } else { format!("Patient/{value}") };
    let reference = Reference::parse(&full);
    if reference.resource_type.as_deref() == Some("Patient") {
        Ok(reference)
    } else {
        Err(Fault::malformed(name, format!("The search parameter {name:?} must name a Patient.")))
    }
}

fn token(value: &str) -> TokenTest {
    match split(value, '|').as_slice() {
        [code] => TokenTest::Code(unescape(code)),
        [system, code] if system.is_empty() => TokenTest::NoSystem(unescape(code)),
        [system, code] if code.is_empty() => TokenTest::System(unescape(system)),
        [system, rest @ ..] => TokenTest::Both(unescape(system), unescape(&rest.join("|"))),
        [] => TokenTest::Code(String::new()),
    }
}

fn dates(name: &str, parts: &[String]) -> Result<Vec<DateTest>, Fault> {
    parts.iter().map(|p| date_test(name, p)).collect()
}

fn date_test(name: &str, value: &str) -> Result<DateTest, Fault> {
    let prefixes = [
        ("eq", Prefix::Eq),
        ("ne", Prefix::Ne),
        ("gt", Prefix::Gt),
        ("lt", Prefix::Lt),
        ("ge", Prefix::Ge),
        ("le", Prefix::Le),
        ("sa", Prefix::Sa),
        ("eb", Prefix::Eb),
    ];
    let found = prefixes.iter().find_map(|(text, prefix)| Some((*prefix, value.strip_prefix(text)?)));
    let (prefix, text) = found.unwrap_or((Prefix::Eq, value));
    // A form-decoded `+` of a zone arrives as a space.
    match DateRange::parse(&text.replace(' ', "+")) {
        Some(range) => Ok(DateTest { prefix, range }),
        None => Err(Fault::malformed(name, format!("The search parameter {name:?} must be a date."))),
    }
}

/// Splits at a separator that no backslash stands before; escapes stay, so that a second split still sees them.
fn split(text: &str, separator: char) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        match out.last_mut() {
            Some(last) if escaped || c != separator => last.push(c),
            _ => out.push(String::new()),
        }
        escaped = c == '\\' && !escaped;
    }
    out
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut escaped = false;
    for c in text.chars() {
        if c == '\\' && !escaped {
            escaped = true;
        } else {
            out.push(c);
            escaped = false;
        }
    }
    out
}

#[cfg(test)]
mod tests;
