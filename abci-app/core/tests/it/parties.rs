//! Registration, credentials, verdicts, affiliations, endpoints.

use vouchsafe_core::StateRead;
use vouchsafe_types::{
    AccountId, Code, CredentialId, Event, Hash32, TimeMs, Tx,
    jws::sign_statement,
    state::{Affiliation, Credential, CredentialStatus, Params},
    tx::{AddCredential, EndAffiliation, Enrolment, NewCredential, Register, Role, SetEndpoint, Verdict},
};

use crate::world::{Cast, HOUR, Party, World, code, rsa};

fn credential(world: &World, party: &Party) -> Credential {
    let key = vouchsafe_types::keys::credential(&party.id, &party.credential);
    Credential::from_bytes(&world.state.get(&key).unwrap()).unwrap()
}

fn affiliation(world: &World, doctor: &Party, organization: &Party) -> Affiliation {
    let key = vouchsafe_types::keys::affiliation(&doctor.id, &organization.id);
    Affiliation::from_bytes(&world.state.get(&key).unwrap()).unwrap()
}

fn endpoint(world: &mut World, url: &str) -> SetEndpoint {
    SetEndpoint { nonce: world.nonce(), expires: world.soon(), url: url.into(), rsa: rsa(8) }
}

fn further(world: &mut World, id: u8) -> AddCredential {
    let credential = NewCredential { id: CredentialId([id; 16]), commitment: Hash32([6; 32]) };
    AddCredential { nonce: world.nonce(), expires: world.soon(), credential }
}

#[test]
fn a_doctor_is_pending_and_affiliated_at_once() {
    let mut cast = Cast::new();
    let new = Party::new(20);
    let tx = cast.world.register(&cast.hospital, &new, Role::Doctor);
    let told = cast.world.act(&cast.hospital.key, tx).unwrap();
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(credential(&cast.world, &new).status, CredentialStatus::Pending);
    assert_eq!(affiliation(&cast.world, &new, &cast.hospital).ended, None);
}

#[test]
fn only_those_sponsor_who_may() {
    let mut cast = Cast::new();
    let insurer = Party::new(21);
    let tx = cast.world.register(&cast.hospital, &insurer, Role::Insurer);
    cast.world.act(&cast.hospital.key, tx).unwrap();
    cast.judged(&insurer, Verdict::Verify);
    let new = Party::new(20);
    for (sponsor, role) in [
        (&insurer, Role::Patient),
        (&cast.authority, Role::Patient),
        (&cast.authority, Role::Doctor),
        (&cast.doctor, Role::Patient),
        (&cast.patient, Role::Patient),
    ] {
        let tx = cast.world.register(sponsor, &new, role);
        assert_eq!(code(cast.world.act(&sponsor.key, tx)), Code::NotAllowed, "{role:?}");
    }
}

#[test]
fn an_organisation_that_is_not_verified_neither_sponsors_nor_affiliates() {
    let mut cast = Cast::new();
    cast.judged(&cast.other.clone(), Verdict::Suspend);
    let tx = cast.world.register(&cast.other, &Party::new(20), Role::Patient);
    assert_eq!(code(cast.world.act(&cast.other.key, tx)), Code::OrganizationNotVerified);
    let tx = cast.world.affiliate(&cast.other, &cast.doctor);
    assert_eq!(code(cast.world.act(&cast.other.key, tx)), Code::OrganizationNotVerified);
}

#[test]
fn an_organisations_verification_runs_out() {
    let mut cast = Cast::new();
    cast.world.wait(2000 * HOUR);
    let tx = cast.world.register(&cast.other, &Party::new(20), Role::Patient);
    assert_eq!(code(cast.world.act(&cast.other.key, tx)), Code::OrganizationNotVerified);
}

