//! Private keys as JWKs, and RSA-OAEP against the `rsa` crate.

use rsa::{BigUint, Oaep, RsaPrivateKey, RsaPublicKey, traits::PublicKeyParts};
use serde_json::{Value, json};
use vouchsafe_gateway::seal::{
    DeviceKeys, GrantKey, KeyWrapping, PatientKey, RsaUnwrap, WrappedToRsa,
    device::{Ed25519Key, Es384Key, PartyKeys, RsaKey},
    keys::{DataKey, UnwrapError},
    oaep::{BadRecipient, unwrap_with, wrap_to},
};
use vouchsafe_types::{RsaJwk, b64, jws::Sign};

use super::RSA;

fn number(jwk: &Value, name: &str) -> BigUint {
    BigUint::from_bytes_be(&b64::decode(jwk[name].as_str().unwrap()).unwrap())
}

/// The same key in the `rsa` crate, built from the JWK, so that the JWK's members are checked by it.
pub(super) fn in_rsa_crate(key: &RsaKey) -> RsaPrivateKey {
    let jwk = key.to_private_jwk();
    let primes = vec![number(&jwk, "p"), number(&jwk, "q")];
    let theirs =
        RsaPrivateKey::from_components(number(&jwk, "n"), number(&jwk, "e"), number(&jwk, "d"), primes).unwrap();
    theirs.validate().unwrap();
    theirs
}

#[test]
fn the_rsa_crate_opens_our_wraps_and_we_open_its() {
    let key = &RSA[0];
    let theirs = in_rsa_crate(key);
    let (grant, data) = (GrantKey::generate(), DataKey::generate());
    let wrapped = wrap_to(&RsaUnwrap::public(key), &grant).unwrap();
    let secret = theirs.decrypt(Oaep::new::<sha2::Sha256>(), wrapped.bytes()).unwrap();

    let again =
        RsaPublicKey::from(&theirs).encrypt(&mut aes_gcm::aead::OsRng, Oaep::new::<sha2::Sha256>(), &secret).unwrap();
    let again: WrappedToRsa = serde_json::from_value(json!(b64::encode(again))).unwrap();
    let opened: GrantKey = unwrap_with(key, &again).unwrap();
    assert!(opened.unwrap(&grant.wrap(&data)).is_ok(), "the key came back whole");
}

#[test]
fn a_wrap_opens_with_its_own_key_only() {
    let wrapped = wrap_to(&RsaUnwrap::public(&RSA[0]), &PatientKey::generate()).unwrap();
    assert!(unwrap_with::<PatientKey>(&RSA[0], &wrapped).is_ok());
    assert_eq!(unwrap_with::<PatientKey>(&RSA[1], &wrapped).map(|_| ()), Err(UnwrapError));
    for at in [0, 100, 383] {
        let mut bytes = wrapped.bytes().to_vec();
        bytes[at] ^= 1;
        let flipped: WrappedToRsa = serde_json::from_value(json!(b64::encode(bytes))).unwrap();
        assert_eq!(unwrap_with::<PatientKey>(&RSA[0], &flipped).map(|_| ()), Err(UnwrapError));
    }
}

/// Hostile ciphertexts after Wycheproof's: nothing, zero, one, the modulus, wrong lengths, wrong hash, wrong label.
#[test]
fn hostile_ciphertexts_do_not_open() {
    let key = &RSA[0];
    let theirs = in_rsa_crate(key);
    let n = theirs.n().to_bytes_be();
    let one = {
        let mut b = vec![0; 384];
        b[383] = 1;
        b
    };
    let public = RsaPublicKey::from(&theirs);
    let mut random = aes_gcm::aead::OsRng;
    let sha1 = public.encrypt(&mut random, Oaep::new_with_mgf_hash::<sha2::Sha256, sha2::Sha512>(), &[1; 32]).unwrap();
    let label = public.encrypt(&mut random, Oaep::new_with_label::<sha2::Sha256, _>("label"), &[1; 32]).unwrap();
    let pkcs1 = public.encrypt(&mut random, rsa::Pkcs1v15Encrypt, &[1; 32]).unwrap();
    for hostile in [vec![], vec![0; 384], one, n.clone(), vec![1; 383], [&n[..], &[0]].concat(), sha1, label, pkcs1] {
        assert_eq!(key.unwrap_oaep(&hostile).map(|_| ()), Err(UnwrapError), "{} bytes", hostile.len());
    }
}

