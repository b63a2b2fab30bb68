//! A chain in memory with the parties of the story, and short ways to let them act.

use ed25519_consensus::SigningKey;
use vouchsafe_core::{BlockContext, Memory, Overlay, StateRead, apply, begin_block, end_block, genesis, key_for};
use vouchsafe_types::{
    AccountId, Code, Count, CredentialId, Event, Handle, Hash32, Kid, Nonce, OkpJwk, Rejection, RequestId, RsaJwk,
    SessionId, Tag, TimeMs, Tx,
    genesis::{Founder, Genesis, GenesisBody, Validator},
    jws::{Sign, Unverified, sign_statement, sign_tx},
    keys,
    state::{Account, Head, HeadMove, Params, Request, Session},
    tx::{
        Acceptance, AddDevice, Affiliate, Anchor, Ask, Decide, End, Enrolment, Judge, Mandate, NewCredential, Open,
        Register, Revoke, Role, Terms, Verdict,
    },
};

pub(crate) const MINUTE: u64 = 60_000;
pub(crate) const HOUR: u64 = 60 * MINUTE;
pub(crate) const START: TimeMs = TimeMs(1_800_000_000_000);

/// A signing key made from a number.
#[derive(Clone)]
pub(crate) struct TestKey(SigningKey);

impl TestKey {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SigningKey::from(Hash32::of("test key", &[&seed.to_be_bytes()]).0))
    }

    pub(crate) fn kid(&self) -> Kid {
        self.public().kid()
    }

    pub(crate) fn account(&self) -> AccountId {
        AccountId::of_key(self.public().bytes())
    }
}

impl Sign for TestKey {
    fn public(&self) -> OkpJwk {
        OkpJwk::new(self.0.verification_key().to_bytes())
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

pub(crate) fn rsa(seed: u64) -> RsaJwk {
    let mut n = vec![0x81; 384];
    n[1..9].copy_from_slice(&seed.to_be_bytes());
    RsaJwk::new(n).unwrap()
}

/// A party: its account and its first key.
#[derive(Clone)]
pub(crate) struct Party {
    pub(crate) id: AccountId,
    pub(crate) key: TestKey,
    pub(crate) credential: CredentialId,
}

impl Party {
    pub(crate) fn new(seed: u64) -> Self {
        let key = TestKey::new(seed);
        let mut credential = [0xcc; 16];
        credential[..8].copy_from_slice(&seed.to_be_bytes());
        Self { id: key.account(), key, credential: CredentialId(credential) }
    }
}

/// A chain in memory.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) state: Memory,
    pub(crate) chain: String,
    pub(crate) height: u64,
    pub(crate) time: TimeMs,
    pub(crate) events: Vec<Event>,
    /// What was sent, and what was said of it.
    pub(crate) log: Vec<Logged>,
    nonces: u64,
}

/// A block as whoever listens saw it.
#[derive(Clone)]
pub(crate) struct Logged {
    pub(crate) time: TimeMs,
    pub(crate) txs: Vec<String>,
    pub(crate) said: Vec<Result<(), Code>>,
}

pub(crate) type Said = Result<Vec<Event>, Rejection>;

/// The code of a refusal.
pub(crate) fn code(said: Said) -> Code {
    said.expect_err("it must be refused").code
}

/// Founders and parameters of a test chain, signed.
pub(crate) fn test_genesis(founders: &[(&Party, Role)], params: Params) -> Genesis {
    let mut all: Vec<(&Party, Founder)> = founders
        .iter()
        .enumerate()
        .map(|(i, (party, role))| {
            let founder = Founder {
                account: party.id,
                role: *role,
                ed25519: party.key.public(),
                rsa: rsa(i as u64),
                credential: party.credential,
                identity: Hash32([1; 32]),
            };
            (*party, founder)
        })
        .collect();
    all.sort_by_key(|(party, _)| party.id);
    let body = GenesisBody {
        name: "test".into(),
        time: START,
        founders: all.iter().map(|(_, f)| f.clone()).collect(),
        validators: vec![Validator { ed25519: TestKey::new(999).public(), power: Count(1) }],
        params,
    };
    let signatures = all.iter().map(|(party, _)| body.endorse(&party.key)).collect();
    Genesis { body, signatures }
}

impl World {
    pub(crate) fn new(founders: &[(&Party, Role)], params: Params) -> Self {
        let genesis_doc = test_genesis(founders, params);
        let mut state = Memory::default();
        state.write(genesis(&genesis_doc).unwrap());
        let chain = genesis_doc.body.chain_id();
        Self { state, chain, height: 0, time: START, events: Vec::new(), log: Vec::new(), nonces: 0 }
    }

