//! Accounts, credentials, affiliations and keys.

use vouchsafe_types::{
    AccountId, Code, Kid, OkpJwk,
    state::CredentialStatus,
    tx::{
        Acceptance, AddCredential, AddDevice, Affiliate, EndAffiliation, EndKey, Enrolment, Judge, Mandate, Register,
        Role, SetEndpoint, Verdict,
    },
};

use super::{Account, Key, Model, Paper, Says, Signer, must, read};

impl Model {
    pub(super) fn register(&mut self, tx: &Register, signer: &Signer) -> Says {
        let person = matches!(tx.role, Role::Doctor | Role::Patient);
        let may = match signer.role {
            Role::Hospital | Role::Laboratory => true,
            Role::Authority => !person,
            _ => false,
        };
        must(may, Code::NotAllowed)?;
        self.verified(&signer.account)?;
        must(AccountId::of_key(tx.ed25519.bytes()) == tx.account, Code::Malformed)?;
        must(!tx.custodial || tx.role == Role::Patient, Code::NotAllowed)?;
        must(tx.credential.is_none() || tx.role != Role::Patient, Code::NotAllowed)?;
        let affiliate = self.enrolled(tx, signer)?;
        let kid = tx.ed25519.kid();
        must(!self.accounts.contains_key(&tx.account) && !self.keys.contains_key(&kid), Code::AlreadyExists)?;

        let credential = tx.credential.as_ref().map(|c| c.id);
        let (role, custodial) = (tx.role, tx.custodial);
        self.accounts.insert(tx.account, Account { role, sponsor: signer.account, custodial, first: kid, credential });
        self.new_key(&tx.ed25519, tx.account, None);
        if let Some(id) = credential {
            self.papers.insert((tx.account, id), Paper { status: CredentialStatus::Pending, until: None });
        }
        if affiliate {
            self.members.insert((tx.account, signer.account));
        }
        Ok(())
    }

    /// What the new key said; whether it joins.
    fn enrolled(&self, tx: &Register, signer: &Signer) -> Result<bool, Code> {
        let (kid, public) = (tx.ed25519.kid(), tx.ed25519.bytes());
        let said: Option<Enrolment> = read::word(&tx.enrolment, &self.chain, "vouchsafe/enrolment", &kid, public);
        let said = said.ok_or(Code::BadAcceptance)?;
        let same = said.account == tx.account
            && said.sponsor == signer.account
            && said.role == tx.role
            && said.rsa == tx.rsa.kid()
            && said.custodial == tx.custodial
            && (!said.affiliate || tx.role == Role::Doctor)
            && self.now < said.expires;
        must(same, Code::BadAcceptance)?;
        Ok(said.affiliate)
    }

    fn new_key(&mut self, key: &OkpJwk, account: AccountId, agent: Option<(AccountId, vouchsafe_types::TimeMs)>) {
        self.keys.insert(key.kid(), Key { account, public: *key.bytes(), agent, ended: false });
    }

    pub(super) fn add_credential(&mut self, tx: &AddCredential, signer: &Signer) -> Says {
        must(signer.agent_of.is_none(), Code::DeviceKeyNeeded)?;
        must(signer.role != Role::Patient, Code::NotAllowed)?;
        let row = (signer.account, tx.credential.id);
        must(!self.papers.contains_key(&row), Code::AlreadyExists)?;
        let account = self.accounts.get_mut(&signer.account).unwrap();
        let own = account.credential.map(|id| self.papers[&(signer.account, id)].status);
        if own.is_none_or(|status| status == CredentialStatus::Revoked) {
            account.credential = Some(tx.credential.id);
        }
        self.papers.insert(row, Paper { status: CredentialStatus::Pending, until: None });
        Ok(())
    }

    pub(super) fn verdict(&mut self, tx: &Judge, signer: &Signer) -> Says {
        must(signer.role == Role::Authority, Code::NotAllowed)?;
        self.verified(&signer.account)?;
        must(tx.subject != signer.account, Code::NotAllowed)?;
        must(self.accounts.contains_key(&tx.subject), Code::NotFound)?;
        let now = self.now;
        let paper = self.papers.get_mut(&(tx.subject, tx.credential)).ok_or(Code::NotFound)?;
        let next = match (tx.verdict, paper.status) {
            (Verdict::Verify, CredentialStatus::Pending) | (Verdict::Reinstate, CredentialStatus::Suspended) => {
                CredentialStatus::Verified
            }
            (Verdict::Suspend, CredentialStatus::Verified) => CredentialStatus::Suspended,
            (Verdict::Revoke, CredentialStatus::Revoked) => return Err(Code::BadTransition),
            (Verdict::Revoke, _) => CredentialStatus::Revoked,
            _ => return Err(Code::BadTransition),
        };
        if next == CredentialStatus::Verified {
            must(tx.valid_until.is_some_and(|until| now < until), Code::BadTimes)?;
            (paper.status, paper.until) = (next, tx.valid_until);
            return Ok(());
        }
        must(tx.valid_until.is_none(), Code::BadTimes)?;
        paper.status = next;
        let (subject, credential) = (tx.subject, tx.credential);
        self.fell(|s| s.organization == subject || s.doctor == subject && s.credential == credential);
        Ok(())
    }

