//! What the ledger must say, said a second time and otherwise: a reference of plain tables that reads the transactions'
//! text by itself and predicts for each whether it is accepted, or with which code it is refused.
//!
//! It shares no code with the machine but the words of the language (identifiers, structs, codes). Where the machine
//! derives, it sweeps: when something falls, it looks for the sessions that rest on it and ends them there and then.

mod consent;
mod parties;
mod read;
mod same;

use std::collections::{BTreeMap, BTreeSet};

use vouchsafe_types::{
    AccountId, Code, CredentialId, Handle, Hash32, Kid, Nonce, RequestId, SessionId, TimeMs, Tx,
    state::{CredentialStatus, Params},
    tx::{Role, Terms},
};

use crate::world::{Cast, Party, World};
use read::Envelope;

/// What the model says of a transaction.
pub(crate) type Says = Result<(), Code>;

/// An account.
struct Account {
    role: Role,
    sponsor: AccountId,
    custodial: bool,
    /// The key that founded it.
    first: Kid,
    /// The credential that counts for an organisation.
    credential: Option<CredentialId>,
}

/// A key, and for whom it signs.
struct Key {
    account: AccountId,
    public: [u8; 32],
    /// An agent's organisation and end; none for a device.
    agent: Option<(AccountId, TimeMs)>,
    ended: bool,
}

/// A credential.
struct Paper {
    status: CredentialStatus,
    until: Option<TimeMs>,
}

/// A request and what became of it.
struct Asked {
    doctor: AccountId,
    organization: AccountId,
    patient: AccountId,
    credential: CredentialId,
    terms: Terms,
    answer_by: TimeMs,
    /// None while nobody has decided; the inner one is none when it was denied.
    decided: Option<Option<Terms>>,
    revoked: bool,
    /// A visit that was opened.
    spent: bool,
}

/// A session.
struct Opened {
    grant: RequestId,
    doctor: AccountId,
    organization: AccountId,
    patient: AccountId,
    credential: CredentialId,
    expires: TimeMs,
    write: bool,
    /// An act ended it, or something that it rested on fell.
    over: bool,
    /// An act ended it.
    ended: bool,
}

/// Who signed.
#[derive(Clone, Copy)]
struct Signer {
    kid: Kid,
    account: AccountId,
    role: Role,
    agent_of: Option<AccountId>,
    /// The key in a custodian's keystore.
    custodial: bool,
}

/// The tables.
pub(crate) struct Model {
    params: Params,
    chain: String,
    now: TimeMs,
    accounts: BTreeMap<AccountId, Account>,
    keys: BTreeMap<Kid, Key>,
    papers: BTreeMap<(AccountId, CredentialId), Paper>,
    /// Doctor and organisation, as long as both want it.
    members: BTreeSet<(AccountId, AccountId)>,
    asked: BTreeMap<RequestId, Asked>,
    opened: BTreeMap<SessionId, Opened>,
    heads: BTreeMap<(AccountId, Handle), (u64, Hash32)>,
    audits: BTreeMap<AccountId, (u64, Hash32)>,
    /// Used nonces with the minute that their transaction expires in; never forgotten here.
    nonces: BTreeSet<(AccountId, Nonce, u64)>,
    /// Transactions and registrations of this block.
    used: BTreeMap<AccountId, (u64, u64)>,
    /// How many blocks of the world were followed.
    blocks: usize,
}

impl Model {
    /// The tables after genesis, before the cast has joined.
    pub(crate) fn new(cast: &Cast, params: Params) -> Self {
        let mut model = Self {
            params,
            chain: cast.world.chain.clone(),
            now: crate::world::START,
            accounts: BTreeMap::new(),
            keys: BTreeMap::new(),
            papers: BTreeMap::new(),
            members: BTreeSet::new(),
            asked: BTreeMap::new(),
            opened: BTreeMap::new(),
            heads: BTreeMap::new(),
            audits: BTreeMap::new(),
            nonces: BTreeSet::new(),
            used: BTreeMap::new(),
            blocks: 0,
        };
        model.found(&cast.authority, Role::Authority);
        model.found(&cast.hospital, Role::Hospital);
        model
    }

    fn found(&mut self, party: &Party, role: Role) {
        let (id, first) = (party.id, party.key.kid());
        let account = Account { role, sponsor: id, custodial: false, first, credential: Some(party.credential) };
        self.accounts.insert(id, account);
        let public = *vouchsafe_types::jws::Sign::public(&party.key).bytes();
        self.keys.insert(first, Key { account: id, public, agent: None, ended: false });
        self.papers.insert((id, party.credential), Paper { status: CredentialStatus::Verified, until: None });
    }

    /// Judges the blocks that the world made since, and compares each answer.
    pub(crate) fn follow(&mut self, world: &World, seed: u64) {
        for block in &world.log[self.blocks..] {
            self.now = block.time;
            self.used.clear();
            for (raw, said) in block.txs.iter().zip(&block.said) {
                let predicted = self.judge(raw);
                assert_eq!(
                    *said,
                    predicted,
                    "seed {seed}, {}: the machine says the left, the model the right",
                    read::shown(raw)
                );
            }
        }
        self.blocks = world.log.len();
    }

