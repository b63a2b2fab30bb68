//! A doctor and a patient of the validator's chain, and what they sign between request and revocation.

use vouchsafe_gateway::seal::device::Ed25519Key;
use vouchsafe_types::{
    AccountId, CredentialId, Hash32, Nonce, RequestId, RsaJwk, SessionId, Tag, TimeMs,
    jws::{Sign, sign_statement, sign_tx},
    time::Count,
    tx::{Ask, Decide, Enrolment, Judge, NewCredential, Open, Register, Revoke, Role, Terms, Tx, Verdict},
};

use super::validator::{Validator, now};

const CREDENTIAL: CredentialId = CredentialId([9; 16]);
const MINUTE: u64 = 60_000;

/// The two and their request.
pub(super) struct Story {
    chain: String,
    hospital: AccountId,
    doctor: Ed25519Key,
    patient: Ed25519Key,
    made: u8,
    terms: Terms,
    pub(super) request: RequestId,
}

fn account(key: &Ed25519Key) -> AccountId {
    AccountId::of_key(key.public().bytes())
}

fn soon() -> TimeMs {
    now().plus(5 * MINUTE)
}

fn rsa(n: u8) -> RsaJwk {
    RsaJwk::new(vec![0x80 | n; 384]).unwrap()
}

impl Story {
    /// Registers both, has the doctor verified and lets them ask for a standing grant with sessions of so long.
    pub(super) async fn asked(validator: &mut Validator, session_ms: u64) -> Self {
        let terms = Terms {
            tags: (1..17).map(|b| Tag([b; 16])).collect(),
            write: true,
            detail: Hash32([4; 32]),
            valid_until: now().plus(100 * MINUTE),
            session_ms: Count(session_ms),
            standing: true,
        };
        let mut story = Self {
            chain: validator.genesis.body.chain_id(),
            hospital: account(&validator.hospital),
            doctor: Ed25519Key::generate(),
            patient: Ed25519Key::generate(),
            made: 0,
            terms,
            request: RequestId([0; 16]),
        };
        for role in [Role::Doctor, Role::Patient] {
            let tx = story.register(role);
            validator.committed(&sign_tx(&validator.hospital, &story.chain, &tx.into())).await;
        }
        let verdict = Judge {
            nonce: story.nonce(),
            expires: soon(),
            subject: account(&story.doctor),
            credential: CREDENTIAL,
            verdict: Verdict::Verify,
            valid_until: Some(now().plus(1000 * MINUTE)),
        };
        validator.committed(&sign_tx(&validator.authority, &story.chain, &verdict.into())).await;
        let ask = Ask {
            nonce: story.nonce(),
            expires: soon(),
            organization: story.hospital,
            patient: account(&story.patient),
            credential: CREDENTIAL,
            terms: story.terms.clone(),
            answer_by: now().plus(10 * MINUTE),
        };
        story.request = RequestId::derive(&account(&story.doctor), &ask.nonce);
        validator.committed(&story.signed(&story.doctor, &ask.into())).await;
        story
    }

    /// The patient approves all of it.
    pub(super) async fn grant(&mut self, validator: &mut Validator) {
        let granted = Some(self.terms.clone());
        let tx = Decide { nonce: self.nonce(), expires: soon(), request: self.request, granted };
        validator.committed(&self.signed(&self.patient, &tx.into())).await;
    }

    /// The doctor opens a session; it and the block that holds its opening.
    pub(super) async fn open(&mut self, validator: &mut Validator) -> (SessionId, u64) {
        let tx = Open { nonce: self.nonce(), expires: soon(), grant: self.request, recipient: rsa(55) };
        let session = SessionId::derive(&account(&self.doctor), &tx.nonce);
        (session, validator.committed(&self.signed(&self.doctor, &tx.into())).await)
    }

    /// The patient takes the grant back.
    pub(super) async fn revoke(&mut self, validator: &mut Validator) {
        let tx = Revoke { nonce: self.nonce(), expires: soon(), grant: self.request };
        validator.committed(&self.signed(&self.patient, &tx.into())).await;
    }

    fn register(&mut self, role: Role) -> Register {
        let (nonce, doctor) = (self.nonce(), role == Role::Doctor);
        let key = if doctor { &self.doctor } else { &self.patient };
        let enrolment = Enrolment {
            account: account(key),
            sponsor: self.hospital,
            role,
            rsa: rsa(5).kid(),
            custodial: false,
            affiliate: doctor,
            expires: soon(),
        };
        Register {
            nonce,
            expires: soon(),
            account: account(key),
            role,
            ed25519: key.public(),
            rsa: rsa(5),
            custodial: false,
            identity: Hash32([2; 32]),
            credential: doctor.then_some(NewCredential { id: CREDENTIAL, commitment: Hash32([3; 32]) }),
            enrolment: sign_statement(key, &self.chain, Enrolment::TYP, &enrolment),
        }
    }

    fn signed(&self, key: &Ed25519Key, tx: &Tx) -> String {
        sign_tx(key, &self.chain, tx)
    }

    /// Not one of the validator's anchors'.
    fn nonce(&mut self) -> Nonce {
        self.made += 1;
        Nonce([self.made; 16])
    }
}
