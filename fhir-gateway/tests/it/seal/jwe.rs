//! Envelopes, and above all those that must be refused. The `rsa` and `aes-gcm` crates are the oracle.

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, OsRng, Payload},
};
use proptest::prelude::*;
use rsa::{Oaep, RsaPublicKey};
use serde_json::{Value, json};
use vouchsafe_gateway::seal::{
    RsaUnwrap,
    jwe::{JweError, MAX_RECIPIENTS, MAX_TEXT, decrypt, decrypt_compact, encrypt, encrypt_compact},
};
use vouchsafe_types::{RsaJwk, b64};

use super::{RSA, device::in_rsa_crate};

const TYP: &str = "vouchsafe/test";

fn recipients() -> Vec<RsaJwk> {
    RSA.iter().map(RsaUnwrap::public).collect()
}

/// Recipients whose private keys nobody has.
fn strangers(count: u8) -> Vec<RsaJwk> {
    (0..count).map(|n| RsaJwk::new([vec![0xc0, n], vec![0x55; 382]].concat()).unwrap()).collect()
}

fn honest() -> Value {
    serde_json::from_str(&encrypt(TYP, b"secret", &recipients()).unwrap()).unwrap()
}

fn opened(envelope: &Value) -> Result<Vec<u8>, JweError> {
    decrypt(TYP, &envelope.to_string(), &RSA[0]).map(|plain| plain.to_vec())
}

/// The honest envelope's content key put under another protected header, as a hostile sender with the key can.
fn with_header(header: &Value) -> Value {
    by_hand(&header.to_string(), Oaep::new::<sha2::Sha256>())
}

fn by_hand(header: &str, padding: Oaep) -> Value {
    let (key, iv) = ([9; 32], [8; 12]);
    let protected = b64::encode(header);
    let payload = Payload { msg: b"theirs", aad: protected.as_bytes() };
    let sealed = Aes256Gcm::new(&key.into()).encrypt(&iv.into(), payload).unwrap();
    let (ciphertext, tag) = sealed.split_at(sealed.len() - 16);
    let wrapped = RsaPublicKey::from(&in_rsa_crate(&RSA[0])).encrypt(&mut OsRng, padding, &key).unwrap();
    json!({
        "protected": protected, "recipients": [{ "encrypted_key": b64::encode(wrapped) }],
        "iv": b64::encode(iv), "ciphertext": b64::encode(ciphertext), "tag": b64::encode(tag),
    })
}

fn header() -> Value {
    json!({ "alg": "RSA-OAEP-256", "enc": "A256GCM", "typ": TYP })
}

#[test]
fn every_recipient_opens_it_and_nobody_else() {
    let text = encrypt(TYP, b"secret", &recipients()).unwrap();
    for key in RSA.iter() {
        assert_eq!(decrypt(TYP, &text, key).unwrap().as_slice(), b"secret");
    }
    let text = encrypt(TYP, b"secret", &recipients()[..1]).unwrap();
    assert_eq!(decrypt(TYP, &text, &RSA[1]).map(|_| ()), Err(JweError::NotOpened));
}

#[test]
fn what_other_crates_encrypt_opens() {
    assert_eq!(opened(&with_header(&header())), Ok(b"theirs".to_vec()));
}

#[test]
fn other_crates_open_what_we_encrypt() {
    let envelope = honest();
    let theirs = in_rsa_crate(&RSA[0]);
    let bytes = |member: &Value| b64::decode(member.as_str().unwrap()).unwrap();
    let key = envelope["recipients"]
        .as_array()
        .unwrap()
        .iter()
        .find_map(|r| theirs.decrypt(Oaep::new::<sha2::Sha256>(), &bytes(&r["encrypted_key"])).ok())
        .unwrap();
    let sealed = [bytes(&envelope["ciphertext"]), bytes(&envelope["tag"])].concat();
    let payload = Payload { msg: &sealed, aad: envelope["protected"].as_str().unwrap().as_bytes() };
    let plain = Aes256Gcm::new_from_slice(&key).unwrap().decrypt(bytes(&envelope["iv"])[..].into(), payload).unwrap();
    assert_eq!(plain, b"secret");
}

#[test]
fn the_number_of_recipients_is_a_multiple_of_eight() {
    for (count, padded) in [(1, 8), (7, 8), (8, 8), (9, 16), (64, 64)] {
        let text = encrypt(TYP, b"", &strangers(count)).unwrap();
        let envelope: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(envelope["recipients"].as_array().unwrap().len(), padded);
    }
    for count in [0, 65] {
        let refused = encrypt(TYP, b"", &strangers(65)[..count]).map(|_| ());
        assert_eq!(refused, Err(JweError::Recipients(count)));
    }
}

