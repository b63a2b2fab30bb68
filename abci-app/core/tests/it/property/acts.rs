//! Random acts: mostly by the right party and with the right members, often not.

use vouchsafe_core::StateRead;
use vouchsafe_types::{
    AccountId, Count, RequestId, SessionId, Tag, Tx, keys,
    state::{Affiliation, Credential, CredentialStatus, Request},
    tx::{AnchorAudit, EndAffiliation, EndKey, Terms, Verdict},
};

use super::Random;
use crate::world::{Cast, HOUR, MINUTE, Party, TestKey, World, root};

/// The parties, their keys, and what they have seen on the ledger.
pub(crate) struct Actors {
    authority: Party,
    hospitals: Vec<Party>,
    doctors: Vec<Party>,
    patients: Vec<Party>,
    /// Every key that was ever made, agents and removed ones too.
    keys: Vec<TestKey>,
    seen: usize,
    requests: Vec<(RequestId, Request)>,
    sessions: Vec<SessionId>,
    made: u64,
}

impl Actors {
    pub(crate) fn new(cast: &Cast) -> Self {
        let hospitals = vec![cast.hospital.clone(), cast.other.clone()];
        let doctors = vec![cast.doctor.clone(), cast.colleague.clone()];
        let patients = vec![cast.patient.clone(), cast.custodial.clone()];
        let all = hospitals.iter().chain(&doctors).chain(&patients).chain([&cast.authority]);
        let keys = all.map(|p| p.key.clone()).collect();
        Self {
            authority: cast.authority.clone(),
            hospitals,
            doctors,
            patients,
            keys,
            seen: 0,
            requests: Vec::new(),
            sessions: Vec::new(),
            made: 1000,
        }
    }

    /// Notes requests and sessions that came to be.
    pub(crate) fn learn(&mut self, world: &World) {
        for event in &world.events[self.seen..] {
            match event {
                vouchsafe_types::Event::Requested { request, .. } => {
                    self.requests.push((*request, world.request(request)));
                }
                vouchsafe_types::Event::Opened { session, .. } => self.sessions.push(*session),
                _ => {}
            }
        }
        self.seen = world.events.len();
    }

    /// One act and the key that signs it, at times somebody else's.
    pub(crate) fn act(&mut self, random: &mut Random, world: &mut World) -> (TestKey, Tx) {
        let (key, tx) = match random.below(20) {
            0 | 1 => self.verdict(random, world),
            2 => self.affiliation(random, world),
            3 if random.one_in(3) => self.affiliation_end(random, world),
            3 => self.ask(random, world),
            4 => self.device(random, world),
            5 => self.key_end(random, world),
            6 => self.mandate(random, world),
            7..=9 => self.ask(random, world),
            10..=12 => self.decide(random, world),
            13..=15 => self.open(random, world),
            16 => self.end(random, world),
            17 => self.revoke(random, world),
            18 => self.anchor(random, world),
            _ => self.audit(random, world),
        };
        if random.one_in(6) { (random.pick(&self.keys).unwrap().clone(), tx) } else { (key, tx) }
    }

    fn new_key(&mut self) -> TestKey {
        self.made += 1;
        let key = TestKey::new(self.made);
        self.keys.push(key.clone());
        key
    }

    fn hospital(&self, random: &mut Random) -> Party {
        random.pick(&self.hospitals).unwrap().clone()
    }

    fn doctor(&self, random: &mut Random) -> Party {
        random.pick(&self.doctors).unwrap().clone()
    }

    fn patient(&self, random: &mut Random) -> Party {
        random.pick(&self.patients).unwrap().clone()
    }

    /// A live device of an account; there is always one.
    fn device_of(&self, world: &World, id: AccountId) -> TestKey {
        let devices = world.account(&id).devices;
        self.keys.iter().find(|k| devices.contains(&k.kid())).unwrap().clone()
    }

    fn verdict(&self, random: &mut Random, world: &mut World) -> (TestKey, Tx) {
        let subject = if random.one_in(2) { self.doctor(random) } else { self.hospital(random) };
        let row = world.state.get(&keys::credential(&subject.id, &subject.credential)).unwrap();
        let verified = Credential::from_bytes(&row).unwrap().status == CredentialStatus::Verified;
        let verdict = match random.below(24) {
            0 => Verdict::Verify,
            1 if random.one_in(20) => Verdict::Revoke,
            2..=8 => Verdict::Suspend,
            _ if verified => return self.ask(random, world),
            _ => Verdict::Reinstate,
        };
        let mut tx = world.judgement(&subject, verdict);
        if tx.valid_until.is_some() && random.one_in(6) {
            tx.valid_until = Some(world.time.plus(random.below(HOUR)));
        }
        (self.authority.key.clone(), tx.into())
    }

    fn affiliation(&self, random: &mut Random, world: &mut World) -> (TestKey, Tx) {
        let (hospital, doctor) = (self.hospital(random), self.doctor(random));
        (self.device_of(world, hospital.id), world.affiliate(&hospital, &doctor).into())
    }

