//! Admission, replays, quotas, and what a block's end tells and drops.

use vouchsafe_core::{Delta, Memory, Overlay, StateRead, end_block, key_for};
use vouchsafe_types::{
    Code, Count, Event, Tx,
    genesis::Genesis,
    jws::{Unverified, sign_tx},
    state::{NonceMinute, Params},
    tx::Role,
};

use crate::world::{Cast, HOUR, MINUTE, Party, START, TestKey, World, code, test_genesis};

fn anchors(cast: &mut Cast, count: u8) -> Vec<String> {
    let hospital = cast.hospital.clone();
    (0..count)
        .map(|chart| {
            let tx: Tx = cast.world.anchor(&hospital, chart, None).into();
            sign_tx(&hospital.key, &cast.world.chain, &tx)
        })
        .collect()
}

#[test]
fn a_replay_is_refused_for_good() {
    let mut cast = Cast::new();
    let raw = anchors(&mut cast, 1).pop().unwrap();
    assert!(cast.world.block(std::slice::from_ref(&raw))[0].is_ok());
    assert_eq!(code(cast.world.block(std::slice::from_ref(&raw)).remove(0)), Code::Replayed);
    let twice = anchors(&mut cast, 2).pop().unwrap();
    let said = cast.world.block(&[twice.clone(), twice]);
    assert_eq!(code(said[1].clone()), Code::Replayed, "in one block, too");
    cast.world.wait(5 * MINUTE);
    assert_eq!(code(cast.world.block(std::slice::from_ref(&raw)).remove(0)), Code::Expired);
    cast.world.wait(HOUR);
    assert_eq!(code(cast.world.block(&[raw]).remove(0)), Code::Expired);
}

#[test]
fn one_nonce_serves_two_signers_once_each() {
    let mut cast = Cast::new();
    let nonce = cast.world.nonce();
    for party in [cast.hospital.clone(), cast.other.clone()] {
        let mut tx = cast.world.anchor(&party, 1, None);
        tx.nonce = nonce;
        cast.world.act(&party.key, tx).unwrap();
    }
    // A second key of the same account does not make the nonce new.
    let device = TestKey::new(50);
    let tx = cast.world.add_device(&cast.hospital, &device);
    cast.world.act(&cast.hospital.key, tx).unwrap();
    let mut tx = cast.world.anchor(&cast.hospital, 2, None);
    tx.nonce = nonce;
    assert_eq!(code(cast.world.act(&device, tx)), Code::Replayed);
}

#[test]
fn an_expiry_lies_within_ten_minutes() {
    let mut cast = Cast::new();
    let hospital = cast.hospital.clone();
    for (ahead, expected) in [(0, Code::Expired), (1, Code::Expired), (10 * MINUTE + 2, Code::TooFarAhead)] {
        let mut tx = cast.world.anchor(&hospital, 1, None);
        tx.expires = cast.world.time.plus(ahead);
        assert_eq!(code(cast.world.act(&hospital.key, tx)), expected, "{ahead}");
    }
    let mut tx = cast.world.anchor(&hospital, 1, None);
    tx.expires = cast.world.time.plus(10 * MINUTE + 1);
    cast.world.act(&hospital.key, tx).unwrap();
}

#[test]
fn admission_names_the_key_or_the_fault() {
    let mut cast = Cast::new();
    let world = &mut cast.world;
    let tx: Tx = world.anchor(&cast.hospital, 1, None).into();
    let context = world.context(1);
    let parse = |key: &TestKey, chain: &str| Unverified::parse(sign_tx(key, chain, &tx).as_bytes(), &context.chain);
    let good = parse(&cast.hospital.key, &context.chain).unwrap();
    let key = key_for(&world.state, &context, &good).unwrap();
    assert_eq!(key.kid(), cast.hospital.key.kid());
    let stranger = parse(&TestKey::new(99), &context.chain).unwrap();
    assert_eq!(key_for(&world.state, &context, &stranger).unwrap_err().code, Code::UnknownKey);
    assert_eq!(parse(&cast.hospital.key, "another").unwrap_err().code, Code::WrongChain);
    assert_eq!(good.verify(&vouchsafe_types::jws::Sign::public(&TestKey::new(99))).unwrap_err().code, Code::UnknownKey);
    let mut raw = sign_tx(&cast.hospital.key, &context.chain, &tx);
    let end = raw.rfind('.').unwrap() + 1;
    let flipped = if raw.as_bytes()[end] == b'A' { "B" } else { "A" };
    raw.replace_range(end..=end, flipped);
    let forged = Unverified::parse(raw.as_bytes(), &context.chain).unwrap();
    assert_eq!(forged.verify(&key).unwrap_err().code, Code::BadSignature);
    assert_eq!(Unverified::parse(b"\xff", &context.chain).unwrap_err().code, Code::Malformed);
}

#[test]
fn quotas_bound_a_block_and_begin_anew() {
    let params = Params { organization_per_block: Count(3), person_per_block: Count(1), ..Params::default() };
    let mut cast = Cast::with(params);
    let raws = anchors(&mut cast, 4);
    let said = cast.world.block(&raws);
    assert!(said[..3].iter().all(Result::is_ok));
    assert_eq!(code(said[3].clone()), Code::Quota);
    assert!(cast.world.block(&raws[3..])[0].is_ok());

    let asks: Vec<String> = (0..2)
        .map(|_| {
            let tx: Tx = cast.world.ask(&cast.hospital, &cast.doctor, &cast.patient).into();
            sign_tx(&cast.doctor.key, &cast.world.chain, &tx)
        })
        .collect();
    let said = cast.world.block(&asks);
    assert!(said[0].is_ok());
    assert_eq!(code(said[1].clone()), Code::Quota);
}

