//! Each act on a Consent is in the audit log, and what is only prepared or refused is not.

use serde_json::Value;

use super::steps::{Visit, Wish, matches, nothing};

/// What the log says was done with a Consent, the oldest first: the interaction and the Consent's version.
fn acts(bundle: &Value, id: &str) -> Vec<(String, String)> {
    let mut events = matches(bundle);
    events.sort_by(|a, b| a["recorded"].as_str().cmp(&b["recorded"].as_str()));
    let of = |event: &Value| {
        let what = event["entity"]
            .as_array()?
            .iter()
            .find_map(|e| e["what"]["reference"].as_str()?.strip_prefix("Consent/"))?;
        let version = what.strip_prefix(id)?.to_owned();
        Some((event["subtype"][0]["code"].as_str()?.to_owned(), version))
    };
    events.iter().filter_map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_act_on_a_consent_is_in_the_audit_log() {
    let v = Visit::start().await;
    let (id, _) = v.session(&Wish { standing: true, ..Wish::default() }).await;
    v.doctors().get(&format!("Consent/{id}")).await.expect(200);
    v.doctors().get(&format!("Consent?patient={}", v.at_b)).await.expect(200);
    v.doctor.act(&v.doctors(), &format!("Consent/{id}/$end-session"), &nothing()).await.expect(200);
    v.patient.act(&v.patients(), &format!("Consent/{id}/$revoke"), &nothing()).await.expect(200);
    let stranger = v.c.person(&v.c.patient("hospital-a", "Fremde").await.0, "hospital-a");
    stranger.get(&format!("Consent/{id}")).await.refusal();

    let said = v.doctors().get("AuditEvent?_count=1000").await.expect(200);
    let at = |kind: &str, version: &str| (kind.to_owned(), format!("/_history/{version}"));
    assert_eq!(
        acts(&said, &id),
        [at("create", "1"), at("operation", "3"), at("read", "3"), at("operation", "4")],
        "asked, opened, read, ended: {said}"
    );
    let searched =
        matches(&said).iter().any(|e| e["subtype"][0]["code"] == "search" && e.to_string().contains(&v.at_b));
    assert!(searched, "{said}");
    let said = v.patients().get(&format!("AuditEvent?patient={}", v.at_a)).await.expect(200);
    assert_eq!(acts(&said, &id), [at("operation", "2"), at("operation", "5")], "approved, revoked: {said}");
    v.c.end().await;
}
