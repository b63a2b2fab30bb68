//! What nobody who means well sends, each refused by its code.

use vouchsafe_types::{
    AccountId, Code, Count, OkpJwk, Tx,
    jws::{Sign, sign_statement, sign_tx, signing_input},
    state::Params,
    tx::{EndKey, Enrolment, Role, Verdict},
};

use crate::world::{Cast, MINUTE, Party, TestKey, code};

#[test]
fn what_was_signed_for_one_chain_is_nothing_on_another() {
    let mut here = Cast::new();
    // The same founders and keys, another parameter: another digest, hence another chain.
    let mut there = Cast::with(Params { max_leaves: Count(999), ..Params::default() });
    assert_ne!(here.world.chain, there.world.chain);
    let tx: Tx = here.world.anchor(&here.hospital.clone(), 1, None).into();
    let raw = sign_tx(&here.hospital.key, &here.world.chain, &tx);
    assert!(here.world.block(std::slice::from_ref(&raw))[0].is_ok());
    assert_eq!(code(there.world.block(&[raw]).remove(0)), Code::WrongChain);

    // Nor does a word given there let anybody do something here.
    let device = TestKey::new(60);
    let mut tx = here.world.add_device(&here.patient.clone(), &device);
    tx.acceptance = there.world.acceptance(&device, here.patient.id, "vouchsafe/device");
    assert_eq!(code(here.world.act(&here.patient.key.clone(), tx)), Code::BadAcceptance);
}

#[test]
fn an_authority_that_is_none_any_more_judges_nobody() {
    let mut cast = Cast::new();
    let (authority, hospital) = (cast.authority.clone(), cast.hospital.clone());
    let second = Party::new(40);
    let tx = cast.world.register(&authority, &second, Role::Authority);
    cast.world.act(&authority.key, tx).unwrap();
    let judges = |cast: &mut Cast, key: &TestKey| {
        let tx = cast.world.judgement(&cast.doctor.clone(), Verdict::Suspend);
        code(cast.world.act(key, tx))
    };
    assert_eq!(judges(&mut cast, &TestKey::new(99)), Code::UnknownKey, "one that nobody registered");
    assert_eq!(judges(&mut cast, &second.key), Code::OrganizationNotVerified, "one that nobody has looked at");
    assert_eq!(judges(&mut cast, &hospital.key), Code::NotAllowed, "a hospital");
    cast.judged(&second, Verdict::Verify);
    cast.judged(&second, Verdict::Suspend);
    assert_eq!(judges(&mut cast, &second.key), Code::OrganizationNotVerified, "a suspended one");
    cast.judged(&second, Verdict::Revoke);
    assert_eq!(judges(&mut cast, &second.key), Code::OrganizationNotVerified, "a revoked one");
    // A key that the authority itself has removed.
    let other = TestKey::new(41);
    let tx = cast.world.add_device(&authority, &other);
    cast.world.act(&authority.key, tx).unwrap();
    let tx = EndKey { nonce: cast.world.nonce(), expires: cast.world.soon(), kid: authority.key.kid() };
    cast.world.act(&other, tx).unwrap();
    assert_eq!(judges(&mut cast, &authority.key), Code::KeyEnded, "a removed one");
}

#[test]
fn nothing_is_taken_late_or_for_later() {
    let mut cast = Cast::new();
    let hospital = cast.hospital.clone();
    let mut at = |ms: u64| {
        let mut tx = cast.world.anchor(&hospital, 1, None);
        tx.expires = vouchsafe_types::TimeMs(ms);
        code(cast.world.act(&hospital.key, tx))
    };
    let now = crate::world::START.0;
    assert_eq!(at(0), Code::Expired);
    assert_eq!(at(now - MINUTE), Code::Expired);
    assert_eq!(at(now + 30 * MINUTE), Code::TooFarAhead);
    assert_eq!(at((1 << 53) - 1), Code::TooFarAhead);
}

/// The neutral point: with it as the key, R the neutral point and S zero sign anything.
struct Nobody;

impl Sign for Nobody {
    fn public(&self) -> OkpJwk {
        let mut point = [0; 32];
        point[0] = 1;
        OkpJwk::new(point)
    }

    fn sign(&self, _: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature[0] = 1;
        signature
    }
}

#[test]
fn a_key_under_which_anybody_can_sign_gets_no_account_and_no_device() {
    let mut cast = Cast::new();
    let (hospital, new) = (cast.hospital.clone(), Party::new(70));
    let mut tx = cast.world.register(&hospital, &new, Role::Patient);
    tx.ed25519 = Nobody.public();
    tx.account = AccountId::of_key(tx.ed25519.bytes());
    let enrolment = Enrolment {
        account: tx.account,
        sponsor: hospital.id,
        role: Role::Patient,
        rsa: tx.rsa.kid(),
        custodial: false,
        affiliate: false,
        expires: cast.world.soon(),
    };
    tx.enrolment = sign_statement(&Nobody, &cast.world.chain, Enrolment::TYP, &enrolment);
    assert_eq!(code(cast.world.act(&hospital.key, tx)), Code::BadAcceptance);

    // A mandate takes the agent's key unheard; it signs nothing all the same.
    let mut tx = cast.world.mandate(&hospital, &TestKey::new(71));
    tx.agent = Nobody.public();
    cast.world.act(&cast.doctor.key.clone(), tx).unwrap();
    let ask: Tx = cast.world.ask(&hospital, &cast.doctor.clone(), &cast.patient.clone()).into();
    let input = signing_input(&Nobody.public().kid(), ask.typ(), &cast.world.chain, &ask.payload_bytes());
    let raw = vouchsafe_types::jws::attach(&input, &Nobody.sign(input.as_bytes()));
    assert_eq!(code(cast.world.block(&[raw]).remove(0)), Code::BadSignature);
}

#[test]
fn a_number_in_serde_jsons_private_shape_is_no_number() {
    let mut cast = Cast::new();
    let tx: Tx = cast.world.anchor(&cast.hospital.clone(), 1, None).into();
    let payload = String::from_utf8(tx.payload_bytes()).unwrap();
    let plain = format!(r#""expires":{}"#, tx.expires());
    assert!(payload.contains(&plain));
    let private = format!(r#""expires":{{"$serde_json::private::Number":"{}"}}"#, tx.expires());
    let payload = payload.replace(&plain, &private);
    let key = &cast.hospital.key;
    let input = signing_input(&key.kid(), tx.typ(), &cast.world.chain, payload.as_bytes());
    let raw = vouchsafe_types::jws::attach(&input, &key.sign(input.as_bytes()));
    assert_eq!(code(cast.world.block(&[raw]).remove(0)), Code::Malformed);
}