#[test]
fn a_refused_transaction_changes_nothing() {
    let mut cast = Cast::new();
    let before = cast.world.state.clone();
    let tx = cast.world.judgement(&cast.doctor, vouchsafe_types::tx::Verdict::Verify);
    assert_eq!(code(cast.world.act(&cast.authority.key, tx)), Code::BadTransition);
    assert_eq!(cast.world.state, before);
}

#[test]
fn an_empty_block_leaves_the_merkle_state_as_it_was() {
    let mut cast = Cast::new();
    cast.asked(&cast.patient.clone());
    let before = cast.world.state.merkle.clone();
    let told = cast.world.wait(3 * HOUR);
    assert_eq!(told.len(), 1, "the deadline is told");
    assert_eq!(cast.world.state.merkle, before);
}

/// The leaves and rows of nonces in a state, by minute.
fn minutes(state: &Memory) -> (usize, usize) {
    let leaves = state.merkle.keys().filter(|k| k.starts_with(b"nonces/")).count();
    let rows = state.flat.keys().filter(|k| k.starts_with(b"n/")).count();
    (leaves, rows)
}

#[test]
fn past_nonces_go_with_their_leaf_in_a_block_that_has_transactions() {
    let mut cast = Cast::new();
    let raws = anchors(&mut cast, 5);
    cast.world.block(&raws);
    let (leaves, rows) = minutes(&cast.world.state);
    assert!(leaves >= 1 && rows >= 5);
    let key = cast.world.state.merkle.keys().rfind(|k| k.starts_with(b"nonces/")).unwrap().clone();
    let leaf = NonceMinute::from_bytes(&cast.world.state.get(&key).unwrap()).unwrap();
    assert_eq!(usize::try_from(leaf.count.0), Ok(rows), "all of them expire in one minute");
    cast.world.wait(HOUR);
    assert_eq!(minutes(&cast.world.state), (leaves, rows), "an empty block drops nothing");
    let raws = anchors(&mut cast, 1);
    assert!(cast.world.block(&raws)[0].is_ok());
    assert_eq!(minutes(&cast.world.state), (1, 1));
}

#[test]
fn a_block_tells_at_most_256_deadlines() {
    let params = Params { person_per_block: Count(1000), ..Params::default() };
    let mut cast = Cast::with(params);
    for _ in 0..300 {
        cast.asked(&cast.patient.clone());
    }
    let first = cast.world.wait(2 * HOUR);
    let second = cast.world.wait(1);
    assert_eq!((first.len(), second.len()), (256, 44));
    assert!(first.iter().chain(&second).all(|e| matches!(e, Event::RequestLapsed { .. })));
    assert!(!cast.world.state.flat.keys().any(|k| k.starts_with(b"d/")), "what was told is gone");
}

#[test]
fn an_overlay_reads_what_was_pushed() {
    let mut base = Memory::default();
    for n in 0..10u8 {
        base.flat.insert(vec![b'x', n], vec![n]);
    }
    let mut overlay = Overlay::new(&base);
    let mut delta = Delta::default();
    delta.flat.insert(vec![b'x', 0], None);
    delta.flat.insert(vec![b'x', 1], Some(vec![100]));
    delta.flat.insert(vec![b'x', 20], Some(vec![20]));
    delta.merkle.insert(vec![1], Some(vec![1]));
    overlay.push(delta.clone());
    let rows = overlay.scan_flat(b"x", b"y", 3);
    assert_eq!(rows, [(vec![b'x', 1], vec![100]), (vec![b'x', 2], vec![2]), (vec![b'x', 3], vec![3])]);
    assert_eq!(overlay.scan_flat(b"x", b"y", usize::MAX).len(), 10);
    assert!(overlay.scan_flat(b"y", b"x", 3).is_empty());
    assert_eq!((overlay.get(&[1]), overlay.get_flat(&[b'x', 0])), (Some(vec![1]), None));
    assert_eq!(overlay.into_delta(), delta);
}

#[test]
fn a_genesis_that_was_altered_is_refused() {
    let (authority, hospital) = (Party::new(1), Party::new(2));
    let good = test_genesis(&[(&authority, Role::Authority), (&hospital, Role::Hospital)], Params::default());
    vouchsafe_core::genesis(&good).unwrap();
    let refused = |g: &Genesis| vouchsafe_core::genesis(g).unwrap_err().code;
    let mut altered = good.clone();
    altered.body.params.max_grant_ms = Count(1);
    assert_eq!(refused(&altered), Code::WrongChain, "the chain id carries the digest");
    let mut unsigned = good;
    unsigned.signatures.pop();
    assert_eq!(refused(&unsigned), Code::Malformed);
    let huge = Params { max_grant_ms: Count(u64::MAX), ..Params::default() };
    let huge = test_genesis(&[(&authority, Role::Authority), (&hospital, Role::Hospital)], huge);
    assert_eq!(refused(&huge), Code::Malformed);
    let headless = test_genesis(&[(&hospital, Role::Hospital)], Params::default());
    assert_eq!(refused(&headless), Code::Malformed);
}

#[test]
fn the_same_block_gives_the_same_state() {
    let mut one = Cast::new();
    let mut two = one.clone();
    let raws = anchors(&mut one, 5);
    one.world.block(&raws);
    two.world.block(&raws);
    assert_eq!(one.world.state, two.world.state);
    let world: &World = &one.world;
    assert_eq!(end_block(&world.state, &world.context(1)), end_block(&world.state, &world.context(1)));
    assert!(world.time > START);
}