#[test]
fn a_registration_that_contradicts_itself_is_refused() {
    let mut cast = Cast::new();
    let new = Party::new(20);
    type Spoil = fn(&mut Register);
    let faults: [(Role, Spoil, Code); 6] = [
        (Role::Patient, |r| r.account = AccountId([0; 16]), Code::Malformed),
        (Role::Doctor, |r| r.custodial = true, Code::NotAllowed),
        (
            Role::Patient,
            |r| r.credential = Some(NewCredential { id: CredentialId([1; 16]), commitment: Hash32([1; 32]) }),
            Code::NotAllowed,
        ),
        (Role::Patient, |r| r.custodial = true, Code::BadAcceptance),
        (Role::Patient, |r| r.rsa = rsa(12345), Code::BadAcceptance),
        (Role::Hospital, |r| r.role = Role::Authority, Code::BadAcceptance),
    ];
    for (role, spoil, expected) in faults {
        let mut tx = cast.world.register(&cast.hospital, &new, role);
        spoil(&mut tx);
        assert_eq!(code(cast.world.act(&cast.hospital.key, tx)), expected);
    }
}

#[test]
fn nobody_is_registered_twice() {
    let mut cast = Cast::new();
    let tx = cast.world.register(&cast.hospital, &cast.patient, Role::Patient);
    assert_eq!(code(cast.world.act(&cast.hospital.key, tx)), Code::AlreadyExists);
    // A key that became a device of somebody founds no account.
    let device = Party::new(20);
    let tx = cast.world.add_device(&cast.patient, &device.key);
    cast.world.act(&cast.patient.key, tx).unwrap();
    let tx = cast.world.register(&cast.hospital, &device, Role::Patient);
    assert_eq!(code(cast.world.act(&cast.hospital.key, tx)), Code::AlreadyExists);
}

#[test]
fn an_enrolment_is_for_this_sponsor_chain_and_time() {
    let mut cast = Cast::new();
    let new = Party::new(20);
    // Taken by another sponsor than the one that it names.
    let tx = cast.world.register(&cast.hospital, &new, Role::Patient);
    assert_eq!(code(cast.world.act(&cast.other.key, tx)), Code::BadAcceptance);

    let mut tx = cast.world.register(&cast.hospital, &new, Role::Patient);
    let said = |expires, affiliate| Enrolment {
        account: new.id,
        sponsor: cast.hospital.id,
        role: Role::Patient,
        rsa: tx.rsa.kid(),
        custodial: false,
        affiliate,
        expires,
    };
    let (now, soon) = (cast.world.time, cast.world.soon());
    let sign = |chain: &str, key: &Party, e: &Enrolment| sign_statement(&key.key, chain, Enrolment::TYP, e);
    for text in [
        sign("other-chain", &new, &said(soon, false)),
        sign(&cast.world.chain, &cast.patient, &said(soon, false)),
        sign(&cast.world.chain, &new, &said(now, false)),
        sign(&cast.world.chain, &new, &said(soon, true)),
        sign_statement(&new.key, &cast.world.chain, "vouchsafe/acceptance", &said(soon, false)),
        String::new(),
    ] {
        tx.enrolment = text;
        assert_eq!(code(cast.world.act(&cast.hospital.key, tx.clone())), Code::BadAcceptance);
    }
    tx.enrolment = sign(&cast.world.chain, &new, &said(soon, false));
    cast.world.act(&cast.hospital.key, tx).unwrap();
}

#[test]
fn only_another_verified_authority_judges() {
    let mut cast = Cast::new();
    let tx = cast.world.judgement(&cast.doctor, Verdict::Suspend);
    assert_eq!(code(cast.world.act(&cast.hospital.key, tx)), Code::NotAllowed);
    let tx = cast.world.judgement(&cast.authority, Verdict::Suspend);
    assert_eq!(code(cast.world.act(&cast.authority.key, tx)), Code::NotAllowed);

    let second = Party::new(20);
    let tx = cast.world.register(&cast.hospital, &second, Role::Authority);
    cast.world.act(&cast.hospital.key, tx).unwrap();
    let tx = cast.world.judgement(&cast.doctor, Verdict::Suspend);
    assert_eq!(code(cast.world.act(&second.key, tx)), Code::OrganizationNotVerified);
    cast.judged(&second, Verdict::Verify);
    let tx = cast.world.judgement(&cast.doctor, Verdict::Suspend);
    cast.world.act(&second.key, tx).unwrap();
    assert_eq!(credential(&cast.world, &cast.doctor).authority, Some(second.id));
}

