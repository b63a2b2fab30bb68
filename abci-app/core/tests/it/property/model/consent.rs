//! Requests, decisions, sessions and anchors.

use std::collections::BTreeSet;

use vouchsafe_types::{
    AccountId, Code, CredentialId, RequestId, SessionId, TimeMs,
    state::CredentialStatus,
    tx::{Anchor, AnchorAudit, Ask, Decide, End, Open, Revoke, Role, Terms},
};

use super::{Asked, Model, Opened, Says, Signer, must};

impl Model {
    /// That a doctor may act for an organisation now; says when the credential and the verification run out.
    fn stands(
        &self,
        doctor: &AccountId,
        credential: &CredentialId,
        organization: &AccountId,
    ) -> Result<[Option<TimeMs>; 2], Code> {
        let paper = self.papers.get(&(*doctor, *credential)).ok_or(Code::NotFound)?;
        match paper.status {
            CredentialStatus::Pending => return Err(Code::NotVerified),
            CredentialStatus::Suspended => return Err(Code::Suspended),
            CredentialStatus::Revoked => return Err(Code::CredentialRevoked),
            CredentialStatus::Verified => {}
        }
        must(paper.until.is_none_or(|until| self.now < until), Code::CredentialExpired)?;
        must(self.members.contains(&(*doctor, *organization)), Code::NotAffiliated)?;
        Ok([paper.until, self.verified(organization)?])
    }

    pub(super) fn ask(&mut self, tx: &Ask, signer: &Signer) -> Says {
        must(signer.role == Role::Doctor, Code::NotAllowed)?;
        must(signer.agent_of.is_none_or(|o| o == tx.organization), Code::NoMandate)?;
        self.stands(&signer.account, &tx.credential, &tx.organization)?;
        let patient = self.accounts.get(&tx.patient).ok_or(Code::NotFound)?;
        must(patient.role == Role::Patient, Code::NotAllowed)?;
        let distinct: BTreeSet<_> = tx.terms.tags.iter().copied().collect();
        must(distinct.len() == 16 && distinct.into_iter().eq(tx.terms.tags.iter().copied()), Code::BadTags)?;
        let (now, until) = (self.now, tx.terms.valid_until);
        let follow = now < tx.answer_by && tx.answer_by < until && until.0 - now.0 <= self.params.max_grant_ms.0;
        must(follow, Code::BadTimes)?;
        must((1..=self.params.max_session_ms.0).contains(&tx.terms.session_ms.0), Code::BadTimes)?;
        let id = RequestId::derive(&signer.account, &tx.nonce);
        must(!self.asked.contains_key(&id), Code::AlreadyExists)?;
        let asked = Asked {
            doctor: signer.account,
            organization: tx.organization,
            patient: tx.patient,
            credential: tx.credential,
            terms: tx.terms.clone(),
            answer_by: tx.answer_by,
            decided: None,
            revoked: false,
            spent: false,
        };
        self.asked.insert(id, asked);
        Ok(())
    }

    pub(super) fn decide(&mut self, tx: &Decide, signer: &Signer) -> Says {
        let asked = self.asked.get(&tx.request).ok_or(Code::NotFound)?;
        let patient = &self.accounts[&asked.patient];
        let own = signer.account == asked.patient;
        let keeper = own && signer.custodial || patient.custodial && signer.account == patient.sponsor;
        must(own || keeper, Code::NotThePatient)?;
        if keeper {
            self.verified(&patient.sponsor)?;
        }
        must(asked.decided.is_none(), Code::NotRequested)?;
        must(self.now < asked.answer_by, Code::Lapsed)?;
        if let Some(granted) = &tx.granted {
            let employs =
                asked.organization == patient.sponsor || self.members.contains(&(asked.doctor, patient.sponsor));
            must(!keeper || !employs, Code::OwnDoctor)?;
            self.narrower(granted, &asked.terms)?;
        }
        self.asked.get_mut(&tx.request).unwrap().decided = Some(tx.granted.clone());
        Ok(())
    }

    fn narrower(&self, granted: &Terms, asked: &Terms) -> Says {
        let distinct: BTreeSet<_> = granted.tags.iter().copied().collect();
        let ascending = distinct.iter().copied().eq(granted.tags.iter().copied());
        must(ascending && !distinct.is_empty(), Code::BadTags)?;
        must(self.now < granted.valid_until && granted.session_ms.0 > 0, Code::BadTimes)?;
        let within = distinct.is_subset(&asked.tags.iter().copied().collect())
            && (asked.write || !granted.write)
            && (asked.standing || !granted.standing)
            && granted.valid_until <= asked.valid_until
            && granted.session_ms <= asked.session_ms;
        must(within, Code::WiderThanRequest)
    }

