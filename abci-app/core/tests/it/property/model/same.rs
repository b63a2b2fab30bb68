//! The tables beside the machine's state, row by row, so that a row too many is found as well as one that differs.

use std::collections::BTreeMap;

use vouchsafe_core::session_standing;
use vouchsafe_types::{
    AccountId, CredentialId, Handle, Kid, RequestId, SessionId,
    state::{self, ConsentState, KeyRole},
};

use super::{Asked, Model};
use crate::{property::invariants::rows, world::World};

impl Model {
    /// Compares everything.
    pub(crate) fn same(&self, world: &World, seed: u64) {
        self.same_parties(world, seed);
        self.same_consent(world, seed);
        let heads = rows(&world.state, "head/", state::Head::from_bytes);
        let heads = heads.into_iter().map(|(id, head)| (pair::<AccountId, Handle>(&id), (head.seq.0, head.root)));
        assert_eq!(heads.collect::<BTreeMap<_, _>>(), self.heads, "seed {seed}: heads");
        let audits = rows(&world.state, "audit/", state::AuditHead::from_bytes);
        let audits = audits.into_iter().map(|(id, head)| (id.parse().unwrap(), (head.count.0, head.root)));
        assert_eq!(audits.collect::<BTreeMap<AccountId, _>>(), self.audits, "seed {seed}: audit logs");
    }

    fn same_parties(&self, world: &World, seed: u64) {
        let accounts = rows(&world.state, "account/", state::Account::from_bytes);
        assert_eq!(accounts.len(), self.accounts.len(), "seed {seed}: accounts");
        for (id, found) in accounts {
            let kept = &self.accounts[&id.parse().unwrap()];
            let same = (found.role, found.sponsor, found.custodial, found.credential)
                == (kept.role, kept.sponsor, kept.custodial, kept.credential);
            assert!(same, "seed {seed}: account {id}: {found:?}");
        }
        let keys = rows(&world.state, "key/", state::Key::from_bytes);
        assert_eq!(keys.len(), self.keys.len(), "seed {seed}: keys");
        for (kid, found) in keys {
            let kept = &self.keys[&kid.parse::<Kid>().unwrap()];
            let agent = match found.role {
                KeyRole::Device => None,
                KeyRole::Agent { organization, until } => Some((organization, until)),
            };
            let same = (found.account, found.ended.is_some(), agent) == (kept.account, kept.ended, kept.agent);
            assert!(same, "seed {seed}: key {kid}");
        }
        let papers = rows(&world.state, "credential/", state::Credential::from_bytes);
        assert_eq!(papers.len(), self.papers.len(), "seed {seed}: credentials");
        for (id, found) in papers {
            let kept = &self.papers[&pair::<AccountId, CredentialId>(&id)];
            assert_eq!((found.status, found.valid_until), (kept.status, kept.until), "seed {seed}: credential {id}");
        }
        let members = rows(&world.state, "affiliation/", state::Affiliation::from_bytes);
        let members = members.into_iter().filter(|(_, found)| found.ended.is_none());
        let members = members.map(|(id, _)| pair::<AccountId, AccountId>(&id));
        assert!(members.eq(self.members.iter().copied()), "seed {seed}: affiliations");
    }

    fn same_consent(&self, world: &World, seed: u64) {
        let requests = rows(&world.state, "request/", state::Request::from_bytes);
        assert_eq!(requests.len(), self.asked.len(), "seed {seed}: requests");
        for (id, found) in requests {
            let id: RequestId = id.parse().unwrap();
            let session = found.decision.as_ref().and_then(|d| d.session).map(|s| world.session(&s));
            let stands = found.state_at(world.time, session.as_ref());
            assert_eq!(stands, self.state_of(&id, &self.asked[&id]), "seed {seed}: request {id}");
        }
        let sessions = rows(&world.state, "session/", state::Session::from_bytes);
        assert_eq!(sessions.len(), self.opened.len(), "seed {seed}: sessions");
        for (id, found) in sessions {
            let kept = &self.opened[&id.parse::<SessionId>().unwrap()];
            assert_eq!((found.expires, found.write), (kept.expires, kept.write), "seed {seed}: session {id}");
            let standing = session_standing(&world.state, &found, world.time);
            assert_eq!(standing.is_ok(), self.live(kept), "seed {seed}: session {id}: {standing:?}");
        }
    }

    /// What a request is now. A visit has ended when its session was ended by an act or ran out; one that fell with a
    /// credential still reads as granted until then, because the state of a request is read without its parties.
    fn state_of(&self, id: &RequestId, asked: &Asked) -> ConsentState {
        let Some(decided) = &asked.decided else {
            return if asked.answer_by <= self.now { ConsentState::Lapsed } else { ConsentState::Requested };
        };
        let Some(terms) = decided else { return ConsentState::Denied };
        if asked.revoked {
            return ConsentState::Revoked;
        }
        let over = |s: &super::Opened| s.grant == *id && (s.ended || s.expires <= self.now);
        if asked.spent && self.opened.values().any(over) {
            return ConsentState::Ended;
        }
        if terms.valid_until <= self.now { ConsentState::Expired } else { ConsentState::Granted }
    }
}

fn pair<A: std::str::FromStr, B: std::str::FromStr>(id: &str) -> (A, B)
where
    A::Err: std::fmt::Debug,
    B::Err: std::fmt::Debug,
{
    let (a, b) = id.split_once('/').unwrap();
    (a.parse().unwrap(), b.parse().unwrap())
}