#[test]
fn a_credential_goes_only_where_its_status_lets_it() {
    use CredentialStatus::{Pending, Revoked, Suspended, Verified};
    let all = [Verdict::Verify, Verdict::Suspend, Verdict::Reinstate, Verdict::Revoke];
    let steps: [(&[Verdict], CredentialStatus, &[Verdict]); 4] = [
        (&[], Pending, &[Verdict::Verify, Verdict::Revoke]),
        (&[Verdict::Verify], Verified, &[Verdict::Suspend, Verdict::Revoke]),
        (&[Verdict::Verify, Verdict::Suspend], Suspended, &[Verdict::Reinstate, Verdict::Revoke]),
        (&[Verdict::Revoke], Revoked, &[]),
    ];
    for (path, status, may) in steps {
        let mut cast = Cast::new();
        let new = Party::new(20);
        let tx = cast.world.register(&cast.hospital, &new, Role::Doctor);
        cast.world.act(&cast.hospital.key, tx).unwrap();
        for verdict in path {
            cast.judged(&new, *verdict);
        }
        assert_eq!(credential(&cast.world, &new).status, status);
        for verdict in all {
            let mut branch = cast.clone();
            let tx = branch.world.judgement(&new, verdict);
            let said = branch.world.act(&branch.authority.key.clone(), tx);
            if may.contains(&verdict) { drop(said.unwrap()) } else { assert_eq!(code(said), Code::BadTransition) }
        }
    }
}

#[test]
fn a_verification_has_an_end_and_a_suspension_none() {
    let mut cast = Cast::new();
    let new = Party::new(20);
    let tx = cast.world.register(&cast.hospital, &new, Role::Doctor);
    cast.world.act(&cast.hospital.key, tx).unwrap();
    for until in [None, Some(cast.world.time), Some(TimeMs(0))] {
        let mut tx = cast.world.judgement(&new, Verdict::Verify);
        tx.valid_until = until;
        assert_eq!(code(cast.world.act(&cast.authority.key, tx)), Code::BadTimes);
    }
    let mut tx = cast.world.judgement(&cast.doctor, Verdict::Suspend);
    tx.valid_until = Some(cast.world.time.plus(HOUR));
    assert_eq!(code(cast.world.act(&cast.authority.key, tx)), Code::BadTimes);
    let mut tx = cast.world.judgement(&cast.doctor, Verdict::Suspend);
    tx.credential = CredentialId([0; 16]);
    assert_eq!(code(cast.world.act(&cast.authority.key, tx)), Code::NotFound);
}

#[test]
fn a_suspension_raises_the_generations() {
    let mut cast = Cast::new();
    let other = cast.other.clone();
    let before = cast.world.account(&other.id).generation;
    cast.judged(&other, Verdict::Suspend);
    assert_eq!(cast.world.account(&other.id).generation, before.next());
    cast.judged(&other, Verdict::Reinstate);
    assert_eq!(cast.world.account(&other.id).generation, before.next(), "reinstating lowers nothing");
    assert_eq!(credential(&cast.world, &other).generation.0, 1);
}

#[test]
fn a_further_credential_is_taken_on_after_a_revocation_only() {
    let mut cast = Cast::new();
    let other = cast.other.clone();
    let tx = further(&mut cast.world, 40);
    cast.world.act(&other.key, tx).unwrap();
    assert_eq!(cast.world.account(&other.id).credential, Some(other.credential));
    let tx = further(&mut cast.world, 40);
    assert_eq!(code(cast.world.act(&other.key, tx)), Code::AlreadyExists);
    cast.judged(&other, Verdict::Revoke);
    let tx = further(&mut cast.world, 41);
    cast.world.act(&other.key, tx).unwrap();
    assert_eq!(cast.world.account(&other.id).credential, Some(CredentialId([41; 16])));
    let tx = further(&mut cast.world, 42);
    assert_eq!(code(cast.world.act(&cast.patient.key, tx)), Code::NotAllowed);
}

