//! What holds after every block, judged from the state and the events alone and not by the machine's own rules.

use std::collections::BTreeMap;

use vouchsafe_core::{Memory, session_standing};
use vouchsafe_types::{
    AccountId, Event, Hash32, Kid, Nonce, RequestId, SessionId,
    state::{Account, Affiliation, AuditHead, Credential, Head, Key, KeyRole, NonceMinute, Request, Session},
    tx::{Terms, Verdict},
};

use crate::world::World;

/// What the checker remembers from block to block.
pub(crate) struct Invariants {
    rising: BTreeMap<Vec<u8>, u64>,
    /// Sessions that nothing has ended yet, by the events.
    unfelled: BTreeMap<SessionId, Session>,
    seen: usize,
}

impl Invariants {
    pub(crate) fn new(world: &World) -> Self {
        Self { rising: rising(&world.state), unfelled: BTreeMap::new(), seen: world.events.len() }
    }

    /// Checks all; says how many sessions are live.
    pub(crate) fn check(&mut self, world: &World, seed: u64) -> usize {
        let now = rising(&world.state);
        for (row, before) in &self.rising {
            assert!(now.get(row).is_some_and(|n| n >= before), "seed {seed}: {} fell", String::from_utf8_lossy(row));
        }
        self.rising = now;
        for (_, request) in rows::<Request>(&world.state, "request/", Request::from_bytes) {
            grant_within_request(&request, world, seed);
        }
        devices_are_the_live_keys(&world.state, seed);
        nonce_leaves_match_their_rows(&world.state, seed);
        self.sessions(world, seed)
    }

    /// A session is live exactly while its time is not over and no event has felled it.
    fn sessions(&mut self, world: &World, seed: u64) -> usize {
        for event in &world.events[self.seen..] {
            if let Event::Opened { session, .. } = event {
                self.unfelled.insert(*session, world.session(session));
            }
            self.unfelled.retain(|id, session| !fells(event, id, session, &world.state));
        }
        self.seen = world.events.len();
        let mut live = 0;
        let mut per_visit: BTreeMap<RequestId, usize> = BTreeMap::new();
        for (id, session) in rows::<Session>(&world.state, "session/", Session::from_bytes) {
            let id: SessionId = id.parse().unwrap();
            let expected = self.unfelled.contains_key(&id) && world.time < session.expires;
            let found = session_standing(&world.state, &session, world.time);
            assert_eq!(found.is_ok(), expected, "seed {seed}: session {id}: {found:?}");
            live += usize::from(expected);
            let terms = granted(world, &session.grant);
            assert!(session.expires <= terms.valid_until && session.write <= terms.write, "seed {seed}");
            let opened = per_visit.entry(session.grant).or_default();
            *opened += 1;
            assert!(terms.standing || *opened == 1, "seed {seed}: a visit opened twice");
        }
        live
    }
}

fn world_request(state: &Memory, id: &RequestId) -> Request {
    Request::from_bytes(&state.merkle[&vouchsafe_types::keys::request(id)]).unwrap()
}

fn granted(world: &World, grant: &RequestId) -> Terms {
    world.request(grant).decision.unwrap().granted.unwrap()
}

/// Whether an event ends a session for good.
fn fells(event: &Event, id: &SessionId, session: &Session, state: &Memory) -> bool {
    match event {
        Event::Ended { session, .. } => session == id,
        Event::Revoked { request, .. } => *request == session.grant,
        Event::Verdict { subject, credential, verdict: Verdict::Suspend | Verdict::Revoke, .. } => {
            let under = world_request(state, &session.grant).credential;
            *subject == session.doctor && *credential == under || *subject == session.organization
        }
        Event::AffiliationEnded { doctor, organization } => {
            *doctor == session.doctor && *organization == session.organization
        }
        Event::KeyEnded { account, kid } => {
            let key = Key::from_bytes(&state.merkle[&vouchsafe_types::keys::key(kid)]).unwrap();
            let parties = [session.doctor, session.organization, session.patient];
            key.role == KeyRole::Device && parties.contains(account)
        }
        _ => false,
    }
}

pub(super) fn rows<T>(state: &Memory, prefix: &str, parse: fn(&[u8]) -> Option<T>) -> Vec<(String, T)> {
    let from = prefix.as_bytes().to_vec();
    let found = state.merkle.range(from..).take_while(|(k, _)| k.starts_with(prefix.as_bytes()));
    found.map(|(k, v)| (String::from_utf8(k[prefix.len()..].to_vec()).unwrap(), parse(v).unwrap())).collect()
}

