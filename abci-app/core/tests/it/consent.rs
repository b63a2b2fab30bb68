//! Decisions, sessions and what ends them.

use vouchsafe_types::{
    Code, Count, Event, SessionId, Tag,
    state::ConsentState,
    tx::{EndAffiliation, Terms, Verdict},
};

use crate::world::{Cast, HOUR, MINUTE, code};

#[test]
fn only_the_patient_decides() {
    let mut cast = Cast::new();
    let request = cast.asked(&cast.patient.clone());
    for party in [&cast.doctor, &cast.hospital, &cast.custodial, &cast.colleague, &cast.authority] {
        let tx = cast.world.decide(request, None);
        assert_eq!(code(cast.world.act(&party.key, tx)), Code::NotThePatient);
    }
    let tx = cast.world.decide(vouchsafe_types::RequestId([0; 16]), None);
    assert_eq!(code(cast.world.act(&cast.patient.key, tx)), Code::NotFound);
}

#[test]
fn a_grant_never_exceeds_its_request() {
    type Widen = fn(&mut Terms);
    let faults: [(Widen, Code); 9] = [
        (|t| t.tags[15] = Tag([250; 16]), Code::WiderThanRequest),
        (|t| t.tags.push(Tag([251; 16])), Code::WiderThanRequest),
        (|t| t.write = true, Code::WiderThanRequest),
        (|t| t.valid_until.0 += 1, Code::WiderThanRequest),
        (|t| t.session_ms.0 += 1, Code::WiderThanRequest),
        (|t| t.standing = true, Code::WiderThanRequest),
        (|t| t.tags.clear(), Code::BadTags),
        (|t| t.tags.reverse(), Code::BadTags),
        (|t| t.session_ms = Count(0), Code::BadTimes),
    ];
    let mut cast = Cast::new();
    let (hospital, doctor, patient) = (cast.hospital.clone(), cast.doctor.clone(), cast.patient.clone());
    let mut tx = cast.world.ask(&hospital, &doctor, &patient);
    tx.terms.write = false;
    let (id, asked) = (vouchsafe_types::RequestId::derive(&doctor.id, &tx.nonce), tx.terms.clone());
    cast.world.act(&doctor.key, tx).unwrap();
    for (i, (widen, expected)) in faults.into_iter().enumerate() {
        let mut terms = asked.clone();
        widen(&mut terms);
        let tx = cast.world.decide(id, Some(terms));
        assert_eq!(code(cast.world.act(&patient.key, tx)), expected, "fault {i}");
    }
    let mut past = asked.clone();
    past.valid_until = cast.world.time;
    let tx = cast.world.decide(id, Some(past));
    assert_eq!(code(cast.world.act(&patient.key, tx)), Code::BadTimes);

    let narrower = Terms { tags: asked.tags[4..6].to_vec(), ..asked };
    let tx = cast.world.decide(id, Some(narrower.clone()));
    cast.world.act(&patient.key, tx).unwrap();
    assert_eq!(cast.world.request(&id).decision.unwrap().granted, Some(narrower));
}

#[test]
fn a_request_is_decided_once() {
    let mut cast = Cast::new();
    let request = cast.asked(&cast.patient.clone());
    let tx = cast.world.decide(request, None);
    cast.world.act(&cast.patient.key, tx).unwrap();
    let asked = cast.world.request(&request).asked;
    let tx = cast.world.decide(request, Some(asked));
    assert_eq!(code(cast.world.act(&cast.patient.key, tx)), Code::NotRequested);
    let tx = cast.world.open(request);
    assert_eq!(code(cast.world.act(&cast.doctor.key, tx)), Code::NotGranted);
}