    pub(super) fn affiliate(&mut self, tx: &Affiliate, signer: &Signer) -> Says {
        self.verified(&signer.account)?;
        let doctor = self.accounts.get(&tx.doctor).ok_or(Code::NotFound)?;
        must(doctor.role == Role::Doctor, Code::NotAllowed)?;
        must(!self.members.contains(&(tx.doctor, signer.account)), Code::AlreadyExists)?;
        let speaker = read::speaker(&tx.acceptance).ok_or(Code::BadAcceptance)?;
        let key = self.keys.get(&speaker).ok_or(Code::BadAcceptance)?;
        must(key.account == tx.doctor && key.agent.is_none() && !key.ended, Code::BadAcceptance)?;
        self.accepted(&tx.acceptance, &speaker, &key.public, &signer.account, "vouchsafe/affiliation")?;
        self.members.insert((tx.doctor, signer.account));
        Ok(())
    }

    fn accepted(&self, text: &str, kid: &Kid, public: &[u8; 32], account: &AccountId, act: &str) -> Says {
        let said: Option<Acceptance> = read::word(text, &self.chain, "vouchsafe/acceptance", kid, public);
        let holds = said.is_some_and(|s| s.account == *account && s.act == act && self.now < s.expires);
        must(holds, Code::BadAcceptance)
    }

    pub(super) fn end_affiliation(&mut self, tx: &EndAffiliation, signer: &Signer) -> Says {
        must(signer.agent_of.is_none(), Code::DeviceKeyNeeded)?;
        must([tx.doctor, tx.organization].contains(&signer.account), Code::NotAllowed)?;
        must(self.members.remove(&(tx.doctor, tx.organization)), Code::NotAffiliated)?;
        self.fell(|s| s.doctor == tx.doctor && s.organization == tx.organization);
        Ok(())
    }

    fn devices(&self, account: &AccountId) -> usize {
        self.keys.values().filter(|k| k.account == *account && k.agent.is_none() && !k.ended).count()
    }

    pub(super) fn add_device(&mut self, tx: &AddDevice, signer: &Signer) -> Says {
        must(signer.agent_of.is_none(), Code::DeviceKeyNeeded)?;
        must(self.devices(&signer.account) < 16, Code::TooLarge)?;
        let kid = tx.ed25519.kid();
        must(!self.keys.contains_key(&kid), Code::AlreadyExists)?;
        self.accepted(&tx.acceptance, &kid, tx.ed25519.bytes(), &signer.account, "vouchsafe/device")?;
        self.new_key(&tx.ed25519, signer.account, None);
        Ok(())
    }

    pub(super) fn end_key(&mut self, tx: &EndKey, signer: &Signer) -> Says {
        must(signer.agent_of.is_none(), Code::DeviceKeyNeeded)?;
        let key = self.keys.get(&tx.kid).ok_or(Code::NotFound)?;
        must(key.account == signer.account, Code::NotAllowed)?;
        must(!key.ended, Code::KeyEnded)?;
        let device = key.agent.is_none();
        if device {
            must(self.devices(&signer.account) > 1, Code::NotAllowed)?;
            must(!signer.custodial || tx.kid == signer.kid, Code::NotAllowed)?;
            let id = signer.account;
            self.fell(|s| [s.doctor, s.organization, s.patient].contains(&id));
            let account = self.accounts.get_mut(&id).unwrap();
            if account.first == tx.kid {
                account.custodial = false;
            }
        }
        self.keys.get_mut(&tx.kid).unwrap().ended = true;
        Ok(())
    }

    pub(super) fn mandate(&mut self, tx: &Mandate, signer: &Signer) -> Says {
        must(signer.agent_of.is_none(), Code::DeviceKeyNeeded)?;
        must(signer.role == Role::Doctor, Code::NotAllowed)?;
        let longest = self.now.0 + self.params.max_mandate_ms.0;
        must(self.now < tx.until && tx.until.0 <= longest, Code::BadTimes)?;
        must(self.members.contains(&(signer.account, tx.organization)), Code::NotAffiliated)?;
        must(!self.keys.contains_key(&tx.agent.kid()), Code::AlreadyExists)?;
        self.new_key(&tx.agent, signer.account, Some((tx.organization, tx.until)));
        Ok(())
    }

    pub(super) fn endpoint(tx: &SetEndpoint, signer: &Signer) -> Says {
        must(!matches!(signer.role, Role::Doctor | Role::Patient), Code::NotAllowed)?;
        let host = tx.url.split_once("://").filter(|(scheme, _)| ["http", "https"].contains(scheme));
        let plain = host.is_some_and(|(_, host)| {
            !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-:[]".contains(c))
        });
        must(plain && tx.url.len() < 256, Code::Malformed)
    }
}
