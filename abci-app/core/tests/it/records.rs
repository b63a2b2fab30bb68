//! Anchors of records and of audit logs.

use vouchsafe_types::{
    Code, Count, Hash32, SessionId,
    state::HeadMove,
    tx::{Anchor, AnchorAudit, Verdict},
};

use crate::world::{Cast, HOUR, World, code, handle, root};

#[test]
fn heads_move_from_where_they_are() {
    let mut cast = Cast::new();
    let hospital = cast.hospital.clone();
    for expected in 1..4 {
        let tx = cast.world.anchor(&hospital, 1, None);
        cast.world.act(&hospital.key, tx).unwrap();
        assert_eq!(cast.world.head(&hospital.id, &handle(1)).unwrap().seq.0, expected);
    }
    type Spoil = fn(&mut HeadMove);
    let faults: [Spoil; 5] = [
        |h| h.old = None,
        |h| h.old = Some(root(99)),
        |h| h.seq = Count(3),
        |h| h.seq = Count(5),
        |h| h.seq = Count(1),
    ];
    for spoil in faults {
        let mut tx = cast.world.anchor(&hospital, 1, None);
        spoil(&mut tx.heads[0]);
        assert_eq!(code(cast.world.act(&hospital.key, tx)), Code::StaleHead);
    }
    let mut tx = cast.world.anchor(&hospital, 2, None);
    tx.heads[0].old = Some(root(1));
    assert_eq!(code(cast.world.act(&hospital.key, tx)), Code::StaleHead, "a first move has no old root");
}

#[test]
fn a_refused_head_moves_none() {
    let mut cast = Cast::new();
    let hospital = cast.hospital.clone();
    let mut tx = cast.world.anchor(&hospital, 1, None);
    tx.heads.push(HeadMove { handle: handle(2), seq: Count(7), old: None, new: root(1) });
    assert_eq!(code(cast.world.act(&hospital.key, tx)), Code::StaleHead);
    assert_eq!(cast.world.head(&hospital.id, &handle(1)), None);
}

#[test]
fn each_custodian_has_heads_of_its_own() {
    let mut cast = Cast::new();
    for party in [cast.hospital.clone(), cast.other.clone()] {
        let tx = cast.world.anchor(&party, 1, None);
        cast.world.act(&party.key, tx).unwrap();
        assert_eq!(cast.world.head(&party.id, &handle(1)).unwrap().seq.0, 1);
    }
}

#[test]
fn an_anchor_has_its_sizes_and_its_order() {
    let mut cast = Cast::new();
    let hospital = cast.hospital.clone();
    let first = |n| HeadMove { handle: handle(n), seq: Count(1), old: None, new: root(1) };
    type Spoil = Box<dyn Fn(&mut Anchor)>;
    let faults: Vec<(Spoil, Code)> = vec![
        (Box::new(|a| a.leaves.clear()), Code::BadAnchor),
        (Box::new(|a| a.heads.clear()), Code::BadAnchor),
        (Box::new(|a| a.leaves = vec![root(1); 1001]), Code::TooLarge),
        (Box::new(move |a| a.heads = (0..65).map(first).collect()), Code::TooLarge),
        (Box::new(move |a| a.heads = vec![first(2), first(1)]), Code::BadAnchor),
        (Box::new(move |a| a.heads = vec![first(1), first(1)]), Code::BadAnchor),
    ];
    for (spoil, expected) in faults {
        let mut tx = cast.world.anchor(&hospital, 1, None);
        spoil(&mut tx);
        assert_eq!(code(cast.world.act(&hospital.key, tx)), expected);
    }
    let mut most = cast.world.anchor(&hospital, 1, None);
    most.leaves = vec![root(1); 1000];
    most.heads = (0..64).map(first).collect();
    cast.world.act(&hospital.key, most).unwrap();
}

