//! Hostile envelopes: each file in `schemas/tx/envelope` is named by its fault, and `expected.json` says with which
//! code it is refused.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vouchsafe_types::{
    Code, Rejection, b64,
    jws::{Sign, Unverified, attach, sign_tx},
    tx::End,
};

use crate::{
    files::{self, schemas},
    keys::{CHAIN, key},
    samples::{EXPIRES, NONCE},
};

fn payload() -> String {
    let tx = End { nonce: NONCE, expires: EXPIRES, session: vouchsafe_types::SessionId([1; 16]) };
    serde_json::to_string(&tx).unwrap()
}

fn header() -> String {
    format!(r#"{{"alg":"EdDSA","kid":"{}","typ":"vouchsafe/end","chain":"{CHAIN}"}}"#, key().public().kid())
}

/// A truly signed JWS over any header and payload.
fn signed(header: &str, payload: &str) -> String {
    let input = format!("{}.{}", b64::encode(header), b64::encode(payload));
    attach(&input, &key().sign(input.as_bytes()))
}

/// Every vector: its fault, its text, the code that refuses it; none for the one that is good.
fn vectors() -> Vec<(&'static str, String, Option<Code>)> {
    let (header, payload) = (header(), payload());
    let good = signed(&header, &payload);
    let with_header = |from: &str, to: &str| {
        assert!(header.contains(from), "{from}");
        signed(&header.replacen(from, to, 1), &payload)
    };
    let with_payload = |from: &str, to: &str| {
        assert!(payload.contains(from), "{from}");
        signed(&header, &payload.replacen(from, to, 1))
    };
    let expires = format!(r#""expires":{EXPIRES}"#);
    let malformed = Some(Code::Malformed);
    let mut all = vec![
        ("header-duplicate-member", with_header("{", r#"{"alg":"EdDSA","#), malformed),
        ("header-unknown-member", with_header("{", r#"{"crit":["exp"],"#), malformed),
        ("header-missing-chain", with_header(&format!(r#","chain":"{CHAIN}""#), ""), malformed),
        (
            "header-as-array",
            signed(&format!(r#"["EdDSA","{}","vouchsafe/end","{CHAIN}"]"#, key().public().kid()), &payload),
            malformed,
        ),
        ("header-not-json", signed("alg=EdDSA", &payload), malformed),
        ("alg-none", with_header("EdDSA", "none"), malformed),
        ("alg-hs256", with_header("EdDSA", "HS256"), malformed),
        ("alg-in-other-case", with_header("EdDSA", "eddsa"), malformed),
        ("typ-unknown", with_header("vouchsafe/end", "vouchsafe/transfer"), malformed),
        ("typ-of-another-transaction", with_header("vouchsafe/end", "vouchsafe/revoke"), malformed),
        ("typ-of-a-statement", with_header("vouchsafe/end", "vouchsafe/acceptance"), malformed),
        ("chain-of-another-consortium", with_header(CHAIN, "other"), Some(Code::WrongChain)),
        ("payload-duplicate-member", with_payload("{", &format!("{{{expires},")), malformed),
        ("payload-duplicate-member-escaped", with_payload("{", r#"{"\u0065xpires":1,"#), malformed),
        ("payload-unknown-member", with_payload("{", r#"{"note":"","#), malformed),
        (
            "payload-private-number",
            with_payload(&expires, &format!(r#""expires":{{"$serde_json::private::Number":"{EXPIRES}"}}"#)),
            malformed,
        ),
        ("payload-number-with-fraction-zero", with_payload(&expires, &format!("{expires}.0")), malformed),
        ("payload-number-with-exponent", with_payload(&expires, r#""expires":18e11"#), malformed),
        ("payload-number-above-2-to-53", with_payload(&expires, r#""expires":9007199254740992"#), malformed),
        (
            "payload-number-of-a-thousand-digits",
            with_payload(&expires, &format!(r#""expires":{}"#, "9".repeat(1000))),
            malformed,
        ),
        ("payload-trailing-text", signed(&header, &format!("{payload}{payload}")), malformed),
        (
            "payload-nested-10000-deep",
            with_payload("{", &format!(r#"{{"a":{}{},"#, "[".repeat(10_000), "]".repeat(10_000))),
            malformed,
        ),
        (
            "payload-as-array",
            signed(&header, &format!(r#"["{NONCE}",{EXPIRES},"01010101010101010101010101010101"]"#)),
            malformed,
        ),
        ("payload-with-byte-order-mark", signed(&header, &format!("\u{feff}{payload}")), malformed),
        ("payload-empty", signed(&header, ""), malformed),
    ];
    all.extend(broken(&good));
    all.push(("valid", good, None));
    all
}

/// What breaks the outer text of a good one.
fn broken(good: &str) -> Vec<(&'static str, String, Option<Code>)> {
    let parts: Vec<&str> = good.split('.').collect();
    let (h, p, s) = (parts[0], parts[1], parts[2]);
    let malformed = Some(Code::Malformed);
    let mut other = key().sign(b"something else");
    let elsewhere = b64::encode(other);
    other[63] |= 0xe0;
    vec![
        ("text-empty", String::new(), malformed),
        ("text-two-segments", format!("{h}.{p}"), malformed),
        ("text-four-segments", format!("{good}."), malformed),
        ("text-with-newline", format!("{good}\n"), malformed),
        ("text-json-serialization", json!({"protected": h, "payload": p, "signature": s}).to_string(), malformed),
        ("header-padded-base64", format!("{h}=.{p}.{s}"), malformed),
        ("payload-standard-base64", format!("{h}.{p}+/.{s}"), malformed),
        (
            "payload-flipped",
            format!("{h}.{}.{s}", b64::encode(payload().replace("01", "02"))),
            Some(Code::BadSignature),
        ),
        ("signature-empty", format!("{h}.{p}."), malformed),
        ("signature-too-short", format!("{h}.{p}.{}", &s[..84]), malformed),
        ("signature-with-trailing-bits", format!("{h}.{p}.{}", trailing(s)), malformed),
        ("signature-of-something-else", format!("{h}.{p}.{elsewhere}"), Some(Code::BadSignature)),
        ("signature-with-large-s", format!("{h}.{p}.{}", b64::encode(other)), Some(Code::BadSignature)),
        ("signature-all-zero", format!("{h}.{p}.{}", b64::encode([0; 64])), Some(Code::BadSignature)),
    ]
}

/// The same 64 bytes, with a last character whose unused bits are not zero.
fn trailing(signature: &str) -> String {
    let (rest, last) = signature.split_at(85);
    let next = match last {
        "A" => "B",
        "Q" => "R",
        "g" => "h",
        _ => "x",
    };
    format!("{rest}{next}")
}

fn judged(text: &str) -> Result<(), Rejection> {
    Unverified::parse(text.as_bytes(), CHAIN)?.verify(&key().public()).map(drop)
}

#[test]
fn the_vectors_on_disk_are_these() {
    let mut expected: BTreeMap<String, String> = BTreeMap::new();
    let mut codes = serde_json::Map::new();
    for (fault, text, code) in vectors() {
        expected.insert(format!("{fault}.txt"), text);
        codes.insert(format!("{fault}.txt"), code.map_or(Value::Null, |c| c.name().into()));
    }
    let list = json!({ "chain": CHAIN, "key": key().public(), "refused": codes });
    expected.insert("expected.json".into(), format!("{}\n", serde_json::to_string_pretty(&list).unwrap()));
    files::same(&schemas().join("tx/envelope"), &expected);
}

#[test]
fn each_hostile_envelope_is_refused_with_its_code() {
    let folder = schemas().join("tx/envelope");
    let files: BTreeMap<String, String> = files::read(&folder).into_iter().collect();
    let list: Value = serde_json::from_str(&files["expected.json"]).unwrap();
    let expected = list["refused"].as_object().unwrap();
    assert_eq!(expected.len(), files.len() - 1);
    for (file, code) in expected {
        let found = judged(&files[file]).err().map_or(Value::Null, |r| r.code.name().into());
        assert_eq!(found, *code, "{file}");
    }
}

#[test]
fn what_is_signed_is_what_is_read() {
    let tx = End { nonce: NONCE, expires: EXPIRES, session: vouchsafe_types::SessionId([1; 16]) };
    assert_eq!(sign_tx(&key(), CHAIN, &tx.into()), signed(&header(), &payload()));
}
