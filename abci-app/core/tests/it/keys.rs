//! Devices and mandates.

use vouchsafe_core::StateRead;
use vouchsafe_types::{
    Code, Kid,
    state::{Key, KeyRole},
    tx::{EndKey, Verdict},
};

use crate::world::{Cast, HOUR, Party, TestKey, World, code};

fn end_key(world: &mut World, kid: Kid) -> EndKey {
    EndKey { nonce: world.nonce(), expires: world.soon(), kid }
}

fn key(world: &World, kid: &Kid) -> Key {
    Key::from_bytes(&world.state.get(&vouchsafe_types::keys::key(kid)).unwrap()).unwrap()
}

#[test]
fn a_further_device_acts_for_its_account() {
    let mut cast = Cast::new();
    let device = TestKey::new(50);
    let tx = cast.world.add_device(&cast.patient, &device);
    cast.world.act(&cast.patient.key, tx).unwrap();
    assert_eq!(cast.world.account(&cast.patient.id).devices, [cast.patient.key.kid(), device.kid()]);
    let request = cast.asked(&cast.patient.clone());
    let tx = cast.world.decide(request, None);
    cast.world.act(&device, tx).unwrap();
}

#[test]
fn a_device_is_added_with_its_own_word_and_once() {
    let mut cast = Cast::new();
    let device = TestKey::new(50);
    let mut tx = cast.world.add_device(&cast.patient, &device);
    tx.acceptance = cast.world.acceptance(&cast.patient.key, cast.patient.id, "vouchsafe/device");
    assert_eq!(code(cast.world.act(&cast.patient.key, tx)), Code::BadAcceptance);
    // The new key said yes to another account.
    let tx = cast.world.add_device(&cast.doctor, &device);
    assert_eq!(code(cast.world.act(&cast.patient.key, tx)), Code::BadAcceptance);
    let tx = cast.world.add_device(&cast.patient, &cast.doctor.key);
    assert_eq!(code(cast.world.act(&cast.patient.key, tx)), Code::AlreadyExists);
}

#[test]
fn an_account_has_at_most_sixteen_devices() {
    let mut cast = Cast::new();
    for seed in 50..65 {
        let tx = cast.world.add_device(&cast.patient, &TestKey::new(seed));
        cast.world.act(&cast.patient.key, tx).unwrap();
    }
    let tx = cast.world.add_device(&cast.patient, &TestKey::new(70));
    assert_eq!(code(cast.world.act(&cast.patient.key, tx)), Code::TooLarge);
}

#[test]
fn the_last_device_stays() {
    let mut cast = Cast::new();
    let (first, second) = (cast.patient.key.clone(), TestKey::new(50));
    let tx = end_key(&mut cast.world, first.kid());
    assert_eq!(code(cast.world.act(&first, tx)), Code::NotAllowed);
    let tx = cast.world.add_device(&cast.patient, &second);
    cast.world.act(&first, tx).unwrap();
    let tx = end_key(&mut cast.world, first.kid());
    cast.world.act(&second, tx).unwrap();
    assert_eq!(cast.world.account(&cast.patient.id).devices, [second.kid()]);
    let tx = end_key(&mut cast.world, first.kid());
    assert_eq!(code(cast.world.act(&second, tx)), Code::KeyEnded, "what is ended is not ended again");
    let tx = end_key(&mut cast.world, second.kid());
    assert_eq!(code(cast.world.act(&first, tx)), Code::KeyEnded, "an ended key signs nothing");
}

#[test]
fn a_removed_device_ends_the_sessions_of_its_account() {
    for of_doctor in [true, false] {
        let mut cast = Cast::new();
        let party = if of_doctor { cast.doctor.clone() } else { cast.patient.clone() };
        let device = TestKey::new(50);
        let tx = cast.world.add_device(&party, &device);
        cast.world.act(&party.key, tx).unwrap();
        let grant = cast.granted(true);
        let session = cast.opened(grant);
        assert_eq!(cast.world.standing(&session), Ok(()));
        let tx = end_key(&mut cast.world, device.kid());
        cast.world.act(&party.key, tx).unwrap();
        assert_eq!(cast.world.standing(&session), Err(Code::GrantFallen));
    }
}

#[test]
fn nobody_ends_another_accounts_key() {
    let mut cast = Cast::new();
    let tx = end_key(&mut cast.world, cast.patient.key.kid());
    assert_eq!(code(cast.world.act(&cast.hospital.key, tx)), Code::NotAllowed);
    let tx = end_key(&mut cast.world, TestKey::new(90).kid());
    assert_eq!(code(cast.world.act(&cast.hospital.key, tx)), Code::NotFound);
}

