//! Keys and signatures that a lenient verifier would take, and statements in a second shape.

use ed25519_consensus::{Signature, VerificationKey};
use serde_json::json;
use vouchsafe_types::{
    AccountId, Code, OkpJwk, TimeMs,
    jws::{Sign, Unverified, attach, open_statement, sign_tx, signing_input, verify_batch, verify_signature},
    tx::{Acceptance, End, Tx},
};

use crate::keys::{CHAIN, key};

fn end(n: u8) -> Tx {
    End { nonce: vouchsafe_types::Nonce([n; 16]), expires: TimeMs(1), session: vouchsafe_types::SessionId([1; 16]) }
        .into()
}

/// Every encoding of a point of small order that ZIP-215 takes, the sign set and not.
fn small_orders() -> Vec<[u8; 32]> {
    let texts = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    let points = texts.iter().map(|text| <[u8; 32]>::try_from(hex::decode(text).unwrap()).unwrap());
    points
        .flat_map(|point| [0, 0x80].map(|sign| [&point[..31], &[point[31] | sign]].concat().try_into().unwrap()))
        .collect()
}

/// R the neutral point, S zero: what needs no secret.
fn nobodys() -> [u8; 64] {
    let mut signature = [0; 64];
    signature[0] = 1;
    signature
}

#[test]
fn a_key_of_small_order_signs_nothing() {
    let mut lenient = 0;
    for point in small_orders() {
        let key = OkpJwk::new(point);
        let tx = end(1);
        let input = signing_input(&key.kid(), tx.typ(), CHAIN, &tx.payload_bytes());
        let taken =
            VerificationKey::try_from(point).and_then(|k| k.verify(&Signature::from(nobodys()), input.as_bytes()));
        lenient += usize::from(taken.is_ok());
        assert!(!verify_signature(&key, input.as_bytes(), &nobodys()), "{point:02x?}");
        let read = || Unverified::parse(attach(&input, &nobodys()).as_bytes(), CHAIN).unwrap();
        assert_eq!(read().verify(&key).unwrap_err().code, Code::BadSignature);
        let batch = verify_batch(vec![(read(), key)], rand_core::OsRng);
        assert_eq!(batch[0].as_ref().unwrap_err().code, Code::BadSignature, "in a batch, too");
    }
    assert!(lenient >= 8, "ZIP-215 by itself takes these: {lenient}");
}

#[test]
fn a_malleated_signature_is_refused_alone_and_in_a_batch() {
    // The order of the group, little-endian: S + L says the same to a verifier that does not look.
    let order = hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
    let good = sign_tx(&key(), CHAIN, &end(1));
    let (input, signature) = good.rsplit_once('.').unwrap();
    let mut bytes: [u8; 64] = vouchsafe_types::b64::decode(signature).unwrap().try_into().unwrap();
    let mut carry = 0;
    for (s, l) in bytes[32..].iter_mut().zip(order) {
        let sum = u16::from(*s) + u16::from(l) + carry;
        (*s, carry) = (u8::try_from(sum & 0xff).unwrap(), sum >> 8);
    }
    let malleated = Unverified::parse(attach(input, &bytes).as_bytes(), CHAIN).unwrap();
    assert_eq!(malleated.clone().verify(&key().public()).unwrap_err().code, Code::BadSignature);
    let others = (2..9).map(|n| Unverified::parse(sign_tx(&key(), CHAIN, &end(n)).as_bytes(), CHAIN).unwrap());
    let batch = others.chain([malleated]).map(|tx| (tx, key().public())).collect();
    let said = verify_batch(batch, rand_core::OsRng);
    assert!(said[..7].iter().all(Result::is_ok), "one that is bad spoils no other");
    assert_eq!(said[7].as_ref().unwrap_err().code, Code::BadSignature);
}

#[test]
fn a_statement_has_one_shape() {
    let account = AccountId([1; 16]).to_string();
    let plain = json!({"account": account, "act": "vouchsafe/device", "expires": 7}).to_string();
    let open = |payload: &str| {
        let input = signing_input(&key().public().kid(), Acceptance::TYP, CHAIN, payload.as_bytes());
        let text = attach(&input, &key().sign(input.as_bytes()));
        open_statement::<Acceptance>(&text, CHAIN, Acceptance::TYP, &key().public())
    };
    assert_eq!(open(&plain).unwrap().expires, TimeMs(7));
    for (fault, payload) in [
        ("private number", plain.replace(":7", r#":{"$serde_json::private::Number":"7"}"#)),
        ("array", format!(r#"["{account}","vouchsafe/device",7]"#)),
        ("unknown member", plain.replace('{', r#"{"note":"","#)),
        ("duplicate member", plain.replace('{', r#"{"expires":9,"#)),
        ("fraction", plain.replace(":7", ":7.0")),
    ] {
        assert_ne!(payload, plain, "{fault}");
        assert_eq!(open(&payload).unwrap_err().code, Code::Malformed, "{fault}");
    }
}