    pub(crate) fn context(&self, txs: usize) -> BlockContext {
        BlockContext { chain: self.chain.clone(), height: self.height, time: self.time, txs }
    }

    /// A nonce that was never used.
    pub(crate) fn nonce(&mut self) -> Nonce {
        self.nonces += 1;
        let mut nonce = [0; 16];
        nonce[8..].copy_from_slice(&self.nonces.to_be_bytes());
        Nonce(nonce)
    }

    pub(crate) fn soon(&self) -> TimeMs {
        self.time.plus(5 * MINUTE)
    }

    /// Signs and runs one transaction in a block of its own.
    pub(crate) fn act(&mut self, key: &TestKey, tx: impl Into<Tx>) -> Said {
        let raw = sign_tx(key, &self.chain, &tx.into());
        self.block(&[raw]).pop().unwrap()
    }

    /// Runs a block, one millisecond after the last.
    pub(crate) fn block(&mut self, txs: &[String]) -> Vec<Said> {
        self.height += 1;
        self.time = self.time.plus(1);
        let context = self.context(txs.len());
        let mut overlay = Overlay::new(&self.state);
        let (delta, mut events) = begin_block(&overlay, &context);
        overlay.push(delta);
        let mut all = Vec::new();
        for raw in txs {
            let said = judge(&overlay, &context, raw);
            all.push(said.map(|(delta, told)| {
                overlay.push(delta);
                events.extend(told.iter().cloned());
                told
            }));
        }
        let (delta, told) = end_block(&overlay, &context);
        overlay.push(delta);
        events.extend(told);
        let delta = overlay.into_delta();
        self.state.write(delta);
        self.events.extend(events);
        let said = all.iter().map(|said| said.as_ref().map(drop).map_err(|refused| refused.code)).collect();
        self.log.push(Logged { time: self.time, txs: txs.to_vec(), said });
        all
    }

    /// Lets time pass with an empty block; what it tells.
    pub(crate) fn wait(&mut self, ms: u64) -> Vec<Event> {
        self.time = self.time.plus(ms);
        let before = self.events.len();
        self.block(&[]);
        self.events[before..].to_vec()
    }

    pub(crate) fn account(&self, id: &AccountId) -> Account {
        Account::from_bytes(&self.state.get(&keys::account(id)).unwrap()).unwrap()
    }

    pub(crate) fn request(&self, id: &RequestId) -> Request {
        Request::from_bytes(&self.state.get(&keys::request(id)).unwrap()).unwrap()
    }

    pub(crate) fn session(&self, id: &SessionId) -> Session {
        Session::from_bytes(&self.state.get(&keys::session(id)).unwrap()).unwrap()
    }

    pub(crate) fn head(&self, custodian: &AccountId, handle: &Handle) -> Option<Head> {
        self.state.get(&keys::head(custodian, handle)).map(|b| Head::from_bytes(&b).unwrap())
    }

    /// Whether a session is live now; the code when not.
    pub(crate) fn standing(&self, id: &SessionId) -> Result<(), Code> {
        vouchsafe_core::session_standing(&self.state, &self.session(id), self.time).map_err(|r| r.code)
    }
}

/// What a node does with one transaction.
pub(crate) fn judge(
    state: &impl StateRead,
    context: &BlockContext,
    raw: &str,
) -> Result<(vouchsafe_core::Delta, Vec<Event>), Rejection> {
    let parsed = Unverified::parse(raw.as_bytes(), &context.chain)?;
    let key = key_for(state, context, &parsed)?;
    apply(state, context, &parsed.verify(&key)?)
}

/// Sixteen tags, each of one repeated byte.
pub(crate) fn tags(first: u8) -> Vec<Tag> {
    (first..first + 16).map(|b| Tag([b; 16])).collect()
}

pub(crate) fn handle(n: u8) -> Handle {
    Handle([n; 16])
}

pub(crate) fn root(n: u8) -> Hash32 {
    Hash32([n; 32])
}

/// Transactions with ordinary members, to be signed as they are or spoiled first.
impl World {
    pub(crate) fn register(&mut self, sponsor: &Party, new: &Party, role: Role) -> Register {
        self.register_as(sponsor, new, role, false, role == Role::Doctor)
    }

