//! When what a resource tells of happened, and instants as FHIR writes them.

use serde_json::Value;
use vouchsafe_types::TimeMs;

pub use vouchsafe_fhir_search::date::{DateRange, instant_of};

use super::json_path;

/// An instant as FHIR writes it, in UTC.
pub fn instant(at: TimeMs) -> String {
    // Beyond the year 9999 there is no instant to write.
    instant_of(i64::try_from(at.0).unwrap_or(DateRange::ALWAYS.end))
}

/// The dates a type's clinical time is taken from, the most telling first.
const CLINICAL: &[&str] = &[
    "effectiveDateTime",
    "effectivePeriod",
    "effectiveInstant",
    "performedDateTime",
    "performedPeriod",
    "occurrenceDateTime",
    "occurrencePeriod",
    "onsetDateTime",
    "onsetPeriod",
    "period",
    "context.period",
    "collection.collectedDateTime",
    "collection.collectedPeriod",
    "started",
    "created",
    "createdDateTime",
    "createdPeriod",
    "billablePeriod",
    "servicedDate",
    "servicedPeriod",
    "timingDateTime",
    "timingPeriod",
    "startDate",
    "dueDate",
    "start",
    "authoredOn",
    "authored",
    "dateAsserted",
    "recordedDate",
    "recorded",
    "identifiedDateTime",
    "identifiedPeriod",
    "whenHandedOver",
    "whenPrepared",
    "statusDate",
    "dateTime",
    "dateWritten",
    "date",
    "issued",
    "sent",
    "received",
    "timestamp",
    "content.attachment.creation",
];

/// When what the resource tells of happened; `None` for a resource that has no time, such as a Patient.
pub fn clinical_date(resource_type: &str, resource: &Value) -> Option<DateRange> {
    if matches!(resource_type, "Patient" | "RelatedPerson" | "Person" | "Coverage") {
        return None;
    }
    CLINICAL.iter().flat_map(|path| json_path::at(resource, path)).find_map(range_of)
}

/// The range of a date, a dateTime, an instant or a Period.
pub fn range_of(value: &Value) -> Option<DateRange> {
    match value {
        Value::String(text) => DateRange::parse(text),
        Value::Object(_) => {
            let part = |name: &str| value.get(name).and_then(Value::as_str);
            DateRange::of_period(part("start"), part("end"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_clinical_time_comes_before_the_administrative_one() {
        let value =
            json!({ "issued": "2026-11-22T20:00:00Z", "effectivePeriod": { "start": "2020", "end": "2021-06" } });
        let range = clinical_date("Observation", &value).unwrap();
        assert_eq!(range, DateRange::of_period(Some("2020"), Some("2021-06")).unwrap());
        assert_eq!(clinical_date("Patient", &json!({ "birthDate": "1970" })), None);
    }

    #[test]
    fn instants_are_written_in_utc() {
        assert_eq!(DateRange::parse(&instant(TimeMs(1_500))).unwrap().start, 1_500);
    }
}
