use proptest::prelude::*;
use serde_json::{Value, json};
use vouchsafe_types::{RequestId, SessionId, state::ConsentState};

use super::*;
use crate::fhir::systems;

fn request() -> Value {
    json!({
        "resourceType": "Consent",
        "status": "proposed",
        "extension": [
            { "url": systems::ANSWER_BY, "valueDateTime": "2027-01-02T00:00:00.000Z" },
            { "url": systems::SESSION_DURATION,
              "valueDuration": { "value": 2, "unit": "h", "system": "http://unitsofmeasure.org", "code": "h" } },
            { "url": systems::REASON, "valueString": "follow-up" },
        ],
        "scope": { "coding": [{ "system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy" }] },
        "category": [{ "coding": [{ "system": "http://loinc.org", "code": "59284-0" }] }],
        "patient": { "reference": "Patient/p1" },
        "organization": [{ "reference": "Organization/o1" }],
        "policyRule": { "coding": [{ "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "OPTIN" }] },
        "provision": {
            "type": "permit",
            "period": { "end": "2027-01-10T00:00:00.000Z" },
            "actor": [{
                "role": { "coding": [{ "system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "IRCP" }] },
                "reference": { "reference": "Practitioner/d1" },
            }],
            "action": [
                { "coding": [{ "system": "http://terminology.hl7.org/CodeSystem/consentaction", "code": "access" }] },
                { "coding": [{ "system": "http://terminology.hl7.org/CodeSystem/consentaction", "code": "collect" }] },
            ],
            "purpose": [{ "system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "TREAT" }],
            "class": [
                { "system": systems::CATEGORY, "code": "medications" },
                { "system": systems::CATEGORY, "code": "laboratory" },
            ],
            "securityLabel": [{ "system": systems::CATEGORY, "code": "hiv" }],
            "dataPeriod": { "start": "2020", "end": "2026-12-31" },
            "provision": [{ "type": "deny", "class": [{ "system": systems::CATEGORY, "code": "laboratory" }] }],
        },
    })
}

fn parsed() -> ParsedConsent {
    parse_request(&request()).unwrap()
}

fn refused(change: impl FnOnce(&mut Value)) -> String {
    let mut value = request();
    change(&mut value);
    let fault = parse_request(&value).unwrap_err();
    assert_eq!(fault.status, 422);
    fault.expression
}

/// In 2021.
const NOW: TimeMs = TimeMs(1_620_000_000_000);

#[test]
fn a_request_is_read() {
    vouchsafe_fhir_structure::check("Consent", &serde_json::to_vec(&request()).unwrap()).unwrap();
    let consent = parsed();
    assert_eq!(consent.patient.id.as_deref(), Some("p1"));
    assert_eq!(consent.practitioner.id.as_deref(), Some("d1"));
    assert_eq!(consent.session_ms, Some(Count(7_200_000)));
    assert_eq!(consent.valid_until, TimeMs(1_799_539_200_000));
    assert_eq!(consent.detail.effective(), [Category::Hiv, Category::Medications]);
    assert!(consent.detail.write && !consent.standing);
    let date = |text: &str| DateRange::parse(text);
    assert!(consent.detail.admits(Category::Medications, date("2021-05"), NOW));
    assert!(consent.detail.admits(Category::Medications, None, NOW));
    assert!(!consent.detail.admits(Category::Medications, None, TimeMs(0)), "undated and written before the range");
    assert!(!consent.detail.admits(Category::Medications, date("2019"), NOW));
    assert!(!consent.detail.admits(Category::Medications, date("2027"), NOW));
    assert!(!consent.detail.admits(Category::Laboratory, date("2021"), NOW));
    assert!(!consent.detail.admits(Category::MentalHealth, date("2021"), NOW));
}

#[test]
fn what_is_missing_or_not_enforced_is_refused_with_its_place() {
    let provision = |name: &'static str, value: Value| move |v: &mut Value| v["provision"][name] = value;
    assert_eq!(refused(|v| v["status"] = "active".into()), "Consent.status");
    for name in ["scope", "category", "policyRule"] {
        assert_eq!(refused(|v| v[name] = json!({ "text": "x" })), format!("Consent.{name}"));
    }
    assert_eq!(refused(|v| v["patient"] = json!({ "reference": "Group/1" })), "Consent.patient");
    assert_eq!(refused(|v| v["modifierExtension"] = json!([{ "url": "x" }])), "Consent.modifierExtension");
    assert_eq!(refused(provision("type", "deny".into())), "Consent.provision.type");
    assert_eq!(refused(provision("period", json!({ "start": "2026" }))), "Consent.provision.period.end");
    assert_eq!(refused(provision("period", json!({ "end": "soon" }))), "Consent.provision.period.end");
    assert_eq!(refused(provision("actor", json!([]))), "Consent.provision.actor");
    assert_eq!(refused(provision("purpose", json!([]))), "Consent.provision.purpose");
    assert_eq!(refused(provision("code", json!([{ "text": "x" }]))), "Consent.provision.code");
    assert_eq!(refused(provision("data", json!([{}]))), "Consent.provision.data");
    assert_eq!(
        refused(provision("dataPeriod", json!({ "start": "2027", "end": "2020" }))),
        "Consent.provision.dataPeriod"
    );
    assert_eq!(
        refused(provision("class", json!([{ "system": "x", "code": "laboratory" }]))),
        "Consent.provision.class"
    );
    assert_eq!(
        refused(provision("class", json!([{ "system": systems::CATEGORY, "code": "all" }]))),
        "Consent.provision.class"
    );
    assert_eq!(refused(provision("action", json!([]))), "Consent.provision.action");
    assert_eq!(
        refused(|v| v["provision"]["action"][0]["coding"][0]["code"] = "disclose".into()),
        "Consent.provision.action"
    );
    assert_eq!(refused(provision("provision", json!([{ "type": "permit" }]))), "Consent.provision.provision.type");
    assert_eq!(refused(provision("provision", json!([{ "type": "deny" }]))), "Consent.provision.provision.class");
    let narrowed = json!([{ "type": "deny", "class": [{ "system": systems::CATEGORY, "code": "hiv" }], "period": { "end": "2027" } }]);
    assert_eq!(refused(provision("provision", narrowed)), "Consent.provision.provision.period");
    assert_eq!(refused(|v| v["extension"][1]["valueDuration"]["code"] = "mo".into()), "Consent.extension");
    assert_eq!(
        refused(|v| v["provision"]["actor"][0]["role"] = json!({ "text": "x" })),
        "Consent.provision.actor.role"
    );
    let nothing_left = |v: &mut Value| {
        v["provision"]["class"] = json!([{ "system": systems::CATEGORY, "code": "laboratory" }]);
        v["provision"]["securityLabel"] = json!([]);
    };
    assert_eq!(refused(nothing_left), "Consent.provision.class");
}

fn wider(change: impl FnOnce(&mut ParsedConsent)) -> String {
    let asked = parsed();
    let mut granted = parsed();
    change(&mut granted);
    narrower(&asked, &granted).unwrap_err().expression
}

#[test]
fn a_grant_never_exceeds_its_request() {
    let asked = parsed();
    assert_eq!(narrower(&asked, &asked), Ok(()));
    assert_eq!(wider(|g| g.patient = Reference::parse("Patient/p2")), "Consent.patient");
    assert_eq!(wider(|g| g.practitioner = Reference::parse("Practitioner/d2")), "Consent.provision.actor");
    assert_eq!(wider(|g| g.organization = Some(Reference::parse("Organization/o2"))), "Consent.organization");
    assert_eq!(wider(|g| g.valid_until.0 += 1), "Consent.provision.period.end");
    assert_eq!(wider(|g| g.session_ms = Some(Count(7_200_001))), "Consent.extension");
    assert_eq!(wider(|g| g.session_ms = None), "Consent.extension");
    assert_eq!(wider(|g| g.standing = true), "Consent.extension");
    assert_eq!(wider(|g| g.detail.categories.push(Category::Claims)), "Consent.provision.class");
    assert_eq!(wider(|g| g.detail.excluded.clear()), "Consent.provision.class");
    assert_eq!(wider(|g| g.detail.purpose[0].code = "HMARKT".into()), "Consent.provision.purpose");
    assert_eq!(wider(|g| g.detail.data_period = None), "Consent.provision.dataPeriod");
    assert_eq!(wider(|g| g.detail.data_period = DateRange::parse("2019")), "Consent.provision.dataPeriod");
    assert_eq!(wider(|g| g.detail.reason = Some("other".into())), "Consent.provision.extension");
    let mut read_only = parsed();
    read_only.detail.write = false;
    assert_eq!(narrower(&read_only, &asked).unwrap_err().expression, "Consent.provision.action");
    assert_eq!(narrower(&asked, &read_only), Ok(()));
    let mut less = parsed();
    less.detail.categories = vec![Category::Medications];
    less.detail.data_period = DateRange::parse("2024");
    less.valid_until = TimeMs(less.valid_until.0 - 1);
    assert_eq!(narrower(&asked, &less), Ok(()));
}

fn view(detail: &ConsentDetail, state: ConsentState) -> ConsentView<'_> {
    ConsentView {
        id: RequestId([9; 16]),
        patient: "Patient/p1",
        practitioner: "Practitioner/d1",
        practitioner_display: Some("A. Doctor"),
        organization: Some("Organization/o1"),
        performer: Some("Patient/p1"),
        detail: Some(detail),
        state,
        at: TimeMs(1_798_000_000_000),
        valid_until: TimeMs(1_799_539_200_000),
        answer_by: TimeMs(1_798_900_000_000),
        session_ms: Count(7_200_000),
        standing: false,
        write: detail.write,
        session: Some(SessionId([8; 16])),
    }
}

#[test]
fn what_is_rendered_is_valid_r4_and_reads_back_as_the_same() {
    let asked = parsed();
    let rendered = render(&view(&asked.detail, ConsentState::Requested));
    vouchsafe_fhir_structure::check("Consent", &serde_json::to_vec(&rendered).unwrap()).unwrap();
    let again = parse_request(&rendered).unwrap();
    assert_eq!(again.detail, asked.detail);
    assert_eq!((again.valid_until, again.session_ms, again.standing), (asked.valid_until, asked.session_ms, false));
    assert_eq!(again.answer_by, Some(TimeMs(1_798_900_000_000)));
}

#[test]
fn every_state_has_its_own_name_and_an_r4_status() {
    let detail = parsed().detail;
    for (state, status, name) in [
        (ConsentState::Requested, "proposed", "requested"),
        (ConsentState::Granted, "active", "granted"),
        (ConsentState::Denied, "rejected", "denied"),
        (ConsentState::Lapsed, "inactive", "lapsed"),
        (ConsentState::Expired, "inactive", "expired"),
        (ConsentState::Revoked, "inactive", "revoked"),
        (ConsentState::Ended, "inactive", "ended"),
    ] {
        let value = render(&view(&detail, state));
        assert_eq!(value["status"], status);
        let extensions = value["extension"].as_array().unwrap();
        assert!(extensions.iter().any(|e| e["url"] == systems::LEDGER_STATE && e["valueCode"] == name));
    }
}

#[test]
fn without_the_detail_nothing_sealed_is_shown() {
    let detail = parsed().detail;
    let mut view = view(&detail, ConsentState::Requested);
    view.detail = None;
    let value = render(&view);
    vouchsafe_fhir_structure::check("Consent", &serde_json::to_vec(&value).unwrap()).unwrap();
    let text = value.to_string();
    for sealed in ["TREAT", "hiv", "medications", "follow-up", "2020"] {
        assert!(!text.contains(sealed), "{sealed}");
    }
    assert!(!format!("{detail:?}").contains("follow-up"));
}

#[test]
fn a_decision_may_be_empty_a_consent_or_parameters() {
    assert_eq!(parse_decision(&Value::Null), Ok(None));
    assert_eq!(parse_decision(&json!({ "resourceType": "Parameters" })), Ok(None));
    let wrapped = json!({ "resourceType": "Parameters", "parameter": [{ "name": "consent", "resource": request() }] });
    assert_eq!(parse_decision(&wrapped).unwrap(), Some(parsed()));
    assert_eq!(parse_decision(&request()).unwrap(), Some(parsed()));
    assert!(parse_decision(&json!({ "resourceType": "Parameters", "parameter": [{ "name": "other" }] })).is_err());
    assert!(parse_decision(&json!({ "resourceType": "Patient" })).is_err());
}

#[test]
fn the_sealed_detail_is_read_strictly() {
    let detail = parsed().detail;
    let text = serde_json::to_string(&detail).unwrap();
    assert_eq!(serde_json::from_str::<ConsentDetail>(&text).unwrap(), detail);
    let more = text.replacen('{', r#"{"extra":1,"#, 1);
    assert!(serde_json::from_str::<ConsentDetail>(&more).is_err());
    assert!(serde_json::from_str::<ConsentDetail>(&text.replace("medications", "everything")).is_err());
}

#[test]
fn the_commitment_binds_every_member_and_the_salt() {
    let detail = parsed().detail;
    let salt = [1; 32];
    let base = detail.commitment(&salt);
    let mut shuffled = detail.clone();
    shuffled.categories.reverse();
    assert_eq!(shuffled.commitment(&salt), base);
    assert_ne!(detail.commitment(&[2; 32]), base);
    let changes: [fn(&mut ConsentDetail); 6] = [
        |d| d.purpose[0].code = "X".into(),
        |d| d.reason = None,
        |d| d.categories = vec![Category::Medications],
        |d| d.excluded.clear(),
        |d| d.data_period = None,
        |d| d.write = false,
    ];
    for change in changes {
        let mut other = detail.clone();
        change(&mut other);
        assert_ne!(other.commitment(&salt), base);
    }
}

#[test]
fn tags_are_sixteen_sorted_salted_and_refuse_too_many() {
    let mut n = 0_u8;
    let mut random = move || {
        n += 1;
        [n; 16]
    };
    let tags = tags(&[1; 32], &[Category::Hiv, Category::Claims], &mut random).unwrap();
    assert_eq!(tags.len(), TAGS);
    assert!(vouchsafe_types::state::tags_ascend(&tags));
    assert!(tags.contains(&tag(&[1; 32], Category::Hiv)));
    assert_ne!(tag(&[1; 32], Category::Hiv), tag(&[2; 32], Category::Hiv));
    assert!(super::tags(&[1; 32], &[], || [0; 16]).is_err());
    assert!(super::tags(&[1; 32], &Category::all()[..17], || [0; 16]).is_err());
    let granted = granted_tags(&tags, &[1; 32], &[Category::Hiv, Category::Claims], &[Category::Claims]);
    assert_eq!(granted.len(), TAGS - 1);
    assert!(!granted.contains(&tag(&[1; 32], Category::Hiv)));
}

proptest! {
    #[test]
    fn what_is_within_admits_no_more(
        asked in prop::collection::vec(0..Category::ALL.len(), 1..6),
        granted in prop::collection::vec(0..Category::ALL.len(), 1..6),
        excluded in prop::collection::vec(0..Category::ALL.len(), 0..3),
        years in (1990..2030_i32, 0..20_i32, 1990..2030_i32, 0..20_i32),
    ) {
        let all = |n: &[usize]| n.iter().map(|i| Category::ALL[*i]).collect::<Vec<_>>();
        let period = |from: i32, length: i32| {
            DateRange::of_period(Some(&from.to_string()), Some(&(from + length).to_string()))
        };
        let base = parsed().detail;
        let outer = ConsentDetail {
            categories: all(&asked), excluded: all(&excluded), data_period: period(years.0, years.1), ..base
        };
        let inner = ConsentDetail { categories: all(&granted), data_period: period(years.2, years.3), ..outer.clone() };
        if inner.check_within(&outer).is_ok() {
            for category in Category::ALL {
                for year in 1985..2055 {
                    let date = DateRange::parse(&year.to_string());
                    prop_assert!(!inner.admits(*category, date, NOW) || outer.admits(*category, date, NOW));
                }
            }
        }
    }
}
