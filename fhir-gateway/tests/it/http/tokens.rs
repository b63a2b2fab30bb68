//! Attacks on the token endpoint, and what a token is worth.

use serde_json::{Value, json};
use vouchsafe_gateway::seal::device::Es384Key;
use vouchsafe_types::b64;

use crate::support::{Answer, Client, Consortium, FOUNDERS};

fn refused(answer: &Answer) -> (u16, String) {
    let body = answer.json();
    assert!(body.get("access_token").is_none(), "{body}");
    (answer.status, body["error_description"].as_str().unwrap().to_owned())
}

async fn with_claims(client: &Client, change: impl FnOnce(&mut Value)) -> (u16, String) {
    let mut claims = client.claims();
    change(&mut claims);
    refused(&client.ask_token(&client.assertion(&claims)).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_assertions_get_no_token() {
    let c = Consortium::of(&FOUNDERS[..2]).await;
    let ehr = c.system("hospital-a");

    let claims = b64::encode(ehr.claims().to_string());
    for header in [json!({"alg": "none"}), json!({"alg": "none", "kid": "x", "typ": "JWT"})] {
        let forged = format!("{}.{claims}.", b64::encode(header.to_string()));
        assert_eq!(refused(&ehr.ask_token(&forged).await).0, 401);
    }
    let symmetric = format!("{}.{claims}.{}", b64::encode(r#"{"alg":"HS384","kid":"x"}"#), b64::encode([0; 48]));
    assert_eq!(refused(&ehr.ask_token(&symmetric).await).0, 401);

    // Another client's key, under the name of this one.
    let other = Es384Key::generate().unwrap();
    let forged = vouchsafe_gateway::seal::jose::sign_es384(&other, ehr.claims().to_string().as_bytes()).unwrap();
    assert_eq!(refused(&ehr.ask_token(&forged).await).0, 401);
    let authority = c.system("authority");
    assert_eq!(refused(&ehr.ask_token(&authority.assertion(&ehr.claims())).await).0, 401);

    let (status, why) = with_claims(&ehr, |c| c["aud"] = json!("http://elsewhere/auth/token")).await;
    assert_eq!((status, why.contains("aud")), (401, true), "{why}");
    let (status, why) = with_claims(&ehr, |c| c["exp"] = json!(1)).await;
    assert_eq!((status, why.contains("expired")), (401, true), "{why}");
    let far = c.clock.now().0 / 1000 + 3_600;
    let (status, why) = with_claims(&ehr, |c| c["exp"] = json!(far)).await;
    assert_eq!((status, why.contains("five minutes")), (401, true), "{why}");
    assert_eq!(with_claims(&ehr, |c| c["sub"] = json!("somebody")).await.0, 401);
    assert_eq!(with_claims(&ehr, |c| c["iss"] = json!("nobody")).await.0, 401);

    let once = ehr.assertion(&ehr.claims());
    assert_eq!(ehr.ask_token(&once).await.status, 200);
    let (status, why) = refused(&ehr.ask_token(&once).await);
    assert_eq!((status, why.contains("jti")), (401, true), "{why}");
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_needed_and_ends() {
    let c = Consortium::of(&FOUNDERS[..2]).await;
    let ehr = c.system("hospital-a");
    assert_eq!(ehr.get("Patient").await.status, 200);
    for bad in ["Bearer nonsense", "Basic eA==", "Bearer"] {
        let nobody = c.nobody("hospital-a");
        let answer = nobody.get_with("Patient", &[("authorization", bad)]).await;
        assert_eq!(answer.refusal().0, 401, "{bad}");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    // A token of another gateway is nothing here.
    let elsewhere = c.system("authority").token().await;
    let answer = c.nobody("hospital-a").get_with("Patient", &[("authorization", &format!("Bearer {elsewhere}"))]).await;
    assert_eq!(answer.refusal().0, 401);
    c.advance(301_000).await;
    assert_eq!(ehr.get("Patient").await.refusal().0, 401);
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_guarded_route_refuses_a_caller_without_a_token() {
    let c = Consortium::of(&FOUNDERS[..2]).await;
    let nobody = c.nobody("hospital-a");
    let id = "00000000000000000000000000000000";
    let metadata = nobody.get("metadata").await.expect(200);
    let mut asked = 0;
    for resource in metadata["rest"][0]["resource"].as_array().unwrap() {
        let name = resource["type"].as_str().unwrap();
        let mut paths: Vec<(reqwest::Method, String)> = Vec::new();
        for interaction in resource["interaction"].as_array().into_iter().flatten() {
            paths.push(match interaction["code"].as_str().unwrap() {
                "read" => (reqwest::Method::GET, format!("{name}/{id}")),
                "vread" => (reqwest::Method::GET, format!("{name}/{id}/_history/1")),
                "update" => (reqwest::Method::PUT, format!("{name}/{id}")),
                "create" => (reqwest::Method::POST, name.to_owned()),
                "delete" => (reqwest::Method::DELETE, format!("{name}/{id}")),
                "history-instance" => (reqwest::Method::GET, format!("{name}/{id}/_history")),
                "history-type" => (reqwest::Method::GET, format!("{name}/_history")),
                "search-type" => (reqwest::Method::GET, name.to_owned()),
                other => panic!("an interaction without a case: {other}"),
            });
        }
        for operation in resource["operation"].as_array().into_iter().flatten() {
            paths.push(match operation["name"].as_str().unwrap() {
                "prepare" if name == "Consent" => (reqwest::Method::POST, "Consent/$prepare".to_owned()),
                "prepare" => continue,
                read @ ("proof" | "directory") => (reqwest::Method::GET, format!("{name}/{id}/${read}")),
                write => (reqwest::Method::POST, format!("{name}/{id}/${write}")),
            });
        }
        // A few types of the 148 stand for those that are served alike.
        let alike = !["Patient", "Practitioner", "Organization", "Consent", "AuditEvent", "Provenance", "Observation"]
            .contains(&name);
        for (method, path) in paths.into_iter().filter(|_| !alike) {
            let reads = [reqwest::Method::GET, reqwest::Method::DELETE].contains(&method);
            let body = (!reads).then(|| b"{}".to_vec());
            assert_eq!(nobody.call(method.clone(), &path, body, &[]).await.refusal().0, 401, "{method} {path}");
            asked += 1;
        }
    }
    assert!(asked > 40, "{asked}");
    c.end().await;
}