#[test]
fn ignored_is_not_denied() {
    let mut cast = Cast::new();
    let request = cast.asked(&cast.patient.clone());
    assert_eq!(cast.world.wait(HOUR), [Event::RequestLapsed { request }]);
    assert_eq!(cast.world.request(&request).state_at(cast.world.time, None), ConsentState::Lapsed);
    let tx = cast.world.decide(request, None);
    assert_eq!(code(cast.world.act(&cast.patient.key, tx)), Code::Lapsed);
}

#[test]
fn only_its_doctor_opens_a_grant_and_only_a_grant_opens() {
    let mut cast = Cast::new();
    let request = cast.asked(&cast.patient.clone());
    let tx = cast.world.open(request);
    assert_eq!(code(cast.world.act(&cast.doctor.key, tx)), Code::NotGranted);
    let grant = cast.granted(false);
    for party in [&cast.colleague, &cast.patient, &cast.hospital] {
        let tx = cast.world.open(grant);
        assert_eq!(code(cast.world.act(&party.key, tx)), Code::NotTheDoctor);
    }
    let tx = cast.world.open(vouchsafe_types::RequestId([0; 16]));
    assert_eq!(code(cast.world.act(&cast.doctor.key, tx)), Code::NotFound);
}

#[test]
fn a_visit_opens_once() {
    let mut cast = Cast::new();
    let grant = cast.granted(false);
    cast.opened(grant);
    let tx = cast.world.open(grant);
    assert_eq!(code(cast.world.act(&cast.doctor.key, tx)), Code::GrantSpent);
}

#[test]
fn a_grant_that_was_taken_back_or_ran_out_opens_nothing() {
    let mut cast = Cast::new();
    let grant = cast.granted(true);
    let mut late = cast.clone();
    assert!(late.world.wait(48 * HOUR).contains(&Event::GrantExpired { request: grant }));
    let tx = late.world.open(grant);
    assert_eq!(code(late.world.act(&cast.doctor.key, tx)), Code::GrantExpired);

    let tx = cast.world.revoke(grant);
    assert_eq!(code(cast.world.act(&cast.doctor.key, tx)), Code::NotThePatient);
    let tx = cast.world.revoke(grant);
    cast.world.act(&cast.patient.key, tx).unwrap();
    let tx = cast.world.open(grant);
    assert_eq!(code(cast.world.act(&cast.doctor.key, tx)), Code::GrantRevoked);
    let tx = cast.world.revoke(grant);
    assert_eq!(code(cast.world.act(&cast.patient.key, tx)), Code::GrantRevoked);
    assert_eq!(cast.world.request(&grant).state_at(cast.world.time, None), ConsentState::Revoked);
    assert!(cast.world.wait(48 * HOUR).is_empty(), "a revoked grant does not expire as well");
}

#[test]
fn what_was_not_granted_is_not_revoked() {
    let mut cast = Cast::new();
    let request = cast.asked(&cast.patient.clone());
    let tx = cast.world.revoke(request);
    assert_eq!(code(cast.world.act(&cast.patient.key, tx)), Code::NotGranted);
}

#[test]
fn a_session_opens_only_while_its_doctor_stands() {
    let mut cast = Cast::new();
    let grant = cast.granted(true);
    let (doctor, hospital) = (cast.doctor.clone(), cast.hospital.clone());
    let refused = |mut cast: Cast, expected| {
        let tx = cast.world.open(grant);
        assert_eq!(code(cast.world.act(&doctor.key, tx)), expected);
    };
    let mut suspended = cast.clone();
    suspended.judged(&doctor, Verdict::Suspend);
    refused(suspended, Code::Suspended);
    let mut fallen = cast.clone();
    fallen.judged(&hospital, Verdict::Suspend);
    refused(fallen, Code::OrganizationNotVerified);
    let tx = EndAffiliation {
        nonce: cast.world.nonce(),
        expires: cast.world.soon(),
        doctor: doctor.id,
        organization: hospital.id,
    };
    cast.world.act(&doctor.key, tx).unwrap();
    refused(cast, Code::NotAffiliated);
}