#[test]
fn an_affiliation_is_signed_by_both() {
    let mut cast = Cast::new();
    let (other, doctor) = (cast.other.clone(), cast.doctor.clone());
    let mut tx = cast.world.affiliate(&other, &doctor);
    for text in [
        cast.world.acceptance(&cast.colleague.key, other.id, "vouchsafe/affiliation"),
        cast.world.acceptance(&doctor.key, cast.hospital.id, "vouchsafe/affiliation"),
        cast.world.acceptance(&doctor.key, other.id, "vouchsafe/device"),
        "a.b.c".to_owned(),
    ] {
        tx.acceptance = text;
        assert_eq!(code(cast.world.act(&other.key, tx.clone())), Code::BadAcceptance);
    }
    let tx = cast.world.affiliate(&other, &doctor);
    cast.world.act(&other.key, tx).unwrap();
    let tx = cast.world.affiliate(&other, &doctor);
    assert_eq!(code(cast.world.act(&other.key, tx)), Code::AlreadyExists);
    let tx = cast.world.affiliate(&other, &cast.patient);
    assert_eq!(code(cast.world.act(&other.key, tx)), Code::NotAllowed);
    let tx = cast.world.affiliate(&other, &Party::new(30));
    assert_eq!(code(cast.world.act(&other.key, tx)), Code::NotFound);
}

#[test]
fn an_acceptance_runs_out() {
    let mut cast = Cast::new();
    let tx = cast.world.affiliate(&cast.other, &cast.doctor);
    cast.world.wait(6 * 60_000);
    let tx = vouchsafe_types::tx::Affiliate { nonce: tx.nonce, expires: cast.world.soon(), ..tx };
    assert_eq!(code(cast.world.act(&cast.other.key, tx)), Code::BadAcceptance);
}

#[test]
fn either_side_ends_an_affiliation_and_its_generation_stays_raised() {
    let mut cast = Cast::new();
    let (hospital, doctor) = (cast.hospital.clone(), cast.doctor.clone());
    let ending = |world: &mut World| EndAffiliation {
        nonce: world.nonce(),
        expires: world.soon(),
        doctor: doctor.id,
        organization: hospital.id,
    };
    let tx = ending(&mut cast.world);
    assert_eq!(code(cast.world.act(&cast.patient.key, tx)), Code::NotAllowed);
    let tx = ending(&mut cast.world);
    cast.world.act(&doctor.key, tx).unwrap();
    let tx = ending(&mut cast.world);
    assert_eq!(code(cast.world.act(&hospital.key, tx)), Code::NotAffiliated);
    let tx = cast.world.affiliate(&hospital, &doctor);
    cast.world.act(&hospital.key, tx).unwrap();
    assert_eq!(affiliation(&cast.world, &doctor, &hospital).generation.0, 1);
    let tx = ending(&mut cast.world);
    assert!(matches!(cast.world.act(&hospital.key, tx).unwrap()[..], [Event::AffiliationEnded { .. }]));
}

#[test]
fn an_endpoint_is_a_base_address_of_an_organisation() {
    let mut cast = Cast::new();
    for good in ["https://gateway.example", "http://127.0.0.1:8080", "http://[::1]:80"] {
        let tx = endpoint(&mut cast.world, good);
        cast.world.act(&cast.other.key, tx).unwrap();
    }
    let long = format!("https://{}", "a".repeat(250));
    for bad in ["", "gateway.example", "https://", "https://a/b", "https://u@h", "file://x", "https://a b", &long] {
        let tx = endpoint(&mut cast.world, bad);
        assert_eq!(code(cast.world.act(&cast.other.key, tx)), Code::Malformed, "{bad}");
    }
    let tx = endpoint(&mut cast.world, "https://gateway.example");
    assert_eq!(code(cast.world.act(&cast.doctor.key, tx)), Code::NotAllowed);
}

#[test]
fn a_sponsors_registrations_in_one_block_are_counted() {
    let params = Params { sponsored_per_block: vouchsafe_types::Count(2), ..Params::default() };
    let mut cast = Cast::with(params);
    let hospital = cast.hospital.clone();
    let raws: Vec<String> = (30..33)
        .map(|seed| {
            let tx: Tx = cast.world.register(&hospital, &Party::new(seed), Role::Patient).into();
            vouchsafe_types::jws::sign_tx(&hospital.key, &cast.world.chain, &tx)
        })
        .collect();
    let said = cast.world.block(&raws);
    assert!(said[0].is_ok() && said[1].is_ok());
    assert_eq!(code(said[2].clone()), Code::Quota);
    assert!(cast.world.block(&raws[2..])[0].is_ok(), "the next block has a share of its own");
}