#[test]
fn a_mandate_lets_an_agent_ask_for_its_organisation_alone() {
    let mut cast = Cast::new();
    let (hospital, other, doctor) = (cast.hospital.clone(), cast.other.clone(), cast.doctor.clone());
    let agent = TestKey::new(60);
    let tx = cast.world.mandate(&hospital, &agent);
    cast.world.act(&doctor.key, tx).unwrap();
    assert!(matches!(key(&cast.world, &agent.kid()).role, KeyRole::Agent { .. }));
    assert_eq!(cast.world.account(&doctor.id).devices.len(), 1, "an agent is no device");

    let tx = cast.world.ask(&hospital, &doctor, &cast.patient);
    let id = vouchsafe_types::RequestId::derive(&doctor.id, &tx.nonce);
    cast.world.act(&agent, tx).unwrap();
    assert!(cast.world.request(&id).by.agent);

    let tx = cast.world.affiliate(&other, &doctor);
    cast.world.act(&other.key, tx).unwrap();
    let tx = cast.world.ask(&other, &doctor, &cast.patient);
    assert_eq!(code(cast.world.act(&agent, tx)), Code::NoMandate);
}

#[test]
fn an_agent_opens_and_ends_for_its_organisation_alone() {
    let mut cast = Cast::new();
    let (other, doctor) = (cast.other.clone(), cast.doctor.clone());
    let tx = cast.world.affiliate(&other, &doctor);
    cast.world.act(&other.key, tx).unwrap();
    let agent = TestKey::new(60);
    let tx = cast.world.mandate(&other, &agent);
    cast.world.act(&doctor.key, tx).unwrap();
    let grant = cast.granted(true);
    let tx = cast.world.open(grant);
    assert_eq!(code(cast.world.act(&agent, tx)), Code::NoMandate);
    let session = cast.opened(grant);
    let tx = cast.world.end(session);
    assert_eq!(code(cast.world.act(&agent, tx)), Code::NoMandate);
}

#[test]
fn a_mandate_runs_out_and_can_be_ended() {
    let mut cast = Cast::new();
    let (hospital, doctor) = (cast.hospital.clone(), cast.doctor.clone());
    let (short, long) = (TestKey::new(60), TestKey::new(61));
    for agent in [&short, &long] {
        let tx = cast.world.mandate(&hospital, agent);
        cast.world.act(&doctor.key, tx).unwrap();
    }
    let tx = end_key(&mut cast.world, short.kid());
    cast.world.act(&doctor.key, tx).unwrap();
    let tx = cast.world.ask(&hospital, &doctor, &cast.patient);
    assert_eq!(code(cast.world.act(&short, tx)), Code::KeyEnded);
    cast.world.wait(12 * HOUR);
    let tx = cast.world.ask(&hospital, &doctor, &cast.patient);
    assert_eq!(code(cast.world.act(&long, tx)), Code::KeyEnded);
}

#[test]
fn a_mandate_is_given_by_a_doctors_device_for_twelve_hours_at_most() {
    let mut cast = Cast::new();
    let (hospital, doctor, agent) = (cast.hospital.clone(), cast.doctor.clone(), TestKey::new(60));
    for late in [12 * HOUR + 10, 0] {
        let mut tx = cast.world.mandate(&hospital, &agent);
        tx.until = cast.world.time.plus(late);
        assert_eq!(code(cast.world.act(&doctor.key, tx)), Code::BadTimes);
    }
    let tx = cast.world.mandate(&cast.other, &agent);
    assert_eq!(code(cast.world.act(&doctor.key, tx)), Code::NotAffiliated);
    let tx = cast.world.mandate(&hospital, &agent);
    assert_eq!(code(cast.world.act(&cast.patient.key, tx)), Code::NotAllowed);
    let tx = cast.world.mandate(&hospital, &cast.patient.key);
    assert_eq!(code(cast.world.act(&doctor.key, tx)), Code::AlreadyExists);
    let tx = cast.world.mandate(&hospital, &agent);
    cast.world.act(&doctor.key, tx).unwrap();
    let tx = cast.world.mandate(&hospital, &TestKey::new(61));
    assert_eq!(code(cast.world.act(&agent, tx)), Code::DeviceKeyNeeded, "an agent mandates nobody");
    let tx = cast.world.add_device(&doctor, &TestKey::new(61));
    assert_eq!(code(cast.world.act(&agent, tx)), Code::DeviceKeyNeeded);
    let tx = end_key(&mut cast.world, doctor.key.kid());
    assert_eq!(code(cast.world.act(&agent, tx)), Code::DeviceKeyNeeded);
}

#[test]
fn an_agent_does_nothing_that_an_organisation_or_a_patient_does() {
    let mut cast = Cast::new();
    let agent = TestKey::new(60);
    let tx = cast.world.mandate(&cast.hospital, &agent);
    cast.world.act(&cast.doctor.key, tx).unwrap();
    let request = cast.asked(&cast.patient.clone());
    let tx = cast.world.decide(request, None);
    assert_eq!(code(cast.world.act(&agent, tx)), Code::NotThePatient);
    let tx = cast.world.anchor(&cast.hospital, 1, None);
    assert_eq!(code(cast.world.act(&agent, tx)), Code::NotAllowed);
    let tx = cast.world.judgement(&cast.colleague, Verdict::Suspend);
    assert_eq!(code(cast.world.act(&agent, tx)), Code::NotAllowed);
    let tx = cast.world.register(&cast.hospital, &Party::new(62), vouchsafe_types::tx::Role::Patient);
    assert_eq!(code(cast.world.act(&agent, tx)), Code::NotAllowed);
}
