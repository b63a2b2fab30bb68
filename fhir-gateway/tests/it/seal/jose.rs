//! Tokens, and above all those that must be refused.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair},
};
use proptest::prelude::*;
use rsa::Pkcs1v15Sign;
use serde_json::{Value, json};
use sha2::{Digest, Sha384};
use vouchsafe_gateway::seal::{
    device::Es384Key,
    jose::{ClientJwk, JoseError, MAX_TOKEN, sign_es384, unverified_payload, verify},
};
use vouchsafe_types::b64;

use super::{RSA, device::in_rsa_crate};

fn es384() -> (Es384Key, ClientJwk) {
    let key = Es384Key::generate().unwrap();
    let jwk = ClientJwk::parse(&key.public().to_json()).unwrap();
    (key, jwk)
}

/// A token with any header, signed by the key as ES384.
fn es384_with(key: &Es384Key, header: &Value) -> String {
    es384_by_hand(key, &header.to_string())
}

fn es384_by_hand(key: &Es384Key, header: &str) -> String {
    let jwk = key.to_private_jwk().unwrap();
    let member = |name: &str| b64::decode(jwk[name].as_str().unwrap()).unwrap();
    let point = [&[4], &member("x")[..], &member("y")].concat();
    let pair =
        EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P384_SHA384_FIXED_SIGNING, &member("d"), &point).unwrap();
    let input = format!("{}.{}", b64::encode(header), b64::encode("{}"));
    let signature = pair.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
    format!("{input}.{}", b64::encode(signature))
}

