//! The openly custodial account of a patient without a device.

use vouchsafe_types::{
    Code, RequestId,
    tx::{EndKey, Verdict},
};

use crate::world::{Cast, Party, TestKey, code};

/// A doctor of `organization` asks the custodial patient for all that `ask` asks for.
fn asked(cast: &mut Cast, organization: &Party, doctor: &Party) -> RequestId {
    let patient = cast.custodial.clone();
    let tx = cast.world.ask(organization, doctor, &patient);
    let id = RequestId::derive(&doctor.id, &tx.nonce);
    cast.world.act(&doctor.key, tx).unwrap();
    id
}

fn approve(cast: &mut Cast, request: RequestId, key: &TestKey) -> crate::world::Said {
    let terms = cast.world.request(&request).asked;
    let tx = cast.world.decide(request, Some(terms));
    cast.world.act(key, tx)
}

#[test]
fn the_organisation_approves_other_organisations_doctors_openly() {
    for by_own_key in [true, false] {
        let mut cast = Cast::new();
        let request = cast.asked(&cast.custodial.clone());
        let key = if by_own_key { cast.other.key.clone() } else { cast.custodial.key.clone() };
        approve(&mut cast, request, &key).unwrap();
        assert!(cast.world.request(&request).decision.unwrap().custodial, "it is called what it is");
    }
}

#[test]
fn the_organisation_never_approves_its_own_doctors() {
    let mut cast = Cast::new();
    let (other, colleague, doctor, hospital) =
        (cast.other.clone(), cast.colleague.clone(), cast.doctor.clone(), cast.hospital.clone());
    let own = asked(&mut cast, &other, &colleague);
    for key in [other.key.clone(), cast.custodial.key.clone()] {
        assert_eq!(code(approve(&mut cast, own, &key)), Code::OwnDoctor);
    }
    // A doctor who asks for another organisation and also works here is still an own doctor.
    let tx = cast.world.affiliate(&other, &doctor);
    cast.world.act(&other.key, tx).unwrap();
    let shared = asked(&mut cast, &hospital, &doctor);
    for key in [other.key.clone(), cast.custodial.key.clone()] {
        assert_eq!(code(approve(&mut cast, shared, &key)), Code::OwnDoctor);
    }
    let tx = cast.world.decide(own, None);
    cast.world.act(&other.key, tx).unwrap();
}

#[test]
fn the_printed_kit_approves_the_organisations_own_doctors() {
    let mut cast = Cast::new();
    let (other, colleague) = (cast.other.clone(), cast.colleague.clone());
    let kit = TestKey::new(80);
    let tx = cast.world.add_device(&cast.custodial, &kit);
    cast.world.act(&cast.custodial.key, tx).unwrap();
    let request = asked(&mut cast, &other, &colleague);
    approve(&mut cast, request, &kit).unwrap();
    assert!(!cast.world.request(&request).decision.unwrap().custodial);
}

#[test]
fn another_organisation_signs_for_nobody() {
    let mut cast = Cast::new();
    let request = cast.asked(&cast.custodial.clone());
    let hospital = cast.hospital.key.clone();
    assert_eq!(code(approve(&mut cast, request, &hospital)), Code::NotThePatient);
    // Nor does the sponsor of a patient with a device of their own.
    let request = cast.asked(&cast.patient.clone());
    assert_eq!(code(approve(&mut cast, request, &hospital)), Code::NotThePatient);
}

#[test]
fn a_suspended_organisation_signs_for_nobody() {
    let mut cast = Cast::new();
    let request = cast.asked(&cast.custodial.clone());
    cast.judged(&cast.other.clone(), Verdict::Suspend);
    for key in [cast.other.key.clone(), cast.custodial.key.clone()] {
        assert_eq!(code(approve(&mut cast, request, &key)), Code::OrganizationNotVerified);
    }
}

#[test]
fn the_custodial_key_does_not_remove_the_kit_but_the_kit_ends_custody() {
    let mut cast = Cast::new();
    let kit = TestKey::new(80);
    let tx = cast.world.add_device(&cast.custodial, &kit);
    cast.world.act(&cast.custodial.key, tx).unwrap();
    let tx = EndKey { nonce: cast.world.nonce(), expires: cast.world.soon(), kid: kit.kid() };
    assert_eq!(code(cast.world.act(&cast.custodial.key, tx)), Code::NotAllowed);
    let tx = EndKey { nonce: cast.world.nonce(), expires: cast.world.soon(), kid: cast.custodial.key.kid() };
    cast.world.act(&kit, tx).unwrap();
    assert!(!cast.world.account(&cast.custodial.id).custodial);
    let request = cast.asked(&cast.custodial.clone());
    let other = cast.other.key.clone();
    assert_eq!(code(approve(&mut cast, request, &other)), Code::NotThePatient);
}

#[test]
fn the_organisation_ends_its_custodial_patients_session() {
    let mut cast = Cast::new();
    let request = cast.asked(&cast.custodial.clone());
    let other = cast.other.key.clone();
    approve(&mut cast, request, &other).unwrap();
    let session = cast.opened(request);
    let tx = cast.world.end(session);
    cast.world.act(&other, tx).unwrap();
    assert_eq!(cast.world.standing(&session), Err(Code::SessionNotLive));
}