#[test]
fn recipients_are_not_named_and_dummies_look_alike() {
    let envelope = honest();
    for recipient in envelope["recipients"].as_array().unwrap() {
        let members = recipient.as_object().unwrap();
        assert_eq!(members.keys().collect::<Vec<_>>(), ["encrypted_key"]);
        assert_eq!(b64::decode(members["encrypted_key"].as_str().unwrap()).unwrap().len(), 384);
    }
    let text = envelope.to_string();
    assert!(recipients().iter().all(|key| !text.contains(&key.kid().to_string())));
    let protected = b64::decode(envelope["protected"].as_str().unwrap()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&protected).unwrap(), header());
}

/// The first recipient named does not stay first.
#[test]
fn recipients_are_shuffled() {
    let places: std::collections::BTreeSet<usize> = (0..40)
        .map(|_| {
            let text = encrypt(TYP, b"", &recipients()[..1]).unwrap();
            let envelope: Value = serde_json::from_str(&text).unwrap();
            let wrapped = envelope["recipients"].as_array().unwrap();
            let opens = |r: &Value| RSA[0].unwrap_oaep(&b64::decode(r["encrypted_key"].as_str().unwrap()).unwrap());
            wrapped.iter().position(|r| opens(r).is_ok()).unwrap()
        })
        .collect();
    // That forty draws from eight places show one place only has a chance of 2^-117.
    assert!(places.len() > 1);
}

#[test]
fn a_recipient_named_twice_is_one() {
    let twice = vec![recipients()[0].clone(); 9];
    let envelope: Value = serde_json::from_str(&encrypt(TYP, b"", &twice).unwrap()).unwrap();
    assert_eq!(envelope["recipients"].as_array().unwrap().len(), 8);
}

#[test]
fn compression_and_every_other_member_of_the_header_are_refused() {
    for (name, member) in [
        ("zip", json!("DEF")),
        ("crit", json!(["exp"])),
        ("kid", json!("a")),
        ("p2c", json!(1_000_000_000)),
        ("p2s", json!("AA")),
        ("epk", json!({})),
        ("jku", json!("https://attacker.example")),
        ("cty", json!("JWT")),
    ] {
        let mut header = header();
        header[name] = member;
        assert!(matches!(opened(&with_header(&header)), Err(JweError::Malformed(_))), "{name}");
    }
}

#[test]
fn other_algorithms_are_refused() {
    for alg in ["RSA1_5", "RSA-OAEP", "RSA-OAEP-512", "PBES2-HS256+A128KW", "dir", "A256KW", "ECDH-ES", "none", ""] {
        let header = json!({ "alg": alg, "enc": "A256GCM", "typ": TYP });
        assert!(matches!(opened(&with_header(&header)), Err(JweError::Malformed(_))), "{alg}");
    }
    for enc in ["A128GCM", "A256CBC-HS512", "A128CBC-HS256", ""] {
        let header = json!({ "alg": "RSA-OAEP-256", "enc": enc, "typ": TYP });
        assert!(matches!(opened(&with_header(&header)), Err(JweError::Malformed(_))), "{enc}");
    }
    let sha1_like = Oaep::new_with_mgf_hash::<sha2::Sha256, sha2::Sha512>();
    assert_eq!(opened(&by_hand(&header().to_string(), sha1_like)), Err(JweError::NotOpened));
}

/// RFC 7516 appendix A.1 and A.2: RSA-OAEP with SHA-1, and RSA1_5.
#[test]
fn the_examples_of_rfc_7516_are_refused() {
    for header in [r#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#, r#"{"alg":"RSA1_5","enc":"A128CBC-HS256"}"#] {
        let text = format!(
            "{}.{}.48V1_ALb6US04U3b.5eym8TW_c8SuK0ltJ3rpYIzOeDQz7TALvtu6UG9oMo4vpzs9tX_EFShS8iB7j6ji\
            SdiwkIr3ajwQzaBtQD_A.XFBoMYUZodetZdvTiFvSkQ",
            b64::encode(header),
            b64::encode([7; 256])
        );
        assert!(matches!(decrypt_compact(TYP, &text, &RSA[0]), Err(JweError::Malformed(_))));
    }
}

#[test]
fn a_header_with_a_member_twice_is_refused() {
    let twice = r#"{"alg":"RSA-OAEP-256","alg":"RSA-OAEP-256","enc":"A256GCM","typ":"vouchsafe/test"}"#;
    assert!(matches!(opened(&by_hand(twice, Oaep::new::<sha2::Sha256>())), Err(JweError::Malformed(_))));
}

#[test]
fn an_envelope_with_other_members_is_refused() {
    for (name, member) in [
        ("unprotected", json!({ "zip": "DEF" })),
        ("aad", json!("AA")),
        ("header", json!({})),
        ("encrypted_key", json!("AA")),
    ] {
        let mut envelope = honest();
        envelope[name] = member;
        assert!(matches!(opened(&envelope), Err(JweError::Malformed(_))), "{name}");
    }
    let mut envelope = honest();
    envelope["recipients"][0]["header"] = json!({ "alg": "RSA1_5" });
    assert!(matches!(opened(&envelope), Err(JweError::Malformed(_))));
    for name in ["protected", "recipients", "iv", "ciphertext", "tag"] {
        let mut envelope = honest();
        envelope.as_object_mut().unwrap().remove(name);
        assert!(matches!(opened(&envelope), Err(JweError::Malformed(_))), "{name}");
        let text = honest().to_string().replacen('{', &format!("{{\"{name}\":{},", honest()[name]), 1);
        assert!(matches!(decrypt(TYP, &text, &RSA[0]), Err(JweError::Malformed(_))), "{name} twice");
    }
}

