//! What the passing of time alone tells, on a chain where nobody acts.

use std::sync::atomic::Ordering;

use vouchsafe_node::Embedded;
use vouchsafe_types::{
    CredentialId, Event, Hash32, RequestId, Tag,
    jws::{Sign, sign_statement},
    time::Count,
    tx::{Ask, Enrolment, Judge, NewCredential, Register, Role, Terms, Verdict},
};

use crate::consortium::{BEGIN, Consortium, SeedKey, rsa};

const MINUTE: u64 = 60_000;
const CREDENTIAL: CredentialId = CredentialId([9; 16]);

fn register(c: &Consortium, new: &SeedKey, role: Role) -> String {
    let enrolment = Enrolment {
        account: new.account(),
        sponsor: c.hospital.account(),
        role,
        rsa: rsa(5).kid(),
        custodial: false,
        affiliate: role == Role::Doctor,
        expires: c.now().plus(MINUTE),
    };
    let tx = Register {
        nonce: c.nonce(),
        expires: c.now().plus(MINUTE),
        account: new.account(),
        role,
        ed25519: new.public(),
        rsa: rsa(5),
        custodial: false,
        identity: Hash32([2; 32]),
        credential: (role == Role::Doctor).then_some(NewCredential { id: CREDENTIAL, commitment: Hash32([3; 32]) }),
        enrolment: sign_statement(new, &c.chain(), Enrolment::TYP, &enrolment),
    };
    c.sign(&c.hospital, tx)
}

async fn ask(c: &Consortium, ledger: &Embedded) -> RequestId {
    let (doctor, patient) = (SeedKey::new(3), SeedKey::new(4));
    ledger.submit(register(c, &doctor, Role::Doctor)).await.unwrap();
    ledger.submit(register(c, &patient, Role::Patient)).await.unwrap();
    let verdict = Judge {
        nonce: c.nonce(),
        expires: c.now().plus(MINUTE),
        subject: doctor.account(),
        credential: CREDENTIAL,
        verdict: Verdict::Verify,
        valid_until: Some(c.now().plus(1000 * MINUTE)),
    };
    ledger.submit(c.sign(&c.authority, verdict)).await.unwrap();
    let nonce = c.nonce();
    let ask = Ask {
        nonce,
        expires: c.now().plus(MINUTE),
        organization: c.hospital.account(),
        patient: patient.account(),
        credential: CREDENTIAL,
        terms: Terms {
            tags: (1..17).map(|b| Tag([b; 16])).collect(),
            write: true,
            detail: Hash32([4; 32]),
            valid_until: c.now().plus(100 * MINUTE),
            session_ms: Count(MINUTE),
            standing: false,
        },
        answer_by: c.now().plus(10 * MINUTE),
    };
    ledger.submit(c.sign(&doctor, ask)).await.unwrap();
    RequestId::derive(&doctor.account(), &nonce)
}

#[tokio::test]
async fn on_an_idle_chain_a_request_lapses_by_the_heartbeat_alone() {
    let c = Consortium::new("story");
    let ledger = c.open().unwrap();
    let request = ask(&c, &ledger).await;
    let app_hash = ledger.view().unwrap().head().unwrap().app_hash;
    let mut blocks = ledger.subscribe(ledger.head().height + 1);
    let lapses = BEGIN.plus(10 * MINUTE);
    c.now.store(lapses.0, Ordering::SeqCst);
    let (block, events) = loop {
        let block = blocks.next().await.unwrap();
        if !block.events.is_empty() {
            break (block.time, block.events);
        }
    };
    assert!(block >= lapses);
    assert_eq!(events, [(None, Event::RequestLapsed { request })]);
    assert_eq!(ledger.view().unwrap().head().unwrap().app_hash, app_hash, "a deadline changes no root");
}
