//! Registration to the session's end, with what each step leaves.

use vouchsafe_core::StateRead;
use vouchsafe_types::{Code, Event, keys, state::ConsentState};

use crate::world::{Cast, HOUR, code, handle};

#[test]
fn from_registration_to_the_sessions_end() {
    let mut cast = Cast::new();
    let grant = cast.granted(false);
    assert_eq!(cast.world.request(&grant).state_at(cast.world.time, None), ConsentState::Granted);

    let session = cast.opened(grant);
    assert_eq!(cast.world.standing(&session), Ok(()));
    assert!(cast.world.request(&grant).decision.unwrap().spent);

    let hospital = cast.hospital.clone();
    let anchor = cast.world.anchor(&hospital, 1, Some(session));
    let told = cast.world.act(&hospital.key, anchor).unwrap();
    assert_eq!(
        told,
        [Event::Anchored { custodian: hospital.id, handles: vec![handle(1)], leaves: 1, session: Some(session) }]
    );
    assert_eq!(cast.world.head(&hospital.id, &handle(1)).unwrap().seq.0, 1);

    let end = cast.world.end(session);
    cast.world.act(&cast.doctor.key.clone(), end).unwrap();
    assert_eq!(cast.world.standing(&session), Err(Code::SessionNotLive));
    let stored = cast.world.session(&session);
    assert_eq!(cast.world.request(&grant).state_at(cast.world.time, Some(&stored)), ConsentState::Ended);
}

#[test]
fn a_standing_grant_opens_again_until_it_is_revoked() {
    let mut cast = Cast::new();
    let grant = cast.granted(true);
    let first = cast.opened(grant);
    let end = cast.world.end(first);
    cast.world.act(&cast.doctor.key.clone(), end).unwrap();
    let second = cast.opened(grant);
    assert_eq!((cast.world.standing(&first), cast.world.standing(&second)), (Err(Code::SessionNotLive), Ok(())));

    let revoke = cast.world.revoke(grant);
    cast.world.act(&cast.patient.key.clone(), revoke).unwrap();
    assert_eq!(cast.world.standing(&second), Err(Code::GrantRevoked));
}

/// The grant names its newest session only; an older one that lived on could not be ended by the grant.
#[test]
fn a_standing_grant_has_one_live_session_at_a_time() {
    let mut cast = Cast::new();
    let grant = cast.granted(true);
    let first = cast.opened(grant);
    let again = cast.world.open(grant);
    assert_eq!(code(cast.world.act(&cast.doctor.key.clone(), again)), Code::AlreadyExists);
    assert_eq!(cast.world.request(&grant).decision.unwrap().session, Some(first));
    cast.world.wait(HOUR);
    let second = cast.opened(grant);
    assert_eq!(cast.world.standing(&second), Ok(()));
}

#[test]
fn time_alone_ends_a_session_and_tells_it() {
    let mut cast = Cast::new();
    let grant = cast.granted(false);
    let session = cast.opened(grant);
    let told = cast.world.wait(HOUR);
    assert_eq!(told, [Event::SessionExpired { session }]);
    assert_eq!(cast.world.standing(&session), Err(Code::SessionNotLive));
}

#[test]
fn genesis_writes_its_digest_and_verified_founders() {
    let cast = Cast::new();
    let digest = cast.world.state.get(keys::GENESIS).unwrap();
    assert_eq!(digest.len(), 43);
    let founder = cast.world.account(&cast.hospital.id);
    assert_eq!(founder.sponsor, cast.hospital.id);
    assert_eq!(founder.devices, [cast.hospital.key.kid()]);
}