    /// Judges a transaction, and writes what it does when it is accepted.
    fn judge(&mut self, raw: &str) -> Says {
        let Some(envelope) = read::envelope(raw) else { return Err(Code::Malformed) };
        let (signer, nonce) = self.admit(&envelope)?;
        let sponsors = matches!(envelope.tx, Tx::Register(_));
        let used = self.share(&signer, sponsors)?;
        self.act(&envelope.tx, &signer)?;
        self.nonces.insert(nonce);
        self.used.insert(signer.account, used);
        Ok(())
    }

    fn admit(&self, envelope: &Envelope) -> Result<(Signer, (AccountId, Nonce, u64)), Code> {
        if envelope.chain != self.chain {
            return Err(Code::WrongChain);
        }
        let expires = envelope.tx.expires();
        if expires <= self.now {
            return Err(Code::Expired);
        }
        if expires.0 - self.now.0 > 600_000 {
            return Err(Code::TooFarAhead);
        }
        let key = self.keys.get(&envelope.kid).ok_or(Code::UnknownKey)?;
        if key.ended || key.agent.is_some_and(|(_, until)| until <= self.now) {
            return Err(Code::KeyEnded);
        }
        let nonce = (key.account, envelope.tx.nonce(), expires.0 / 60_000);
        if self.nonces.contains(&nonce) {
            return Err(Code::Replayed);
        }
        if !envelope.signed_by(&key.public) {
            return Err(Code::BadSignature);
        }
        let account = &self.accounts[&key.account];
        let signer = Signer {
            kid: envelope.kid,
            account: key.account,
            role: account.role,
            agent_of: key.agent.map(|(organization, _)| organization),
            custodial: account.custodial && account.first == envelope.kid,
        };
        Ok((signer, nonce))
    }

    /// What the signer will have used of the block.
    fn share(&self, signer: &Signer, sponsors: bool) -> Result<(u64, u64), Code> {
        let (all, sponsored) = self.used.get(&signer.account).copied().unwrap_or_default();
        let used = (all + 1, sponsored + u64::from(sponsors));
        let person = matches!(signer.role, Role::Doctor | Role::Patient);
        let most = if person { self.params.person_per_block } else { self.params.organization_per_block };
        let within = used.0 <= most.0 && used.1 <= self.params.sponsored_per_block.0;
        if within { Ok(used) } else { Err(Code::Quota) }
    }

    fn act(&mut self, tx: &Tx, signer: &Signer) -> Says {
        match tx {
            Tx::Register(tx) => self.register(tx, signer),
            Tx::AddCredential(tx) => self.add_credential(tx, signer),
            Tx::Judge(tx) => self.verdict(tx, signer),
            Tx::Affiliate(tx) => self.affiliate(tx, signer),
            Tx::EndAffiliation(tx) => self.end_affiliation(tx, signer),
            Tx::AddDevice(tx) => self.add_device(tx, signer),
            Tx::EndKey(tx) => self.end_key(tx, signer),
            Tx::Mandate(tx) => self.mandate(tx, signer),
            Tx::SetEndpoint(tx) => Self::endpoint(tx, signer),
            Tx::Ask(tx) => self.ask(tx, signer),
            Tx::Decide(tx) => self.decide(tx, signer),
            Tx::Open(tx) => self.open(tx, signer),
            Tx::End(tx) => self.end(tx, signer),
            Tx::Revoke(tx) => self.revoke(tx, signer),
            Tx::Anchor(tx) => self.anchor(tx, signer),
            Tx::AnchorAudit(tx) => self.anchor_audit(tx, signer),
        }
    }

    /// Ends every session that the closure names.
    fn fell(&mut self, rests: impl Fn(&Opened) -> bool) {
        for session in self.opened.values_mut().filter(|s| rests(s)) {
            session.over = true;
        }
    }

    fn live(&self, session: &Opened) -> bool {
        !session.over && self.now < session.expires
    }

    /// That an organisation is verified; says until when.
    fn verified(&self, id: &AccountId) -> Result<Option<TimeMs>, Code> {
        let account = self.accounts.get(id).ok_or(Code::NotFound)?;
        if matches!(account.role, Role::Doctor | Role::Patient) {
            return Err(Code::NotAllowed);
        }
        let paper = account.credential.and_then(|c| self.papers.get(&(*id, c)));
        match paper {
            Some(Paper { status: CredentialStatus::Verified, until }) if until.is_none_or(|u| self.now < u) => {
                Ok(*until)
            }
            _ => Err(Code::OrganizationNotVerified),
        }
    }
}

/// `Ok` when it holds, else the code.
fn must(holds: bool, code: Code) -> Says {
    if holds { Ok(()) } else { Err(code) }
}