#[test]
fn only_verified_organisations_anchor() {
    let mut cast = Cast::new();
    for party in [cast.doctor.clone(), cast.patient.clone()] {
        let tx = cast.world.anchor(&party, 1, None);
        assert_eq!(code(cast.world.act(&party.key, tx)), Code::NotAllowed);
    }
    cast.judged(&cast.other.clone(), Verdict::Suspend);
    let tx = cast.world.anchor(&cast.other, 1, None);
    assert_eq!(code(cast.world.act(&cast.other.key, tx)), Code::OrganizationNotVerified);
}

#[test]
fn an_upload_needs_a_live_session_of_the_same_organisation() {
    let mut cast = Cast::new();
    let (hospital, other) = (cast.hospital.clone(), cast.other.clone());
    let tx = cast.world.anchor(&hospital, 1, Some(SessionId([0; 16])));
    assert_eq!(code(cast.world.act(&hospital.key, tx)), Code::NotFound);
    let grant = cast.granted(true);
    let session = cast.opened(grant);
    let tx = cast.world.anchor(&other, 1, Some(session));
    assert_eq!(code(cast.world.act(&other.key, tx)), Code::NotAllowed);

    let mut suspended = cast.clone();
    suspended.judged(&cast.doctor, Verdict::Suspend);
    let tx = suspended.world.anchor(&hospital, 1, Some(session));
    assert_eq!(code(suspended.world.act(&hospital.key, tx)), Code::SessionNotLive);
    cast.world.wait(HOUR);
    let tx = cast.world.anchor(&hospital, 1, Some(session));
    assert_eq!(code(cast.world.act(&hospital.key, tx)), Code::SessionNotLive);
}

#[test]
fn a_session_without_the_write_bit_uploads_nothing() {
    let mut cast = Cast::new();
    let request = cast.asked(&cast.patient.clone());
    let mut terms = cast.world.request(&request).asked;
    terms.write = false;
    let tx = cast.world.decide(request, Some(terms));
    cast.world.act(&cast.patient.key, tx).unwrap();
    let session = cast.opened(request);
    let tx = cast.world.anchor(&cast.hospital, 1, Some(session));
    assert_eq!(code(cast.world.act(&cast.hospital.key, tx)), Code::ReadOnly);
}

fn audit(world: &mut World, first: u64, last: u64, old: Option<Hash32>, new: u8) -> AnchorAudit {
    AnchorAudit {
        nonce: world.nonce(),
        expires: world.soon(),
        first: Count(first),
        last: Count(last),
        old,
        new: root(new),
    }
}

#[test]
fn an_audit_log_only_grows() {
    let mut cast = Cast::new();
    let key = cast.hospital.key.clone();
    let tx = audit(&mut cast.world, 0, 4, None, 1);
    cast.world.act(&key, tx).unwrap();
    for (first, last, old, expected) in [
        (0, 4, None, Code::StaleHead),
        (4, 6, Some(root(1)), Code::StaleHead),
        (6, 7, Some(root(1)), Code::StaleHead),
        (5, 6, None, Code::StaleHead),
        (5, 6, Some(root(2)), Code::StaleHead),
        (5, 4, Some(root(1)), Code::BadAnchor),
        (5, (1 << 53) - 1, Some(root(1)), Code::TooLarge),
    ] {
        let tx = audit(&mut cast.world, first, last, old, 3);
        assert_eq!(code(cast.world.act(&key, tx)), expected);
    }
    let tx = audit(&mut cast.world, 5, 6, Some(root(1)), 2);
    cast.world.act(&key, tx).unwrap();
    let tx = audit(&mut cast.world, 0, 0, None, 1);
    assert_eq!(code(cast.world.act(&cast.doctor.key, tx)), Code::NotAllowed);
}

#[test]
fn a_suspended_organisation_still_accounts_for_itself() {
    let mut cast = Cast::new();
    cast.judged(&cast.other.clone(), Verdict::Suspend);
    let tx = audit(&mut cast.world, 0, 0, None, 1);
    cast.world.act(&cast.other.key, tx).unwrap();
}
