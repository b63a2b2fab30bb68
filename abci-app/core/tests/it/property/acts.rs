//! Random acts: mostly by the right party and with the right members, often not.

use vouchsafe_core::StateRead;
use vouchsafe_types::{
    AccountId, Count, CredentialId, Hash32, RequestId, SessionId, Tag, TimeMs, Tx,
    jws::sign_tx,
    keys,
    state::{Affiliation, Credential, CredentialStatus, HeadMove, Request},
    tx::{AddCredential, AnchorAudit, EndAffiliation, EndKey, NewCredential, Role, SetEndpoint, Terms, Verdict},
};

use super::{
    Random,
    spoil::{self, spoiled},
};
use crate::world::{Cast, HOUR, MINUTE, Party, TestKey, World, handle, root, rsa};

/// How many parties of a kind there may be; more would meet each other too seldom.
const CROWD: usize = 4;

/// The parties, their keys, and what they have seen on the ledger.
pub(crate) struct Actors {
    authority: Party,
    hospitals: Vec<Party>,
    doctors: Vec<Party>,
    patients: Vec<Party>,
    /// Every key that was ever made, agents and removed ones too.
    keys: Vec<TestKey>,
    /// Keys that were to be agents, and for which doctor.
    agents: Vec<(vouchsafe_types::Kid, AccountId)>,
    /// Parties that somebody tried to register.
    newcomers: Vec<(Role, Party)>,
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
            agents: Vec::new(),
            newcomers: Vec::new(),
            seen: 0,
            requests: Vec::new(),
            sessions: Vec::new(),
            made: 1000,
        }
    }

    /// Notes parties, requests and sessions that came to be.
    pub(crate) fn learn(&mut self, world: &World) {
        for event in &world.events[self.seen..] {
            match event {
                vouchsafe_types::Event::Registered { account, .. } => {
                    let joined = self.newcomers.iter().find(|(_, party)| party.id == *account).cloned();
                    if let Some((role, party)) = joined {
                        self.keys.push(party.key.clone());
                        self.crowd(role).push(party);
                    }
                }
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
    pub(crate) fn act(&mut self, random: &mut Random, world: &mut World) -> String {
        let (key, tx) = match random.below(23) {
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
            19 => self.registration(random, world),
            20 => self.credential(random, world),
            21 => self.endpoint(random, world),
            _ => self.audit(random, world),
        };
        let key = if random.one_in(8) { random.pick(&self.keys).unwrap().clone() } else { key };
        let tx = if random.one_in(12) { spoiled(random, world, tx) } else { tx };
        if random.one_in(16) { spoil::envelope(random, world, &key, &tx) } else { sign_tx(&key, &world.chain, &tx) }
    }

    /// A new party of a role that has room; registered again when it has none.
    fn registration(&mut self, random: &mut Random, world: &mut World) -> (TestKey, Tx) {
        let sponsor = if random.one_in(4) { self.authority.clone() } else { self.hospital(random) };
        let role = match random.below(8) {
            0..=2 => Role::Patient,
            3 | 4 => Role::Doctor,
            5 => Role::Hospital,
            6 => *random.pick(&[Role::Laboratory, Role::Insurer]).unwrap(),
            _ => Role::Authority,
        };
        let crowd = self.crowd(role);
        let party = if crowd.len() < CROWD && !random.one_in(8) {
            self.made += 1;
            let party = Party::new(self.made);
            self.newcomers.push((role, party.clone()));
            party
        } else {
            random.pick(crowd).unwrap().clone()
        };
        let custodial = role == Role::Patient && random.one_in(2) || random.one_in(16);
        let affiliate = role == Role::Doctor && !random.one_in(3) || random.one_in(16);
        let mut tx = world.register_as(&sponsor, &party, role, custodial, affiliate);
        if random.one_in(8) {
            tx.credential = Some(NewCredential { id: party.credential, commitment: root(3) });
        }
        if random.one_in(12) {
            tx.enrolment = spoil::enrolment(random, world, &sponsor, &party, &tx);
        }
        if random.one_in(20) {
            tx.account = self.authority.id;
        }
        (self.device_of(world, sponsor.id), tx.into())
    }

    /// A further credential of a doctor or an organisation; for one whose credential was revoked it is the way back.
    fn credential(&mut self, random: &mut Random, world: &mut World) -> (TestKey, Tx) {
        let crowd = match random.below(8) {
            0 => &mut self.patients,
            1..=5 => &mut self.doctors,
            _ => &mut self.hospitals,
        };
        let at = usize::try_from(random.below(crowd.len() as u64)).unwrap();
        let party = &mut crowd[at];
        if random.one_in(2) {
            // From now on this is the one that the party asks with.
            self.made += 1;
            let mut id = [0xcd; 16];
            id[..8].copy_from_slice(&self.made.to_be_bytes());
            party.credential = CredentialId(id);
        }
        let (id, credential) = (party.id, party.credential);
        let credential = NewCredential { id: credential, commitment: root(3) };
        let tx = AddCredential { nonce: world.nonce(), expires: world.soon(), credential };
        (self.device_of(world, id), tx.into())
    }

    fn endpoint(&self, random: &mut Random, world: &mut World) -> (TestKey, Tx) {
        const URLS: [&str; 6] =
            ["https://a.example", "http://[::1]:80", "ftp://a", "https://", "https://a/b", "https://u@a.example"];
        let hospital = self.hospital(random);
        let url = (*random.pick(&URLS).unwrap()).to_owned();
        let tx = SetEndpoint { nonce: world.nonce(), expires: world.soon(), url, rsa: rsa(7) };
        (self.device_of(world, hospital.id), tx.into())
    }

    fn crowd(&mut self, role: Role) -> &mut Vec<Party> {
        match role {
            Role::Patient => &mut self.patients,
            Role::Doctor => &mut self.doctors,
            _ => &mut self.hospitals,
        }
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

    /// A live device of an account; the key that would found it, when there is none yet.
    fn device_of(&self, world: &World, id: AccountId) -> TestKey {
        let devices = world.state.get(&keys::account(&id)).map(|_| world.account(&id).devices).unwrap_or_default();
        let live = self.keys.iter().rfind(|k| devices.contains(&k.kid()));
        live.or_else(|| self.keys.iter().find(|k| k.account() == id)).unwrap().clone()
    }

    fn verdict(&self, random: &mut Random, world: &mut World) -> (TestKey, Tx) {
        let subject = if random.one_in(2) { self.doctor(random) } else { self.hospital(random) };
        let row = world.state.get(&keys::credential(&subject.id, &subject.credential));
        let status = row.map(|row| Credential::from_bytes(&row).unwrap().status);
        let verdict = match (random.below(24), status) {
            (0, _) => Verdict::Verify,
            (1, _) if random.one_in(8) => Verdict::Revoke,
            (2..=4, _) => Verdict::Suspend,
            (_, Some(CredentialStatus::Verified | CredentialStatus::Revoked)) => return self.ask(random, world),
            (_, Some(CredentialStatus::Suspended)) => Verdict::Reinstate,
            _ => Verdict::Verify,
        };
        let mut tx = world.judgement(&subject, verdict);
        if tx.valid_until.is_some() && random.one_in(6) {
            tx.valid_until = Some(world.time.plus(random.below(HOUR)));
        }
        (self.authority.key.clone(), tx.into())
    }

    fn affiliation(&self, random: &mut Random, world: &mut World) -> (TestKey, Tx) {
        let (hospital, doctor) = (self.hospital(random), self.doctor(random));
        let mut tx = world.affiliate(&hospital, &doctor);
        let device = self.device_of(world, doctor.id);
        tx.acceptance = world.acceptance(&device, hospital.id, "vouchsafe/affiliation");
        if random.one_in(6) {
            tx.acceptance = spoil::acceptance(random, world, &device, hospital.id, "vouchsafe/affiliation");
        }
        (self.device_of(world, hospital.id), tx.into())
    }

    fn affiliation_end(&self, random: &mut Random, world: &mut World) -> (TestKey, Tx) {
        let (hospital, doctor) = (self.hospital(random), self.doctor(random));
        let key = self.device_of(world, if random.one_in(2) { hospital.id } else { doctor.id });
        let (organization, doctor) = (hospital.id, doctor.id);
        (key, EndAffiliation { nonce: world.nonce(), expires: world.soon(), doctor, organization }.into())
    }

    fn device(&mut self, random: &mut Random, world: &mut World) -> (TestKey, Tx) {
        let party = match random.below(8) {
            0..=3 => self.patient(random),
            4..=6 => self.doctor(random),
            _ => self.hospital(random),
        };
        let new = if random.one_in(8) { random.pick(&self.keys).unwrap().clone() } else { self.new_key() };
        let mut tx = world.add_device(&party, &new);
        if random.one_in(8) {
            tx.acceptance = spoil::acceptance(random, world, &new, party.id, "vouchsafe/device");
        }
        (self.device_of(world, party.id), tx.into())
    }

    fn key_end(&self, random: &mut Random, world: &mut World) -> (TestKey, Tx) {
        // Late keys more often: removing the first ones would end the story soon.
        let late = &self.keys[if random.one_in(8) { 0 } else { self.keys.len() / 2 }..];
        let key = random.pick(late).unwrap();
        let kid = if random.one_in(12) { root(9) } else { key.kid() };
        let held = world.state.get(&keys::key(&kid)).and_then(|row| vouchsafe_types::state::Key::from_bytes(&row));
        let signer = match held {
            Some(key) if !random.one_in(4) => self.device_of(world, key.account),
            _ => random.pick(&self.keys).unwrap().clone(),
        };
        (signer, EndKey { nonce: world.nonce(), expires: world.soon(), kid }.into())
    }

    fn mandate(&mut self, random: &mut Random, world: &mut World) -> (TestKey, Tx) {
        let (hospital, doctor) = (self.hospital(random), self.doctor(random));
        let agent = if random.one_in(8) { random.pick(&self.keys).unwrap().clone() } else { self.new_key() };
        let mut tx = world.mandate(&hospital, &agent);
        if random.one_in(2) {
            tx.until = world.time.plus(random.below(13 * HOUR));
        }
        self.agents.push((agent.kid(), doctor.id));
        (self.device_of(world, doctor.id), tx.into())
    }

    /// A doctor's device, at times the agent of an organisation instead.
    fn hand_of(&self, random: &mut Random, world: &World, doctor: AccountId) -> TestKey {
        let agents: Vec<_> = self.agents.iter().filter(|(_, of)| *of == doctor).collect();
        match random.pick(&agents) {
            Some((kid, _)) if random.one_in(3) => self.keys.iter().find(|k| k.kid() == *kid).unwrap().clone(),
            _ => self.device_of(world, doctor),
        }
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
        (self.hand_of(random, world, doctor.id), tx.into())
    }

    /// A late request, because the early ones have run out; mostly one that still waits for this act.
    fn known(
        &self,
        random: &mut Random,
        world: &World,
        waits: impl Fn(&Request) -> bool,
    ) -> Option<(RequestId, Request)> {
        let late = &self.requests[self.requests.len().saturating_sub(6)..];
        let now = |(id, _): &(RequestId, Request)| (*id, world.request(id));
        let waiting: Vec<_> = late.iter().map(now).filter(|(_, request)| waits(request)).collect();
        let waiting = if random.one_in(5) { None } else { random.pick(&waiting).cloned() };
        waiting.or_else(|| random.pick(late).cloned())
    }

    fn decide(&self, random: &mut Random, world: &mut World) -> (TestKey, Tx) {
        let waits = |r: &Request| r.decision.is_none();
        let Some((id, request)) = self.known(random, world, waits) else { return self.ask(random, world) };
        let granted = (!random.one_in(5)).then(|| terms(random, &request.asked));
        (self.voice_of(random, world, request.patient), world.decide(id, granted).into())
    }

    /// A patient's device, at times the sponsor's key instead.
    fn voice_of(&self, random: &mut Random, world: &World, patient: AccountId) -> TestKey {
        let account = world.account(&patient);
        let keeper = account.custodial && random.one_in(2) || random.one_in(12);
        self.device_of(world, if keeper { account.sponsor } else { patient })
    }

    fn open(&self, random: &mut Random, world: &mut World) -> (TestKey, Tx) {
        let waits =
            |r: &Request| r.decision.as_ref().is_some_and(|d| d.granted.is_some() && d.revoked.is_none() && !d.spent);
        let Some((id, request)) = self.known(random, world, waits) else { return self.ask(random, world) };
        (self.hand_of(random, world, request.doctor), world.open(id).into())
    }

    fn end(&self, random: &mut Random, world: &mut World) -> (TestKey, Tx) {
        let late = &self.sessions[self.sessions.len().saturating_sub(4)..];
        let Some(id) = random.pick(late) else { return self.ask(random, world) };
        let session = world.session(id);
        let key = if random.one_in(2) {
            self.hand_of(random, world, session.doctor)
        } else {
            self.voice_of(random, world, session.patient)
        };
        (key, world.end(*id).into())
    }

    fn revoke(&self, random: &mut Random, world: &mut World) -> (TestKey, Tx) {
        let waits = |r: &Request| r.decision.is_some();
        let Some((id, request)) = self.known(random, world, waits) else { return self.ask(random, world) };
        (self.device_of(world, request.patient), world.revoke(id).into())
    }

    fn anchor(&self, random: &mut Random, world: &mut World) -> (TestKey, Tx) {
        let session = random.pick(&self.sessions).copied().filter(|_| random.one_in(2));
        let hospital = match session {
            Some(id) if !random.one_in(4) => {
                let organization = world.session(&id).organization;
                self.hospitals.iter().find(|h| h.id == organization).cloned()
            }
            _ => None,
        };
        let hospital = hospital.unwrap_or_else(|| self.hospital(random));
        let mut tx = world.anchor(&hospital, u8::try_from(random.below(3)).unwrap(), session);
        match random.below(16) {
            0 => tx.heads[0].seq = Count(random.below(5)),
            1 => tx.heads[0].old = Some(root(7)),
            2 => tx.heads.push(tx.heads[0].clone()),
            3 => tx.leaves.clear(),
            4 => tx.leaves = vec![root(1); 1001],
            5 => tx.session = Some(SessionId([9; 16])),
            6..=8 => {
                let more = HeadMove { handle: handle(200), seq: Count(1), old: None, new: root(2) };
                tx.heads.push(more);
            }
            _ => {}
        }
        (self.device_of(world, hospital.id), tx.into())
    }

    /// An audit log's next entries, from where the ledger holds it, or from elsewhere.
    fn audit(&self, random: &mut Random, world: &mut World) -> (TestKey, Tx) {
        let hospital = self.hospital(random);
        let held = world.state.get(&keys::audit(&hospital.id));
        let held = held.and_then(|row| vouchsafe_types::state::AuditHead::from_bytes(&row));
        let (mut first, mut old) = held.map_or((0, None), |held| (held.count.0, Some(held.root)));
        match random.below(8) {
            0 => first += random.below(3),
            1 => old = Some(root(1)),
            _ => {}
        }
        let last = (first + random.below(3)).saturating_sub(u64::from(random.one_in(8)));
        let new = Hash32::of("test log", &[&last.to_be_bytes()]);
        let (nonce, expires) = (world.nonce(), world.soon());
        let tx = AnchorAudit { nonce, expires, first: Count(first), last: Count(last), old, new };
        (self.device_of(world, hospital.id), tx.into())
    }
}

/// What was asked, or less, or more.
fn terms(random: &mut Random, asked: &Terms) -> Terms {
    let mut terms = asked.clone();
    match random.below(12) {
        0 => terms.tags = asked.tags[..1 + usize::try_from(random.below(15)).unwrap()].to_vec(),
        1 => terms.tags[15] = Tag([250; 16]),
        2 => terms.write = !asked.write,
        3 => terms.standing = !asked.standing,
        4 => terms.valid_until.0 = (asked.valid_until.0 + random.below(10)).saturating_sub(5),
        5 => terms.session_ms.0 = (asked.session_ms.0 + random.below(10)).saturating_sub(5),
        6 if random.one_in(2) => terms.tags.clear(),
        6 => terms.valid_until = TimeMs(1),
        _ => {}
    }
    terms
}