    pub(crate) fn register_as(
        &mut self,
        sponsor: &Party,
        new: &Party,
        role: Role,
        custodial: bool,
        affiliate: bool,
    ) -> Register {
        let rsa = rsa(u64::from(new.id.0[0]));
        let enrolment = Enrolment {
            account: new.id,
            sponsor: sponsor.id,
            role,
            rsa: rsa.kid(),
            custodial,
            affiliate,
            expires: self.soon(),
        };
        Register {
            nonce: self.nonce(),
            expires: self.soon(),
            account: new.id,
            role,
            ed25519: new.key.public(),
            rsa,
            custodial,
            identity: Hash32([2; 32]),
            credential: (role != Role::Patient)
                .then_some(NewCredential { id: new.credential, commitment: Hash32([3; 32]) }),
            enrolment: sign_statement(&new.key, &self.chain, Enrolment::TYP, &enrolment),
        }
    }

    pub(crate) fn judgement(&mut self, subject: &Party, verdict: Verdict) -> Judge {
        let gives = matches!(verdict, Verdict::Verify | Verdict::Reinstate);
        Judge {
            nonce: self.nonce(),
            expires: self.soon(),
            subject: subject.id,
            credential: subject.credential,
            verdict,
            valid_until: gives.then(|| self.time.plus(1000 * HOUR)),
        }
    }

    pub(crate) fn acceptance(&self, key: &TestKey, account: AccountId, act: &str) -> String {
        let acceptance = Acceptance { account, act: act.into(), expires: self.soon() };
        sign_statement(key, &self.chain, Acceptance::TYP, &acceptance)
    }

    pub(crate) fn affiliate(&mut self, organization: &Party, doctor: &Party) -> Affiliate {
        Affiliate {
            nonce: self.nonce(),
            expires: self.soon(),
            doctor: doctor.id,
            acceptance: self.acceptance(&doctor.key, organization.id, "vouchsafe/affiliation"),
        }
    }

    pub(crate) fn add_device(&mut self, account: &Party, new: &TestKey) -> AddDevice {
        AddDevice {
            nonce: self.nonce(),
            expires: self.soon(),
            ed25519: new.public(),
            rsa: rsa(77),
            acceptance: self.acceptance(new, account.id, "vouchsafe/device"),
        }
    }

    pub(crate) fn mandate(&mut self, organization: &Party, agent: &TestKey) -> Mandate {
        Mandate {
            nonce: self.nonce(),
            expires: self.soon(),
            agent: agent.public(),
            organization: organization.id,
            until: self.time.plus(12 * HOUR),
        }
    }

    pub(crate) fn ask(&mut self, organization: &Party, doctor: &Party, patient: &Party) -> Ask {
        Ask {
            nonce: self.nonce(),
            expires: self.soon(),
            organization: organization.id,
            patient: patient.id,
            credential: doctor.credential,
            terms: Terms {
                tags: tags(1),
                write: true,
                detail: Hash32([4; 32]),
                valid_until: self.time.plus(48 * HOUR),
                session_ms: Count(HOUR),
                standing: false,
            },
            answer_by: self.time.plus(HOUR),
        }
    }

    pub(crate) fn decide(&mut self, request: RequestId, granted: Option<Terms>) -> Decide {
        Decide { nonce: self.nonce(), expires: self.soon(), request, granted }
    }

    pub(crate) fn open(&mut self, grant: RequestId) -> Open {
        Open { nonce: self.nonce(), expires: self.soon(), grant, recipient: rsa(55) }
    }

    pub(crate) fn end(&mut self, session: SessionId) -> End {
        End { nonce: self.nonce(), expires: self.soon(), session }
    }

    pub(crate) fn revoke(&mut self, grant: RequestId) -> Revoke {
        Revoke { nonce: self.nonce(), expires: self.soon(), grant }
    }