#[test]
fn a_wrapped_secret_of_another_length_is_no_key() {
    let public = RsaPublicKey::from(&in_rsa_crate(&RSA[0]));
    for len in [0, 31, 33] {
        let wrapped = public.encrypt(&mut aes_gcm::aead::OsRng, Oaep::new::<sha2::Sha256>(), &vec![1; len]).unwrap();
        let wrapped: WrappedToRsa = serde_json::from_value(json!(b64::encode(wrapped))).unwrap();
        assert_eq!(unwrap_with::<PatientKey>(&RSA[0], &wrapped).map(|_| ()), Err(UnwrapError));
    }
}

#[test]
fn a_recipient_without_a_key_is_refused() {
    let even = RsaJwk::new([vec![0x80], vec![0; 383]].concat()).unwrap();
    assert_eq!(wrap_to(&even, &PatientKey::generate()).map(|_| ()), Err(BadRecipient));
}

#[test]
fn private_jwks_come_back_whole() {
    let keys = DeviceKeys::generate().unwrap();
    let jwks = keys.to_private_jwks().unwrap();
    let again = DeviceKeys::from_private_jwks(&jwks).unwrap();
    assert_eq!(again.to_private_jwks().unwrap(), jwks);
    assert_eq!(Sign::public(&again), Sign::public(&keys));
    let wrapped = wrap_to(&RsaUnwrap::public(&keys), &PatientKey::generate()).unwrap();
    assert!(unwrap_with::<PatientKey>(&again, &wrapped).is_ok());
    assert_eq!(jwks["keys"].as_array().unwrap().len(), 3);
}

/// A hospital's client has the key of its assertions and nothing else.
#[test]
fn a_party_has_the_keys_that_it_has() {
    for _ in 0..50 {
        // Many, because one P-384 scalar in 256 begins with a zero.
        let party = PartyKeys { es384: Es384Key::generate(), ..PartyKeys::default() };
        let jwks = party.to_private_jwks().unwrap();
        let again = PartyKeys::from_private_jwks(&jwks).unwrap();
        assert!(again.ed25519.is_none() && again.rsa.is_none());
        assert_eq!(again.to_private_jwks().unwrap(), jwks);
        assert!(DeviceKeys::from_private_jwks(&jwks).is_err());
    }
}

#[test]
fn private_jwks_that_contradict_themselves_are_refused() {
    let (ed, other) = (Ed25519Key::generate().to_private_jwk(), Ed25519Key::generate().to_private_jwk());
    let es = Es384Key::generate().unwrap().to_private_jwk().unwrap();
    let es_other = Es384Key::generate().unwrap().to_private_jwk().unwrap();
    let (rsa, rsa_other) = (RSA[0].to_private_jwk(), RSA[1].to_private_jwk());
    let with = |jwk: &Value, name: &str, member: &Value| {
        let mut jwk = jwk.clone();
        jwk[name] = member.clone();
        jwk
    };
    assert!(Ed25519Key::from_private_jwk(&with(&ed, "x", &other["x"])).is_err());
    assert!(Ed25519Key::from_private_jwk(&with(&ed, "crv", &json!("X25519"))).is_err());
    assert!(Ed25519Key::from_private_jwk(&with(&ed, "d", &json!("AA"))).is_err());
    assert!(Es384Key::from_private_jwk(&with(&es, "x", &es_other["x"])).is_err());
    assert!(Es384Key::from_private_jwk(&with(&es, "d", &es_other["d"])).is_err());
    assert!(Es384Key::from_private_jwk(&with(&es, "crv", &json!("P-256"))).is_err());
    for name in ["n", "d", "p", "q", "dp", "dq", "qi"] {
        assert!(RsaKey::from_private_jwk(&with(&rsa, name, &rsa_other[name])).is_err(), "{name}");
        assert!(RsaKey::from_private_jwk(&with(&rsa, name, &Value::Null)).is_err(), "{name}");
    }
    assert!(RsaKey::from_private_jwk(&with(&rsa, "e", &json!("Aw"))).is_err());
    let twice = json!({ "keys": [ed, other] });
    assert!(PartyKeys::from_private_jwks(&twice).is_err());
    assert!(PartyKeys::from_private_jwks(&json!({ "keys": [{ "kty": "oct", "k": "AA" }] })).is_err());
}

/// RFC 8037 appendix A.4.
#[test]
fn signs_as_rfc_8037_says() {
    let key = Ed25519Key::from_private_jwk(&json!({
        "kty": "OKP", "crv": "Ed25519",
        "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    }))
    .unwrap();
    let signature = key.sign(b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc");
    assert_eq!(
        b64::encode(signature),
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    );
}

#[test]
fn debug_shows_no_private_key() {
    let keys = DeviceKeys::generate().unwrap();
    assert_eq!(format!("{keys:?} {:?} {:?}", keys.ed25519(), keys.rsa()), "DeviceKeys(..) Ed25519Key(..) RsaKey(..)");
}
