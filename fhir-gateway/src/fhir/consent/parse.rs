//! From the resource.

use serde_json::Value;
use vouchsafe_types::{Count, TimeMs};

use super::{ConsentDetail, ParsedConsent};
use crate::fhir::{
    Coding, Fault,
    category::Category,
    compartment::Reference,
    date::{DateRange, range_of},
    json_path, systems,
};

const SCOPE: (&str, &str) = ("http://terminology.hl7.org/CodeSystem/consentscope", "patient-privacy");
const CATEGORY: (&str, &str) = ("http://loinc.org", "59284-0");
const OPTIN: (&str, &str) = ("http://terminology.hl7.org/CodeSystem/v3-ActCode", "OPTIN");
const IRCP: (&str, &str) = ("http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "IRCP");
const ACTION: &str = "http://terminology.hl7.org/CodeSystem/consentaction";
/// Members of a provision that Vouchsafe enforces; any other would be a restriction ignored.
const ROOT_MEMBERS: &[&str] = &[
    "id",
    "extension",
    "type",
    "period",
    "actor",
    "action",
    "securityLabel",
    "purpose",
    "class",
    "dataPeriod",
    "provision",
];
const DENY_MEMBERS: &[&str] = &["id", "extension", "type", "securityLabel", "class"];
/// Longest reason, in characters.
const MAX_REASON: usize = 1000;

/// Reads a request: a Consent with `status: proposed`.
///
/// # Errors
/// 422 with the element that is missing or not enforced.
pub fn parse_request(consent: &Value) -> Result<ParsedConsent, Fault> {
    if json_path::text(consent, "status") != Some("proposed") {
        return Err(Fault::invalid("Consent.status", "A request for access is a Consent with the status proposed."));
    }
    parse(consent)
}

/// Reads a decision: a Consent, or Parameters with one called `consent`. `None` when the body is empty or has no
/// Consent, which grants what was asked.
///
/// # Errors
/// 422 with the element that is missing or not enforced.
pub fn parse_decision(body: &Value) -> Result<Option<ParsedConsent>, Fault> {
    let consent = match json_path::text(body, "resourceType") {
        Some("Consent") => Some(body),
        Some("Parameters") => {
            let all = json_path::at(body, "parameter");
            if let Some(other) = all.iter().find(|p| json_path::text(p, "name") != Some("consent")) {
                let name = json_path::text(other, "name").unwrap_or_default();
                return Err(Fault::invalid("Parameters.parameter", format!("The parameter {name:?} is not known.")));
            }
            all.first().and_then(|p| p.get("resource"))
        }
        None if body.is_null() => None,
        _ => return Err(Fault::invalid("resourceType", "A decision is a Consent, or Parameters with a consent.")),
    };
    consent.map(parse).transpose()
}

fn parse(consent: &Value) -> Result<ParsedConsent, Fault> {
    if json_path::text(consent, "resourceType") != Some("Consent") {
        return Err(Fault::invalid("resourceType", "Not a Consent."));
    }
    frame(consent)?;
    let provision = consent.get("provision").ok_or_else(|| missing("provision"))?;
    members(provision, ROOT_MEMBERS, "Consent.provision")?;
    if json_path::text(provision, "type").is_some_and(|t| t != "permit") {
        return Err(Fault::invalid("Consent.provision.type", "The root provision says what is asked for: permit."));
    }
    let until = provision.get("period").and_then(|p| p.get("end")).ok_or_else(|| missing("provision.period.end"))?;
    Ok(ParsedConsent {
        patient: reference(consent.get("patient"), &["Patient"], "Consent.patient")?,
        practitioner: practitioner(provision)?,
        organization: organization(consent)?,
        detail: detail(consent, provision)?,
        valid_until: end_of(until, "Consent.provision.period.end")?,
        answer_by: answer_by(consent)?,
        session_ms: session_ms(consent)?,
        standing: extension(consent, systems::STANDING, "valueBoolean").and_then(Value::as_bool).unwrap_or(false),
    })
}

/// What makes a Consent one of ours.
fn frame(consent: &Value) -> Result<(), Fault> {
    let has = |path: &str, (system, code): (&str, &str)| {
        json_path::codes(consent, path).iter().any(|(s, c)| s.as_deref() == Some(system) && c == code)
    };
    for (path, wanted) in [("scope", SCOPE), ("category", CATEGORY), ("policyRule", OPTIN)] {
        if !has(path, wanted) {
            return Err(Fault::invalid(
                format!("Consent.{path}"),
                format!("must have the code {}|{}", wanted.0, wanted.1),
            ));
        }
    }
    if consent.get("modifierExtension").is_some() {
        return Err(not_enforced("Consent.modifierExtension"));
    }
    Ok(())
}

fn detail(consent: &Value, provision: &Value) -> Result<ConsentDetail, Fault> {
    let categories = categories(provision, "Consent.provision")?;
    let excluded = exclusions(provision)?;
    let data_period = match provision.get("dataPeriod") {
        None => None,
        Some(value) => {
            let range = range_of(value).filter(|r| r.start <= r.end);
            Some(range.ok_or_else(|| Fault::invalid("Consent.provision.dataPeriod", "not a period of time"))?)
        }
    };
    let reason = extension(consent, systems::REASON, "valueString").and_then(Value::as_str).map(str::to_owned);
    if reason.as_ref().is_some_and(|r| r.chars().count() > MAX_REASON) {
        return Err(Fault::invalid("Consent.extension", format!("The reason has more than {MAX_REASON} characters.")));
    }
    let detail = ConsentDetail {
        purpose: purposes(provision)?,
        reason,
        categories,
        excluded,
        data_period,
        write: actions(provision)?,
    }
    .normalized();
    if detail.effective().is_empty() {
        return Err(Fault::invalid("Consent.provision.class", "No category is asked for."));
    }
    Ok(detail)
}

/// `class` and `securityLabel` of a provision, which must be of the category system.
fn categories(provision: &Value, path: &str) -> Result<Vec<Category>, Fault> {
    let mut out = Vec::new();
    for member in ["class", "securityLabel"] {
        for coding in json_path::at(provision, member) {
            let code = json_path::text(coding, "code").unwrap_or_default();
            match code.parse() {
                Ok(category) if json_path::text(coding, "system") == Some(systems::CATEGORY) => out.push(category),
                _ => {
                    let what = format!("Only codes of {} are enforced.", systems::CATEGORY);
                    return Err(Fault::invalid(format!("{path}.{member}"), what));
                }
            }
        }
    }
    Ok(out)
}

fn exclusions(provision: &Value) -> Result<Vec<Category>, Fault> {
    const PATH: &str = "Consent.provision.provision";
    let mut out = Vec::new();
    for nested in json_path::at(provision, "provision") {
        if json_path::text(nested, "type") != Some("deny") {
            return Err(Fault::invalid(format!("{PATH}.type"), "A nested provision takes something out: deny."));
        }
        members(nested, DENY_MEMBERS, PATH)?;
        let found = categories(nested, PATH)?;
        if found.is_empty() {
            return Err(Fault::invalid(format!("{PATH}.class"), "A nested provision names what it takes out."));
        }
        out.extend(found);
    }
    Ok(out)
}

fn purposes(provision: &Value) -> Result<Vec<Coding>, Fault> {
    let one = |value: &Value| {
        let text = |name: &str| json_path::text(value, name).filter(|t| !t.is_empty()).map(str::to_owned);
        Some(Coding { system: text("system")?, code: text("code")?, display: text("display") })
    };
    let all = json_path::at(provision, "purpose");
    let read: Option<Vec<Coding>> = all.into_iter().map(one).collect();
    read.filter(|p| !p.is_empty())
        .ok_or_else(|| Fault::invalid("Consent.provision.purpose", "A purpose of use has a system and a code."))
}

/// True when writing is asked for.
fn actions(provision: &Value) -> Result<bool, Fault> {
    const PATH: &str = "Consent.provision.action";
    let codes = json_path::codes(provision, "action");
    if let Some((_, other)) =
        codes.iter().find(|(s, c)| s.as_deref() != Some(ACTION) || !["access", "collect"].contains(&c.as_str()))
    {
        let shown: String = other.chars().take(64).collect();
        return Err(Fault::invalid(
            PATH,
            format!("The action {shown:?} is not enforced; there are access and collect."),
        ));
    }
    if !codes.iter().any(|(_, c)| c == "access") {
        return Err(Fault::invalid(PATH, "The action access is missing."));
    }
    Ok(codes.iter().any(|(_, c)| c == "collect"))
}

fn practitioner(provision: &Value) -> Result<Reference, Fault> {
    const PATH: &str = "Consent.provision.actor";
    let [actor] = json_path::at(provision, "actor")[..] else {
        return Err(Fault::invalid(PATH, "Exactly one actor is given access."));
    };
    if !json_path::codes(actor, "role").iter().any(|(s, c)| s.as_deref() == Some(IRCP.0) && c == IRCP.1) {
        return Err(Fault::invalid(format!("{PATH}.role"), format!("must have the code {}|{}", IRCP.0, IRCP.1)));
    }
    reference(actor.get("reference"), &["Practitioner", "PractitionerRole"], &format!("{PATH}.reference"))
}

fn organization(consent: &Value) -> Result<Option<Reference>, Fault> {
    const PATH: &str = "Consent.organization";
    match json_path::at(consent, "organization")[..] {
        [] => Ok(None),
        [one] => reference(Some(one), &["Organization"], PATH).map(Some),
        _ => Err(Fault::invalid(PATH, "Access is asked for one organisation.")),
    }
}

fn reference(value: Option<&Value>, types: &[&str], path: &str) -> Result<Reference, Fault> {
    let text = value.and_then(|v| v.get("reference")).and_then(Value::as_str).unwrap_or_default();
    let reference = Reference::parse(text);
    if reference.resource_type.as_deref().is_some_and(|t| types.contains(&t)) {
        Ok(reference)
    } else {
        Err(Fault::invalid(path, format!("must refer to a {}", types.join(" or "))))
    }
}

fn answer_by(consent: &Value) -> Result<Option<TimeMs>, Fault> {
    let value = extension(consent, systems::ANSWER_BY, "valueDateTime")
        .or_else(|| extension(consent, systems::ANSWER_BY, "valueInstant"));
    value.map(|v| end_of(v, "Consent.extension")).transpose()
}

fn session_ms(consent: &Value) -> Result<Option<Count>, Fault> {
    let Some(duration) = extension(consent, systems::SESSION_DURATION, "valueDuration") else { return Ok(None) };
    let unit: Option<u64> = match json_path::text(duration, "code") {
        Some("ms") => Some(1),
        Some("s") => Some(1000),
        Some("min") => Some(60_000),
        Some("h") => Some(3_600_000),
        Some("d") => Some(86_400_000),
        _ => None,
    };
    let ms = duration.get("value").and_then(Value::as_u64).zip(unit).and_then(|(n, unit)| n.checked_mul(unit));
    // JSON readers hold no larger integer exactly.
    match ms.filter(|ms| (1..1 << 53).contains(ms)) {
        Some(ms) => Ok(Some(Count(ms))),
        None => {
            Err(Fault::invalid("Consent.extension", "A session's duration is a whole number of ms, s, min, h or d."))
        }
    }
}

fn extension<'a>(consent: &'a Value, url: &str, value: &str) -> Option<&'a Value> {
    let found = json_path::at(consent, "extension").into_iter().find(|e| json_path::text(e, "url") == Some(url));
    found.and_then(|e| e.get(value))
}

/// The last millisecond of a date or time that is not before 1970.
fn end_of(value: &Value, path: &str) -> Result<TimeMs, Fault> {
    let range = value.as_str().and_then(DateRange::parse);
    range
        .and_then(|r| u64::try_from(r.end).ok())
        .map(TimeMs)
        .ok_or_else(|| Fault::invalid(path, "not a date or a time"))
}

fn members(provision: &Value, known: &[&str], path: &str) -> Result<(), Fault> {
    let names = provision.as_object().into_iter().flat_map(|o| o.keys());
    match names.map(String::as_str).find(|n| !known.contains(n)) {
        Some(other) => Err(not_enforced(&format!("{path}.{other}"))),
        None => Ok(()),
    }
}

fn missing(element: &str) -> Fault {
    Fault::invalid(format!("Consent.{element}"), "is missing")
}

fn not_enforced(path: &str) -> Fault {
    Fault::invalid(path, "This restriction is not enforced here, so it is not accepted.")
}