    /// An anchor of one leaf that moves a chart's head on from where it is.
    pub(crate) fn anchor(&mut self, custodian: &Party, chart: u8, session: Option<SessionId>) -> Anchor {
        let held = self.head(&custodian.id, &handle(chart));
        let seq = held.as_ref().map_or(Count(1), |h| h.seq.next());
        let new = Hash32::of("test root", &[&seq.0.to_be_bytes()]);
        let heads = vec![HeadMove { handle: handle(chart), seq, old: held.map(|h| h.root), new }];
        Anchor { nonce: self.nonce(), expires: self.soon(), leaves: vec![root(9)], heads, session }
    }
}

/// The consortium of the story: an authority and a hospital found it; another hospital, a laboratory, an insurer, two
/// doctors and two patients joined.
#[derive(Clone)]
pub(crate) struct Cast {
    pub(crate) world: World,
    pub(crate) authority: Party,
    pub(crate) hospital: Party,
    pub(crate) other: Party,
    pub(crate) doctor: Party,
    pub(crate) colleague: Party,
    pub(crate) patient: Party,
    pub(crate) custodial: Party,
}

impl Cast {
    pub(crate) fn new() -> Self {
        Self::with(Params::default())
    }

    pub(crate) fn with(params: Params) -> Self {
        let [authority, hospital, other, doctor, colleague, patient, custodial] = [1, 2, 3, 4, 5, 6, 7].map(Party::new);
        let world = World::new(&[(&authority, Role::Authority), (&hospital, Role::Hospital)], params);
        let mut cast = Self { world, authority, hospital, other, doctor, colleague, patient, custodial };
        cast.join();
        cast
    }

    fn join(&mut self) {
        let Self { world, authority, hospital, other, doctor, colleague, patient, custodial } = self;
        let tx = world.register(authority, other, Role::Hospital);
        world.act(&authority.key, tx).unwrap();
        let tx = world.judgement(other, Verdict::Verify);
        world.act(&authority.key, tx).unwrap();
        for (sponsor, new) in [(&*hospital, &*doctor), (&*other, &*colleague)] {
            let tx = world.register(sponsor, new, Role::Doctor);
            world.act(&sponsor.key, tx).unwrap();
            let tx = world.judgement(new, Verdict::Verify);
            world.act(&authority.key, tx).unwrap();
        }
        let tx = world.register(hospital, patient, Role::Patient);
        world.act(&hospital.key, tx).unwrap();
        let tx = world.register_as(other, custodial, Role::Patient, true, false);
        world.act(&other.key, tx).unwrap();
    }

    /// The doctor of the hospital asks a patient.
    pub(crate) fn asked(&mut self, patient: &Party) -> RequestId {
        let (hospital, doctor) = (self.hospital.clone(), self.doctor.clone());
        let ask = self.world.ask(&hospital, &doctor, patient);
        let id = RequestId::derive(&doctor.id, &ask.nonce);
        self.world.act(&doctor.key, ask).unwrap();
        id
    }

    /// The patient grants what was asked.
    pub(crate) fn granted(&mut self, standing: bool) -> RequestId {
        let (hospital, doctor, patient) = (self.hospital.clone(), self.doctor.clone(), self.patient.clone());
        let mut ask = self.world.ask(&hospital, &doctor, &patient);
        ask.terms.standing = standing;
        let id = RequestId::derive(&doctor.id, &ask.nonce);
        let terms = ask.terms.clone();
        self.world.act(&doctor.key, ask).unwrap();
        let decide = self.world.decide(id, Some(terms));
        self.world.act(&patient.key, decide).unwrap();
        id
    }

    /// The doctor opens a session under a grant.
    pub(crate) fn opened(&mut self, grant: RequestId) -> SessionId {
        let open = self.world.open(grant);
        let id = SessionId::derive(&self.doctor.id, &open.nonce);
        let doctor = self.doctor.key.clone();
        self.world.act(&doctor, open).unwrap();
        id
    }

    /// An authority's decision.
    pub(crate) fn judged(&mut self, subject: &Party, verdict: Verdict) {
        let tx = self.world.judgement(subject, verdict);
        let authority = self.authority.key.clone();
        self.world.act(&authority, tx).unwrap();
    }
}