/// Every number that must never fall.
fn rising(state: &Memory) -> BTreeMap<Vec<u8>, u64> {
    let mut all = BTreeMap::new();
    let mut put = |kind: &str, id: String, n: u64| all.insert(format!("{kind}{id}").into_bytes(), n);
    for (id, account) in rows(state, "account/", Account::from_bytes) {
        put("account/", id, account.generation.0);
    }
    for (id, credential) in rows(state, "credential/", Credential::from_bytes) {
        put("credential/", id, credential.generation.0);
    }
    for (id, affiliation) in rows(state, "affiliation/", Affiliation::from_bytes) {
        put("affiliation/", id, affiliation.generation.0);
    }
    for (id, request) in rows(state, "request/", Request::from_bytes) {
        put("request/", id, request.decision.map_or(0, |d| d.generation.0 + 1));
    }
    for (id, head) in rows(state, "head/", Head::from_bytes) {
        put("head/", id, head.seq.0);
    }
    for (id, head) in rows(state, "audit/", AuditHead::from_bytes) {
        put("audit/", id, head.count.0);
    }
    all
}

fn grant_within_request(request: &Request, world: &World, seed: u64) {
    let Some(decision) = &request.decision else { return };
    let Some(granted) = &decision.granted else { return };
    let asked = &request.asked;
    let within = !granted.tags.is_empty()
        && granted.tags.iter().all(|t| asked.tags.contains(t))
        && granted.write <= asked.write
        && granted.standing <= asked.standing
        && granted.valid_until <= asked.valid_until
        && granted.session_ms <= asked.session_ms;
    assert!(within, "seed {seed}: a grant exceeds its request");
    assert!(decision.at < request.answer_by, "seed {seed}: decided after the window");
    let signer = Key::from_bytes(&world.state.merkle[&vouchsafe_types::keys::key(&decision.by.kid)]).unwrap();
    let sponsor = world.account(&request.patient).sponsor;
    if decision.custodial {
        assert_ne!(request.organization, sponsor, "seed {seed}: an organisation let itself in");
        assert!([request.patient, sponsor].contains(&signer.account), "seed {seed}");
    } else {
        assert_eq!(signer.account, request.patient, "seed {seed}: somebody decided for the patient");
    }
}

fn devices_are_the_live_keys(state: &Memory, seed: u64) {
    let mut live: BTreeMap<AccountId, Vec<Kid>> = BTreeMap::new();
    for (kid, key) in rows(state, "key/", Key::from_bytes) {
        if key.role == KeyRole::Device && key.ended.is_none() {
            live.entry(key.account).or_default().push(kid.parse().unwrap());
        }
    }
    for (id, mut account) in rows(state, "account/", Account::from_bytes) {
        let mut keys = live.remove(&id.parse().unwrap()).unwrap_or_default();
        keys.sort();
        account.devices.sort();
        assert!(!keys.is_empty(), "seed {seed}: nobody can act for {id}");
        assert_eq!(account.devices, keys, "seed {seed}: devices of {id}");
    }
}

fn nonce_leaves_match_their_rows(state: &Memory, seed: u64) {
    let mut minutes: BTreeMap<u64, Vec<(u64, AccountId, Nonce)>> = BTreeMap::new();
    for (row, place) in state.flat.iter().filter(|(k, _)| k.starts_with(b"n/")) {
        let parts: Vec<&str> = std::str::from_utf8(row).unwrap().split('/').collect();
        let place = u64::from_be_bytes(place.as_slice().try_into().unwrap());
        let used = (place, parts[2].parse().unwrap(), parts[3].parse().unwrap());
        minutes.entry(u64::from_str_radix(parts[1], 16).unwrap()).or_default().push(used);
    }
    let leaves = rows(state, "nonces/", NonceMinute::from_bytes);
    assert_eq!(leaves.len(), minutes.len(), "seed {seed}: a minute has a leaf or rows, not both");
    for (minute, leaf) in leaves {
        let mut used = minutes.remove(&minute.parse().unwrap()).unwrap();
        used.sort();
        assert_eq!(leaf.count.0, used.len() as u64, "seed {seed}: minute {minute}");
        let hash = used.iter().fold(Hash32([0; 32]), |hash, (_, account, nonce)| {
            Hash32::of("vouchsafe/nonce", &[&hash.0, &account.0, &nonce.0])
        });
        assert_eq!(leaf.hash, hash, "seed {seed}: minute {minute}");
    }
}
