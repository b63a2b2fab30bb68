//! Who may ask, and for what.

use vouchsafe_types::{
    Code, Count, RequestId, Tag,
    tx::{Ask, EndAffiliation, Role, Verdict},
};

use crate::world::{Cast, HOUR, Party, code, tags};

fn asks(cast: &mut Cast) -> vouchsafe_types::Rejection {
    let (hospital, doctor, patient) = (cast.hospital.clone(), cast.doctor.clone(), cast.patient.clone());
    let tx = cast.world.ask(&hospital, &doctor, &patient);
    cast.world.act(&doctor.key, tx).unwrap_err()
}

#[test]
fn a_doctor_asks_only_while_the_credential_stands() {
    let mut cast = Cast::new();
    let doctor = cast.doctor.clone();
    let mut late = cast.clone();
    late.world.wait(1001 * HOUR);
    assert_eq!(asks(&mut late).code, Code::CredentialExpired);
    cast.judged(&doctor, Verdict::Suspend);
    assert_eq!(asks(&mut cast).code, Code::Suspended);
    cast.judged(&doctor, Verdict::Revoke);
    assert_eq!(asks(&mut cast).code, Code::CredentialRevoked);
}

#[test]
fn a_doctor_who_was_never_verified_does_not_ask() {
    let mut cast = Cast::new();
    let new = Party::new(20);
    let tx = cast.world.register(&cast.hospital, &new, Role::Doctor);
    cast.world.act(&cast.hospital.key, tx).unwrap();
    let tx = cast.world.ask(&cast.hospital, &new, &cast.patient);
    assert_eq!(code(cast.world.act(&new.key, tx)), Code::NotVerified);
    // Somebody else's credential is not the doctor's.
    let tx = cast.world.ask(&cast.hospital, &cast.doctor, &cast.patient);
    assert_eq!(code(cast.world.act(&new.key, tx)), Code::NotFound);
}

#[test]
fn a_doctor_of_another_hospital_does_not_ask() {
    let mut cast = Cast::new();
    let tx = cast.world.ask(&cast.other, &cast.doctor, &cast.patient);
    assert_eq!(code(cast.world.act(&cast.doctor.key, tx)), Code::NotAffiliated);
    let tx = EndAffiliation {
        nonce: cast.world.nonce(),
        expires: cast.world.soon(),
        doctor: cast.doctor.id,
        organization: cast.hospital.id,
    };
    cast.world.act(&cast.hospital.key, tx).unwrap();
    assert_eq!(asks(&mut cast).code, Code::NotAffiliated);
}

#[test]
fn nobody_asks_for_an_organisation_that_is_not_verified() {
    let mut cast = Cast::new();
    cast.judged(&cast.hospital.clone(), Verdict::Suspend);
    assert_eq!(asks(&mut cast).code, Code::OrganizationNotVerified);
}

#[test]
fn a_doctor_asks_a_patient() {
    let mut cast = Cast::new();
    let tx = cast.world.ask(&cast.hospital, &cast.doctor, &Party::new(30));
    assert_eq!(code(cast.world.act(&cast.doctor.key, tx)), Code::NotFound);
    let tx = cast.world.ask(&cast.hospital, &cast.doctor, &cast.colleague);
    assert_eq!(code(cast.world.act(&cast.doctor.key, tx)), Code::NotAllowed);
    let tx = cast.world.ask(&cast.hospital, &cast.doctor, &cast.patient);
    assert_eq!(code(cast.world.act(&cast.hospital.key, tx)), Code::NotAllowed);
}

type Spoil = fn(&mut Ask);

#[test]
fn tags_are_sixteen_and_ascend() {
    let mut cast = Cast::new();
    let faults: [Spoil; 4] = [
        |a| a.terms.tags.truncate(15),
        |a| a.terms.tags.push(Tag([200; 16])),
        |a| a.terms.tags.swap(3, 4),
        |a| a.terms.tags[1] = a.terms.tags[0],
    ];
    for spoil in faults {
        let mut tx = cast.world.ask(&cast.hospital, &cast.doctor, &cast.patient);
        assert_eq!(tx.terms.tags, tags(1));
        spoil(&mut tx);
        assert_eq!(code(cast.world.act(&cast.doctor.key, tx)), Code::BadTags);
    }
}

#[test]
fn times_follow_each_other() {
    let mut cast = Cast::new();
    let faults: [Spoil; 6] = [
        |a| a.answer_by.0 -= 2 * HOUR,
        |a| a.terms.valid_until = a.answer_by,
        |a| a.terms.valid_until.0 += 366 * 24 * HOUR,
        |a| a.terms.session_ms = Count(0),
        |a| a.terms.session_ms = Count(24 * HOUR + 1),
        |a| a.answer_by = a.terms.valid_until,
    ];
    for spoil in faults {
        let mut tx = cast.world.ask(&cast.hospital, &cast.doctor, &cast.patient);
        spoil(&mut tx);
        assert_eq!(code(cast.world.act(&cast.doctor.key, tx)), Code::BadTimes);
    }
}

#[test]
fn a_forgotten_nonce_overwrites_no_request() {
    let mut cast = Cast::new();
    let tx = cast.world.ask(&cast.hospital, &cast.doctor, &cast.patient);
    let nonce = tx.nonce;
    cast.world.act(&cast.doctor.key, tx).unwrap();
    let before = cast.world.request(&RequestId::derive(&cast.doctor.id, &nonce));
    cast.world.wait(HOUR);
    let mut tx = cast.world.ask(&cast.hospital, &cast.doctor, &cast.patient);
    tx.nonce = nonce;
    assert_eq!(code(cast.world.act(&cast.doctor.key, tx)), Code::AlreadyExists);
    assert_eq!(cast.world.request(&RequestId::derive(&cast.doctor.id, &nonce)), before);
}