    fn affiliation_end(&self, random: &mut Random, world: &mut World) -> (TestKey, Tx) {
        let (hospital, doctor) = (self.hospital(random), self.doctor(random));
        let key = self.device_of(world, if random.one_in(2) { hospital.id } else { doctor.id });
        let (organization, doctor) = (hospital.id, doctor.id);
        (key, EndAffiliation { nonce: world.nonce(), expires: world.soon(), doctor, organization }.into())
    }

    fn device(&mut self, random: &mut Random, world: &mut World) -> (TestKey, Tx) {
        let party = if random.one_in(2) { self.patient(random) } else { self.doctor(random) };
        let new = self.new_key();
        (self.device_of(world, party.id), world.add_device(&party, &new).into())
    }

    fn key_end(&self, random: &mut Random, world: &mut World) -> (TestKey, Tx) {
        // Late keys more often: removing the first ones would end the story soon.
        let late = &self.keys[self.keys.len() / 2..];
        let kid = random.pick(late).unwrap().kid();
        let signer = random.pick(&self.keys).unwrap().clone();
        (signer, EndKey { nonce: world.nonce(), expires: world.soon(), kid }.into())
    }

    fn mandate(&mut self, random: &mut Random, world: &mut World) -> (TestKey, Tx) {
        let (hospital, doctor) = (self.hospital(random), self.doctor(random));
        let agent = self.new_key();
        (self.device_of(world, doctor.id), world.mandate(&hospital, &agent).into())
    }

    fn ask(&self, random: &mut Random, world: &mut World) -> (TestKey, Tx) {
        let (hospital, doctor, patient) = (self.hospital(random), self.doctor(random), self.patient(random));
        let row = world.state.get(&keys::affiliation(&doctor.id, &hospital.id));
        if row.is_none_or(|row| Affiliation::from_bytes(&row).unwrap().ended.is_some()) && !random.one_in(4) {
            return self.affiliation(random, world);
        }
        let mut tx = world.ask(&hospital, &doctor, &patient);
        tx.terms.standing = random.one_in(2);
        tx.terms.write = random.one_in(2);
        tx.terms.session_ms = Count(1 + random.below(2 * HOUR));
        tx.answer_by = world.time.plus(random.below(20 * MINUTE));
        tx.terms.valid_until = world.time.plus(random.below(6 * HOUR));
        (self.device_of(world, doctor.id), tx.into())
    }

    fn known(&self, random: &mut Random) -> Option<(RequestId, Request)> {
        // Late ones, because the early ones have run out.
        random.pick(&self.requests[self.requests.len().saturating_sub(4)..]).cloned()
    }

    fn decide(&self, random: &mut Random, world: &mut World) -> (TestKey, Tx) {
        let Some((id, request)) = self.known(random) else { return self.ask(random, world) };
        let granted = (!random.one_in(5)).then(|| terms(random, &request.asked));
        (self.device_of(world, request.patient), world.decide(id, granted).into())
    }

    fn open(&self, random: &mut Random, world: &mut World) -> (TestKey, Tx) {
        let Some((id, request)) = self.known(random) else { return self.ask(random, world) };
        (self.device_of(world, request.doctor), world.open(id).into())
    }

    fn end(&self, random: &mut Random, world: &mut World) -> (TestKey, Tx) {
        let Some(id) = random.pick(&self.sessions) else { return self.ask(random, world) };
        let session = world.session(id);
        let party = if random.one_in(2) { session.doctor } else { session.patient };
        (self.device_of(world, party), world.end(*id).into())
    }

    fn revoke(&self, random: &mut Random, world: &mut World) -> (TestKey, Tx) {
        let Some((id, request)) = self.known(random) else { return self.ask(random, world) };
        (self.device_of(world, request.patient), world.revoke(id).into())
    }

    fn anchor(&self, random: &mut Random, world: &mut World) -> (TestKey, Tx) {
        let hospital = self.hospital(random);
        let session = random.pick(&self.sessions).copied().filter(|_| random.one_in(2));
        let mut tx = world.anchor(&hospital, u8::try_from(random.below(3)).unwrap(), session);
        if random.one_in(4) {
            tx.heads[0].seq = Count(random.below(5));
        }
        (hospital.key, tx.into())
    }

    fn audit(&self, random: &mut Random, world: &mut World) -> (TestKey, Tx) {
        let hospital = self.hospital(random);
        let (first, more) = (random.below(4), random.below(3));
        let old = (first > 0).then(|| root(1));
        let tx = AnchorAudit {
            nonce: world.nonce(),
            expires: world.soon(),
            first: Count(first),
            last: Count(first + more),
            old,
            new: root(1),
        };
        (hospital.key, tx.into())
    }
}

/// What was asked, or less, or more.
fn terms(random: &mut Random, asked: &Terms) -> Terms {
    let mut terms = asked.clone();
    match random.below(8) {
        0 => terms.tags = asked.tags[..1 + usize::try_from(random.below(15)).unwrap()].to_vec(),
        1 => terms.tags[15] = Tag([250; 16]),
        2 => terms.write = !asked.write,
        3 => terms.standing = !asked.standing,
        4 => terms.valid_until.0 = (asked.valid_until.0 + random.below(10)).saturating_sub(5),
        5 => terms.session_ms.0 = (asked.session_ms.0 + random.below(10)).saturating_sub(5),
        _ => {}
    }
    terms
}