    /// The terms of a grant that was given and neither taken back nor run out.
    fn granted(&self, asked: &Asked) -> Result<Terms, Code> {
        let terms = asked.decided.clone().flatten().ok_or(Code::NotGranted)?;
        must(!asked.revoked, Code::GrantRevoked)?;
        must(self.now < terms.valid_until, Code::GrantExpired)?;
        Ok(terms)
    }

    pub(super) fn open(&mut self, tx: &Open, signer: &Signer) -> Says {
        let asked = self.asked.get(&tx.grant).ok_or(Code::NotFound)?;
        must(asked.doctor == signer.account, Code::NotTheDoctor)?;
        must(signer.agent_of.is_none_or(|o| o == asked.organization), Code::NoMandate)?;
        let terms = self.granted(asked)?;
        must(!asked.spent, Code::GrantSpent)?;
        let busy = self.opened.values().any(|s| s.grant == tx.grant && self.live(s));
        must(!busy, Code::AlreadyExists)?;
        let limits = self.stands(&asked.doctor, &asked.credential, &asked.organization)?;
        let id = SessionId::derive(&signer.account, &tx.nonce);
        must(!self.opened.contains_key(&id), Code::AlreadyExists)?;
        let ends = [Some(TimeMs(self.now.0 + terms.session_ms.0)), Some(terms.valid_until), limits[0], limits[1]];
        let session = Opened {
            grant: tx.grant,
            doctor: asked.doctor,
            organization: asked.organization,
            patient: asked.patient,
            credential: asked.credential,
            expires: ends.into_iter().flatten().min().unwrap(),
            write: terms.write,
            over: false,
            ended: false,
        };
        self.opened.insert(id, session);
        self.asked.get_mut(&tx.grant).unwrap().spent = !terms.standing;
        Ok(())
    }

    pub(super) fn end(&mut self, tx: &End, signer: &Signer) -> Says {
        let session = self.opened.get(&tx.session).ok_or(Code::NotFound)?;
        if session.doctor == signer.account {
            must(signer.agent_of.is_none_or(|o| o == session.organization), Code::NoMandate)?;
        } else {
            let patient = &self.accounts[&session.patient];
            let may = signer.account == session.patient || patient.custodial && signer.account == patient.sponsor;
            must(may, Code::NotTheDoctor)?;
        }
        must(self.live(session), Code::SessionNotLive)?;
        let session = self.opened.get_mut(&tx.session).unwrap();
        (session.over, session.ended) = (true, true);
        Ok(())
    }

    pub(super) fn revoke(&mut self, tx: &Revoke, signer: &Signer) -> Says {
        let asked = self.asked.get(&tx.grant).ok_or(Code::NotFound)?;
        must(asked.patient == signer.account, Code::NotThePatient)?;
        self.granted(asked)?;
        self.asked.get_mut(&tx.grant).unwrap().revoked = true;
        self.fell(|s| s.grant == tx.grant);
        Ok(())
    }

    pub(super) fn anchor(&mut self, tx: &Anchor, signer: &Signer) -> Says {
        self.verified(&signer.account)?;
        let (leaves, heads) = (tx.leaves.len() as u64, tx.heads.len() as u64);
        must(leaves <= self.params.max_leaves.0 && heads <= self.params.max_heads.0, Code::TooLarge)?;
        let handles: BTreeSet<_> = tx.heads.iter().map(|h| h.handle).collect();
        let ascending = handles.into_iter().eq(tx.heads.iter().map(|h| h.handle));
        must(leaves > 0 && heads > 0 && ascending, Code::BadAnchor)?;
        if let Some(id) = &tx.session {
            let session = self.opened.get(id).ok_or(Code::NotFound)?;
            must(session.organization == signer.account, Code::NotAllowed)?;
            must(self.live(session), Code::SessionNotLive)?;
            must(session.write, Code::ReadOnly)?;
        }
        for head in &tx.heads {
            let held = self.heads.get(&(signer.account, head.handle));
            let fits = match held {
                None => head.seq.0 == 1 && head.old.is_none(),
                Some((seq, root)) => head.seq.0 == seq + 1 && head.old == Some(*root),
            };
            must(fits, Code::StaleHead)?;
        }
        for head in &tx.heads {
            self.heads.insert((signer.account, head.handle), (head.seq.0, head.new));
        }
        Ok(())
    }

    pub(super) fn anchor_audit(&mut self, tx: &AnchorAudit, signer: &Signer) -> Says {
        must(!matches!(signer.role, Role::Doctor | Role::Patient), Code::NotAllowed)?;
        must(tx.first <= tx.last, Code::BadAnchor)?;
        must(tx.last.0 + 1 < 1 << 53, Code::TooLarge)?;
        let held = self.audits.get(&signer.account);
        let fits = match held {
            None => tx.first.0 == 0 && tx.old.is_none(),
            Some((count, root)) => tx.first.0 == *count && tx.old == Some(*root),
        };
        must(fits, Code::StaleHead)?;
        self.audits.insert(signer.account, (tx.last.0 + 1, tx.new));
        Ok(())
    }
}
