//! What is wrong with an act on purpose: an envelope, another party's word, a member.

use vouchsafe_types::{
    AccountId, Count, RequestId, Tx,
    jws::{Sign as _, sign_statement, sign_tx},
    tx::{Acceptance, Enrolment, Register},
};

use super::Random;
use crate::world::{HOUR, MINUTE, Party, TestKey, World};

/// A transaction whose text is not quite right.
pub(super) fn envelope(random: &mut Random, world: &World, key: &TestKey, tx: &Tx) -> String {
    let raw = sign_tx(key, &world.chain, tx);
    match random.below(5) {
        0 => sign_tx(key, "another-chain", tx),
        1 => sign_tx(&TestKey::new(1_000_000 + random.below(10)), &world.chain, tx),
        2 => altered(&raw),
        3 => resigned(&raw, &world.chain, tx),
        _ => raw[..raw.len() - 1 - usize::try_from(random.below(9)).unwrap()].to_owned(),
    }
}

/// One bit of the signature is another.
fn altered(raw: &str) -> String {
    let at = raw.rfind('.').unwrap() + 1;
    let other = if raw.as_bytes()[at] == b'A' { "B" } else { "A" };
    format!("{}{other}{}", &raw[..at], &raw[at + 1..])
}

/// Somebody else's signature under this key's name.
fn resigned(raw: &str, chain: &str, tx: &Tx) -> String {
    let other = sign_tx(&TestKey::new(1_000_000), chain, tx);
    format!("{}.{}", raw.rsplit_once('.').unwrap().0, other.rsplit_once('.').unwrap().1)
}

/// Members that any transaction may have wrong: another time, and ids that nobody has.
pub(super) fn spoiled(random: &mut Random, world: &World, tx: Tx) -> Tx {
    let mut tx = tx;
    let expires = match random.below(4) {
        0 => world.time.plus(11 * MINUTE),
        1 => world.time,
        2 => world.time.plus(10 * MINUTE + random.below(3)),
        _ => world.time.plus(random.below(3)),
    };
    match &mut tx {
        Tx::Decide(tx) if random.one_in(2) => tx.request = RequestId([9; 16]),
        Tx::Open(tx) if random.one_in(2) => tx.grant = RequestId([9; 16]),
        Tx::Ask(tx) if random.one_in(2) => match random.below(5) {
            0 => tx.patient = AccountId([9; 16]),
            1 => tx.patient = tx.organization,
            2 => tx.terms.tags.reverse(),
            3 => tx.terms.session_ms = Count(0),
            _ => tx.terms.valid_until = world.time.plus(400 * 24 * HOUR),
        },
        Tx::Decide(tx) => tx.expires = expires,
        Tx::Open(tx) => tx.expires = expires,
        Tx::Ask(tx) => tx.expires = expires,
        Tx::Anchor(tx) => tx.expires = expires,
        Tx::Affiliate(tx) => tx.expires = expires,
        Tx::Judge(tx) => tx.expires = expires,
        _ => {}
    }
    tx
}

/// A doctor's or a device's word that does not hold.
pub(super) fn acceptance(random: &mut Random, world: &World, key: &TestKey, account: AccountId, act: &str) -> String {
    let good = Acceptance { account, act: act.into(), expires: world.soon() };
    let sign = |said: &Acceptance| sign_statement(key, &world.chain, Acceptance::TYP, said);
    match random.below(7) {
        0 => sign(&Acceptance { account: AccountId([9; 16]), ..good }),
        1 => sign(&Acceptance { act: "vouchsafe/request".into(), ..good }),
        2 => sign(&Acceptance { expires: world.time, ..good }),
        3 => sign_statement(key, "another-chain", Acceptance::TYP, &good),
        4 => sign_statement(key, &world.chain, Enrolment::TYP, &good),
        5 => sign_statement(&TestKey::new(1_000_000), &world.chain, Acceptance::TYP, &good),
        _ => altered(&sign(&good)),
    }
}

/// A new key's word that does not hold.
pub(super) fn enrolment(random: &mut Random, world: &World, sponsor: &Party, new: &Party, tx: &Register) -> String {
    let good = Enrolment {
        account: new.id,
        sponsor: sponsor.id,
        role: tx.role,
        rsa: tx.rsa.kid(),
        custodial: tx.custodial,
        affiliate: false,
        expires: world.soon(),
    };
    let sign = |said: &Enrolment| sign_statement(&new.key, &world.chain, Enrolment::TYP, said);
    match random.below(6) {
        0 => sign(&Enrolment { sponsor: new.id, ..good }),
        1 => sign(&Enrolment { custodial: !tx.custodial, ..good }),
        2 => sign(&Enrolment { rsa: new.key.public().kid(), ..good }),
        3 => sign(&Enrolment { expires: world.time, ..good }),
        4 => sign_statement(&sponsor.key, &world.chain, Enrolment::TYP, &good),
        _ => altered(&sign(&good)),
    }
}