#[test]
fn another_type_is_refused() {
    let text = encrypt("vouchsafe/other", b"secret", &recipients()).unwrap();
    assert_eq!(decrypt(TYP, &text, &RSA[0]).map(|_| ()), Err(JweError::WrongType));
    let text = encrypt_compact("vouchsafe/other", b"secret", &recipients()[0]).unwrap();
    assert_eq!(decrypt_compact(TYP, &text, &RSA[0]).map(|_| ()), Err(JweError::WrongType));
}

#[test]
fn too_many_recipients_are_refused_before_any_is_tried() {
    let mut envelope = honest();
    let one = envelope["recipients"][0].clone();
    envelope["recipients"] = vec![one; MAX_RECIPIENTS + 1].into();
    assert_eq!(opened(&envelope), Err(JweError::Recipients(MAX_RECIPIENTS + 1)));
    envelope["recipients"] = json!([]);
    assert_eq!(opened(&envelope), Err(JweError::Recipients(0)));
}

#[test]
fn too_long_a_text_is_refused() {
    let text = format!("{}{}", encrypt(TYP, b"", &recipients()).unwrap(), " ".repeat(MAX_TEXT));
    assert_eq!(decrypt(TYP, &text, &RSA[0]).map(|_| ()), Err(JweError::TooLarge));
    assert_eq!(decrypt_compact(TYP, &text, &RSA[0]).map(|_| ()), Err(JweError::TooLarge));
    assert_eq!(encrypt(TYP, &vec![0; MAX_TEXT], &recipients()).map(|_| ()), Err(JweError::TooLarge));
}

/// A recipient's key is put in the place of another's, and a content key of the wrong length.
#[test]
fn a_wrong_content_key_opens_nothing() {
    let mut envelope = honest();
    envelope["recipients"] = honest()["recipients"].clone();
    assert_eq!(opened(&envelope), Err(JweError::NotOpened));
    let short = RsaPublicKey::from(&in_rsa_crate(&RSA[0])).encrypt(&mut OsRng, Oaep::new::<sha2::Sha256>(), &[9; 16]);
    envelope["recipients"] = json!([{ "encrypted_key": b64::encode(short.unwrap()) }]);
    assert_eq!(opened(&envelope), Err(JweError::NotOpened));
    for hostile in ["", "AA", "====", "a b"] {
        envelope["recipients"] = json!([{ "encrypted_key": hostile }]);
        assert!(opened(&envelope).is_err());
    }
}

/// Another's wrap with which this key happens to open something else comes first: the right one is still found.
#[test]
fn a_decoy_does_not_hide_the_recipient_s_own_key() {
    let mut envelope = honest();
    let decoy = with_header(&header())["recipients"][0].clone();
    envelope["recipients"].as_array_mut().unwrap().insert(0, decoy);
    assert_eq!(opened(&envelope), Ok(b"secret".to_vec()));
}

#[test]
fn the_compact_form_has_five_segments() {
    let text = encrypt_compact(TYP, b"secret", &recipients()[0]).unwrap();
    assert_eq!(decrypt_compact(TYP, &text, &RSA[0]).unwrap().as_slice(), b"secret");
    assert_eq!(decrypt_compact(TYP, &text, &RSA[1]).map(|_| ()), Err(JweError::NotOpened));
    for bad in [String::new(), text.replacen('.', "", 1), format!("{text}."), format!("{text}=")] {
        assert!(matches!(decrypt_compact(TYP, &bad, &RSA[0]), Err(JweError::Malformed(_))));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn opens_as_encrypted(plain in prop::collection::vec(any::<u8>(), 0..3_000)) {
        let text = encrypt(TYP, &plain, &recipients()).unwrap();
        let opened = decrypt(TYP, &text, &RSA[1]).unwrap();
        prop_assert_eq!(opened.as_slice(), plain.as_slice());
    }

    #[test]
    fn a_compact_text_altered_anywhere_does_not_open(at in 0usize..10_000, other in "[A-Za-z0-9_.=-]") {
        let text = encrypt_compact(TYP, b"secret", &recipients()[0]).unwrap();
        let at = at % text.len();
        prop_assume!(text[at..=at] != other);
        let mut altered = text;
        altered.replace_range(at..=at, &other);
        prop_assert!(decrypt_compact(TYP, &altered, &RSA[0]).is_err());
    }

    #[test]
    fn any_text_read_as_an_envelope_never_panics(text in ".{0,300}") {
        prop_assert!(decrypt(TYP, &text, &RSA[0]).is_err());
        prop_assert!(decrypt_compact(TYP, &text, &RSA[0]).is_err());
    }
}