#[test]
fn a_fallen_credential_ends_sessions_in_its_block_and_reinstating_revives_none() {
    let mut cast = Cast::new();
    let grant = cast.granted(true);
    let session = cast.opened(grant);
    for subject in [cast.doctor.clone(), cast.hospital.clone()] {
        let mut cast = cast.clone();
        cast.judged(&subject, Verdict::Suspend);
        let expected = if subject.id == cast.doctor.id { Code::Suspended } else { Code::OrganizationNotVerified };
        assert_eq!(cast.world.standing(&session), Err(expected));
        cast.judged(&subject, Verdict::Reinstate);
        assert_eq!(cast.world.standing(&session), Err(Code::GrantFallen));
        let again = cast.opened(grant);
        assert_eq!(cast.world.standing(&again), Ok(()), "the grant itself stands");
    }
}

#[test]
fn a_new_affiliation_revives_no_session() {
    let mut cast = Cast::new();
    let grant = cast.granted(true);
    let session = cast.opened(grant);
    let tx = EndAffiliation {
        nonce: cast.world.nonce(),
        expires: cast.world.soon(),
        doctor: cast.doctor.id,
        organization: cast.hospital.id,
    };
    cast.world.act(&cast.hospital.key, tx).unwrap();
    assert_eq!(cast.world.standing(&session), Err(Code::NotAffiliated));
    let tx = cast.world.affiliate(&cast.hospital, &cast.doctor);
    cast.world.act(&cast.hospital.key, tx).unwrap();
    assert_eq!(cast.world.standing(&session), Err(Code::GrantFallen));
}

#[test]
fn a_session_lasts_no_longer_than_anything_it_rests_on() {
    let mut cast = Cast::new();
    let grant = cast.granted(true);
    let whole = cast.opened(grant);
    let opened = cast.world.session(&whole);
    assert_eq!(opened.expires, opened.opened.plus(HOUR));
    cast.world.wait(48 * HOUR - 20 * MINUTE);
    let cut = cast.opened(grant);
    assert_eq!(cast.world.session(&cut).expires, cast.world.request(&grant).asked.valid_until);

    let mut cast = Cast::new();
    let grant = cast.granted(true);
    let doctor = cast.doctor.clone();
    cast.judged(&doctor, Verdict::Suspend);
    let mut tx = cast.world.judgement(&doctor, Verdict::Reinstate);
    let until = cast.world.time.plus(MINUTE);
    tx.valid_until = Some(until);
    cast.world.act(&cast.authority.key, tx).unwrap();
    let short = cast.opened(grant);
    assert_eq!(cast.world.session(&short).expires, until);
}

#[test]
fn doctor_and_patient_end_a_session_and_nobody_else() {
    let mut cast = Cast::new();
    let grant = cast.granted(true);
    for party in [cast.doctor.clone(), cast.patient.clone()] {
        let session = cast.opened(grant);
        for stranger in [&cast.colleague, &cast.custodial, &cast.hospital] {
            let tx = cast.world.end(session);
            assert_eq!(code(cast.world.act(&stranger.key, tx)), Code::NotTheDoctor);
        }
        let tx = cast.world.end(session);
        cast.world.act(&party.key, tx).unwrap();
        assert_eq!(cast.world.standing(&session), Err(Code::SessionNotLive));
        let tx = cast.world.end(session);
        assert_eq!(code(cast.world.act(&party.key, tx)), Code::SessionNotLive);
    }
    let tx = cast.world.end(SessionId([0; 16]));
    assert_eq!(code(cast.world.act(&cast.doctor.key, tx)), Code::NotFound);
}

#[test]
fn an_ended_session_expires_silently() {
    let mut cast = Cast::new();
    let grant = cast.granted(false);
    let session = cast.opened(grant);
    let tx = cast.world.end(session);
    cast.world.act(&cast.doctor.key, tx).unwrap();
    assert!(cast.world.wait(48 * HOUR).is_empty());
}