#[test]
fn a_token_of_the_client_s_key_is_accepted() {
    let (key, jwk) = es384();
    let token = sign_es384(&key, br#"{"iss":"client"}"#).unwrap();
    let verified = verify(&token, &[jwk]).unwrap();
    assert_eq!(verified.payload(), br#"{"iss":"client"}"#);
    assert_eq!(verified.kid(), key.public().kid());
    assert_eq!(unverified_payload(&token).unwrap(), verified.payload());
}

/// A token by RS384 that the `rsa` crate signed.
fn rs384(header: &Value) -> (String, ClientJwk) {
    let input = format!("{}.{}", b64::encode(header.to_string()), b64::encode("{}"));
    // DigestInfo of SHA-384 (RFC 8017 section 9.2, note 1).
    let prefix = hex::decode("3041300d060960864801650304020205000430").unwrap();
    let padding = Pkcs1v15Sign { hash_len: Some(48), prefix: prefix.into() };
    let signature = in_rsa_crate(&RSA[0]).sign(padding, &Sha384::digest(input.as_bytes())).unwrap();
    let private = RSA[0].to_private_jwk();
    let jwk = json!({ "kty": "RSA", "n": private["n"], "e": "AQAB", "kid": "r" });
    (format!("{input}.{}", b64::encode(signature)), ClientJwk::parse(&jwk).unwrap())
}

#[test]
fn rs384_is_accepted() {
    let (token, jwk) = rs384(&json!({ "alg": "RS384", "kid": "r", "typ": "JWT" }));
    assert_eq!(verify(&token, &[jwk]).unwrap().payload(), b"{}");
}

#[test]
fn other_algorithms_are_refused() {
    let (key, jwk) = es384();
    let kid = key.public().kid();
    for alg in ["none", "None", "", "HS256", "HS384", "RS256", "PS384", "ES256", "ES512", "EdDSA", "es384"] {
        let token = es384_with(&key, &json!({ "alg": alg, "kid": kid, "typ": "JWT" }));
        assert_eq!(verify(&token, std::slice::from_ref(&jwk)), Err(JoseError::Algorithm), "{alg}");
    }
}

/// `none` as it is sent: without a signature.
#[test]
fn an_unsigned_token_is_refused() {
    let (_, jwk) = es384();
    let unsigned =
        |alg| format!("{}.{}.", b64::encode(json!({ "alg": alg, "kid": jwk.kid() }).to_string()), b64::encode("{}"));
    assert_eq!(verify(&unsigned("none"), std::slice::from_ref(&jwk)), Err(JoseError::Algorithm));
    assert_eq!(verify(&unsigned("ES384"), std::slice::from_ref(&jwk)), Err(JoseError::BadSignature));
}

/// The header says another algorithm than the key's: the key decides.
#[test]
fn the_token_does_not_choose_the_algorithm() {
    let (key, jwk) = es384();
    let token = es384_with(&key, &json!({ "alg": "RS384", "kid": key.public().kid(), "typ": "JWT" }));
    assert_eq!(verify(&token, &[jwk]), Err(JoseError::UnknownKey));
    let (token, jwk) = rs384(&json!({ "alg": "ES384", "kid": "r", "typ": "JWT" }));
    assert_eq!(verify(&token, &[jwk]), Err(JoseError::UnknownKey));
}

/// HMAC with the public key as secret, the oldest confusion.
#[test]
fn a_mac_under_the_public_key_is_refused() {
    let (key, jwk) = es384();
    let public = key.public().to_json().to_string();
    let input =
        format!("{}.{}", b64::encode(json!({ "alg": "HS384", "kid": jwk.kid() }).to_string()), b64::encode("{}"));
    let mac = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA384, public.as_bytes());
    let tag = aws_lc_rs::hmac::sign(&mac, input.as_bytes());
    assert_eq!(verify(&format!("{input}.{}", b64::encode(tag.as_ref())), &[jwk]), Err(JoseError::Algorithm));
}

#[test]
fn critical_members_are_refused() {
    let (key, jwk) = es384();
    let header = json!({ "alg": "ES384", "kid": key.public().kid(), "crit": ["b64"], "b64": false });
    assert!(matches!(verify(&es384_with(&key, &header), &[jwk]), Err(JoseError::Malformed(_))));
}

#[test]
fn a_token_without_kid_or_of_another_type_is_refused() {
    let (key, jwk) = es384();
    let kid = key.public().kid();
    for header in [json!({ "alg": "ES384" }), json!({ "alg": "ES384", "kid": kid, "typ": "vouchsafe/register" })] {
        let verified = verify(&es384_with(&key, &header), std::slice::from_ref(&jwk));
        assert!(matches!(verified, Err(JoseError::Malformed(_))), "{header}");
    }
    let other = es384_with(&key, &json!({ "alg": "ES384", "kid": "other" }));
    assert_eq!(verify(&other, &[jwk]), Err(JoseError::UnknownKey));
}

#[test]
fn another_key_s_signature_is_refused() {
    let (_, jwk) = es384();
    let (other, _) = es384();
    let token = es384_with(&other, &json!({ "alg": "ES384", "kid": jwk.kid() }));
    assert_eq!(verify(&token, &[jwk]), Err(JoseError::BadSignature));
}

/// After Wycheproof: zeros, ones, r or s at and above the group's order, a cut, a longer one, DER in place of fixed form.
#[test]
fn hostile_signatures_are_refused() {
    const ORDER: &str =
        "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973";
    let (key, jwk) = es384();
    let token = sign_es384(&key, b"{}").unwrap();
    let (input, signature) = token.rsplit_once('.').unwrap();
    let whole = b64::decode(signature).unwrap();
    let order = hex::decode(ORDER).unwrap();
    let mut one = vec![0; 96];
    one[47] = 1;
    one[95] = 1;
    let der = [&[0x30, 0x64, 0x02, 0x30][..], &whole[..48], &[0x02, 0x30], &whole[48..]].concat();
    let hostile = [
        vec![],
        vec![0; 96],
        one,
        vec![0xff; 96],
        [&order[..], &whole[48..]].concat(),
        [&whole[..48], &order].concat(),
        [&order[..], &order].concat(),
        whole[..95].to_vec(),
        [&whole[..], &[0]].concat(),
        der,
        [&whole[48..], &whole[..48]].concat(),
    ];
    for signature in hostile {
        let token = format!("{input}.{}", b64::encode(&signature));
        assert_eq!(
            verify(&token, std::slice::from_ref(&jwk)),
            Err(JoseError::BadSignature),
            "{}",
            hex::encode(signature)
        );
    }
}

#[test]
fn a_token_that_is_none_is_refused() {
    let (key, jwk) = es384();
    let token = sign_es384(&key, b"{}").unwrap();
    let duplicate = es384_by_hand(&key, r#"{"alg":"ES384","alg":"ES384","kid":"a"}"#);
    let deep = es384_by_hand(&key, &"[".repeat(5_000));
    let long = sign_es384(&key, &vec![b' '; MAX_TOKEN]).unwrap();
    let padded = token.replacen('.', "=.", 1);
    let more = format!("{token}.{token}");
    for bad in ["", ".", "..", "a.b", &padded, &more, &duplicate, &deep, &long] {
        let verified = verify(bad, std::slice::from_ref(&jwk));
        assert!(matches!(verified, Err(JoseError::Malformed(_))), "{verified:?}");
    }
}

#[test]
fn keys_that_must_not_serve_are_refused() {
    let (key, _) = es384();
    let public = key.public().to_json();
    let with = |name: &str, member: Value| {
        let mut jwk = public.clone();
        jwk[name] = member;
        jwk
    };
    let modulus = |bytes: usize, first: u8| {
        let mut n = vec![0x55; bytes];
        n[0] = first;
        json!({ "kty": "RSA", "e": "AQAB", "n": b64::encode(n) })
    };
    let small_exponent = json!({ "kty": "RSA", "e": "Aw", "n": b64::encode(vec![0xff; 384]) });
    for bad in [
        key.to_private_jwk().unwrap(),
        with("crv", json!("P-256")),
        with("kty", json!("oct")),
        with("alg", json!("HS384")),
        with("use", json!("enc")),
        with("k", json!("AA")),
        with("x", json!("AA")),
        with("x", json!(7)),
        json!({ "kty": "oct", "k": "c2VjcmV0" }),
        modulus(255, 0xff),
        modulus(384, 0x00),
        modulus(1_024, 0xff),
        small_exponent,
        json!(null),
    ] {
        assert!(matches!(ClientJwk::parse(&bad), Err(JoseError::BadKey(_))), "{bad}");
    }
    assert!(ClientJwk::parse(&with("ext", json!(true))).is_ok(), "unknown members are ignored, as RFC 7517 asks");
}

/// A point that is not on the curve verifies nothing and breaks nothing.
#[test]
fn a_point_off_the_curve_verifies_nothing() {
    let (key, _) = es384();
    let mut jwk = key.public().to_json();
    jwk["y"] = b64::encode([1; 48]).into();
    let off = ClientJwk::parse(&jwk).unwrap();
    assert_eq!(verify(&sign_es384(&key, b"{}").unwrap(), &[off]), Err(JoseError::BadSignature));
}

#[test]
fn a_set_has_1_to_32_usable_keys() {
    let (key, jwk) = es384();
    let public = key.public().to_json();
    assert_eq!(ClientJwk::parse_set(&json!({ "keys": [public] })).unwrap(), [jwk]);
    for bad in [json!({}), json!({ "keys": [] }), json!({ "keys": vec![public; 33] }), json!({ "keys": [1] })] {
        assert!(ClientJwk::parse_set(&bad).is_err());
    }
}

proptest! {
    #[test]
    fn any_text_read_as_a_token_never_panics(text in "[A-Za-z0-9_.-]{0,200}") {
        prop_assert!(verify(&text, &[]).is_err());
    }

    #[test]
    fn a_token_altered_anywhere_is_refused(at in 0usize..10_000, other in "[A-Za-z0-9_.-]") {
        let (key, jwk) = es384();
        let token = sign_es384(&key, br#"{"iss":"a"}"#).unwrap();
        let at = at % token.len();
        prop_assume!(token[at..=at] != other);
        let mut altered = token;
        altered.replace_range(at..=at, &other);
        prop_assert!(verify(&altered, &[jwk]).is_err());
    }
}
