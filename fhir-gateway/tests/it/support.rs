//! A consortium on one machine for tests: an authority, two hospitals and a laboratory with gateways of their own over
//! one embedded ledger, a clock that tests move, and wallets that hold their own keys. Everything goes over real HTTP.

#![allow(dead_code, reason = "each test uses what it needs of it")]

mod bundle;
mod client;
mod person;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use vouchsafe_gateway::{
    clock::Clock,
    config::{ClientConfig, ClientRole, Config, Limits},
    gateway::{Gateway, Running},
    ledger::{EmbeddedLedger, Ledger},
    seal::{FileKeystore, Keystore, device::Es384Key},
};
use vouchsafe_node::{Embedded, Settings, ValidatorKey};
use vouchsafe_types::{
    AccountId, Count, CredentialId, Event, Hash32, TimeMs,
    genesis::{Founder, Genesis, GenesisBody, Validator},
    jws::Sign,
    state::Params,
    tx::Role,
};

pub(crate) use bundle::{below, ids, link, pages, resources, told_by, total};
pub(crate) use client::{Answer, Assert, Client};
pub(crate) use person::Person;

pub(crate) const FHIR: &str = "application/fhir+json";

/// How often an empty block is made.
const HEARTBEAT: Duration = Duration::from_millis(200);

/// The four organisations of `Consortium::start`.
pub(crate) const FOUNDERS: [(&str, Role); 4] = [
    ("authority", Role::Authority),
    ("hospital-a", Role::Hospital),
    ("hospital-b", Role::Hospital),
    ("laboratory", Role::Laboratory),
];

/// The machine's time plus what a test added.
#[derive(Clone, Default)]
pub(crate) struct TestClock(Arc<AtomicU64>);

impl TestClock {
    pub(crate) fn now(&self) -> TimeMs {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        TimeMs(u64::try_from(since.as_millis()).unwrap() + self.0.load(Ordering::SeqCst))
    }

    fn shared(&self) -> Clock {
        let clock = self.clone();
        Arc::new(move || clock.now())
    }
}

pub(crate) struct Org {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    pub(crate) account: AccountId,
    pub(crate) home: PathBuf,
    pub(crate) system: Arc<Es384Key>,
    running: Option<Running>,
    /// Where it listened first; a restart listens there again.
    listen: std::net::SocketAddr,
}

pub(crate) struct Consortium {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) clock: TestClock,
    pub(crate) genesis: Genesis,
    pub(crate) chain: Embedded,
    pub(crate) orgs: Vec<Org>,
    /// The limits of gateways that are started from now on.
    pub(crate) limits: Limits,
    http: reqwest::Client,
}

pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    bytes
}

impl Consortium {
    /// The four organisations.
    pub(crate) async fn start() -> Self {
        Self::of(&FOUNDERS).await
    }

    /// These founders, the first an authority; each with a running gateway.
    pub(crate) async fn of(founders: &[(&'static str, Role)]) -> Self {
        Self::beating(founders, HEARTBEAT).await
    }

    /// Likewise, over a ledger that makes an empty block so often.
    pub(crate) async fn beating(founders: &[(&'static str, Role)], heartbeat: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = TestClock::default();
        let mut orgs: Vec<Org> = Vec::new();
        let mut sworn: Vec<(Founder, PathBuf)> = Vec::new();
        for (name, role) in founders {
            let home = dir.path().join(name);
            std::fs::create_dir_all(&home).unwrap();
            let store = keystore(&home);
            let ed25519 = store.generate_ed25519("org").unwrap();
            let rsa = store.generate_rsa("org").unwrap();
            let account = AccountId::of_key(ed25519.bytes());
            let credential = CredentialId(random());
            let founder = Founder { account, role: *role, ed25519, rsa, credential, identity: Hash32(random()) };
            sworn.push((founder, home.clone()));
            let system = Arc::new(Es384Key::generate().unwrap());
            let listen = ([127, 0, 0, 1], 0).into();
            orgs.push(Org { name, role: *role, account, home, system, running: None, listen });
        }
        sworn.sort_by_key(|(f, _)| f.account);
        let validator = ValidatorKey::load_or_create(&dir.path().join("validator.key")).unwrap();
        let body = GenesisBody {
            name: "test".into(),
            time: TimeMs(clock.now().0 - 1000),
            founders: sworn.iter().map(|(f, _)| f.clone()).collect(),
            validators: vec![Validator { ed25519: validator.public(), power: Count(10) }],
            params: Params::default(),
        };
        let endorse = |(_, home): &(Founder, PathBuf)| body.endorse(&*keystore(home).ed25519("org").unwrap());
        let signatures = sworn.iter().map(endorse).collect();
        let genesis = Genesis { body, signatures };
        drop(validator);
        let chain = open_chain(dir.path(), &genesis, &clock, heartbeat);
        let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).build().unwrap();
        let limits = Limits::default();
        let mut this = Self { dir, clock, genesis, chain, orgs, limits, http };
        for (name, _) in founders {
            this.launch(name).await;
        }
        this
    }

    pub(crate) fn ledger(&self) -> Arc<dyn Ledger> {
        Arc::new(EmbeddedLedger::new(self.chain.clone()))
    }

    /// Starts (again) an organisation's gateway at the address it had.
    pub(crate) async fn launch(&mut self, name: &str) {
        let ledger = self.ledger();
        let clock = self.clock.shared();
        let org = self.orgs.iter_mut().find(|o| o.name == name).unwrap();
        let mut config = Config::new(&org.home);
        config.listen = org.listen;
        config.limits = self.limits.clone();
        let role = if org.role == Role::Authority { ClientRole::Authority } else { ClientRole::System };
        let jwks = json!({ "keys": [org.system.public().to_json()] });
        config.clients = vec![
            ClientConfig { client_id: format!("ehr-{name}"), jwks: jwks.clone(), role },
            ClientConfig { client_id: format!("desk-{name}"), jwks, role: ClientRole::System },
        ];
        let running = Gateway::start(config, ledger, clock).await.unwrap();
        org.listen = running.addr;
        org.running = Some(running);
    }

    /// Stops an organisation's gateway; its files are then nobody's.
    pub(crate) async fn stop(&mut self, name: &str) {
        let org = self.orgs.iter_mut().find(|o| o.name == name).unwrap();
        org.running.take().unwrap().stop().await;
    }

    /// Stops everything.
    pub(crate) async fn end(mut self) {
        for org in &mut self.orgs {
            if let Some(running) = org.running.take() {
                running.stop().await;
            }
        }
        self.chain.stop().await;
    }

    pub(crate) fn org(&self, name: &str) -> &Org {
        self.orgs.iter().find(|o| o.name == name).unwrap()
    }

    pub(crate) fn gateway(&self, name: &str) -> Arc<Gateway> {
        Arc::clone(&self.org(name).running.as_ref().unwrap().gateway)
    }

    pub(crate) fn base(&self, name: &str) -> String {
        format!("http://{}", self.org(name).listen)
    }

    /// Moves time and waits until the ledger has a block of the new time.
    pub(crate) async fn advance(&self, ms: u64) {
        self.clock.0.fetch_add(ms, Ordering::SeqCst);
        let target = self.clock.now();
        let mut blocks = self.chain.subscribe(self.chain.head().height);
        while let Some(block) = blocks.next().await {
            if block.time >= target {
                return;
            }
        }
    }

    /// Moves the gateways' clocks where the ledger cannot follow.
    pub(crate) fn advance_alone(&self, ms: u64) {
        self.clock.0.fetch_add(ms, Ordering::SeqCst);
    }

    /// Stops everything, and starts it again from what lies on the disk: a ledger that was away is there again.
    pub(crate) async fn restarted(mut self) -> Self {
        let mut names = Vec::new();
        for org in &mut self.orgs {
            names.push(org.name);
            if let Some(running) = org.running.take() {
                running.stop().await;
            }
        }
        let Self { dir, clock, genesis, chain, orgs, limits, http } = self;
        chain.stop().await;
        let chain = open_chain(dir.path(), &genesis, &clock, HEARTBEAT);
        let mut this = Self { dir, clock, genesis, chain, orgs, limits, http };
        for name in names {
            this.launch(name).await;
        }
        this
    }

    /// How many anchors of records the blocks after a height hold.
    pub(crate) async fn anchors_since(&self, height: u64) -> usize {
        let mut blocks = self.chain.subscribe(height + 1);
        let (mut found, mut at) = (0, height);
        while at < self.chain.head().height {
            let block = blocks.next().await.unwrap();
            at = block.height;
            found += block.events.iter().filter(|(_, event)| matches!(event, Event::Anchored { .. })).count();
        }
        found
    }

    fn client_of(&self, org: &str, client_id: String, key: Arc<dyn Assert>) -> Client {
        let clock = self.clock.clone();
        let token = Arc::new(Mutex::new(None));
        Client { base: self.base(org), client_id, key, extensions: None, clock, http: self.http.clone(), token }
    }

    /// The organisation's own system.
    pub(crate) fn system(&self, org: &str) -> Client {
        let key: Arc<Es384Key> = Arc::clone(&self.org(org).system);
        self.client_of(org, format!("ehr-{org}"), key)
    }

    /// Another system of the organisation, which never decides as an authority does.
    pub(crate) fn desk(&self, org: &str) -> Client {
        Client { client_id: format!("desk-{org}"), ..self.system(org) }
    }

    /// A person at a gateway they enrolled at.
    pub(crate) fn person(&self, person: &Person, org: &str) -> Client {
        self.client_of(org, person.account.to_string(), person.keys.clone())
    }

    /// The organisation's system on behalf of a doctor, by `hl7-b2b`.
    pub(crate) fn on_behalf(&self, doctor: AccountId, org: &str) -> Client {
        let extensions = json!({ "hl7-b2b": {
            "version": "1", "subject_id": doctor, "organization_id": self.org(org).account,
            "purpose_of_use": ["urn:oid:2.16.840.1.113883.5.8#TREAT"],
        } });
        Client { extensions: Some(extensions), ..self.system(org) }
    }

    /// Nobody: calls without a token.
    pub(crate) fn nobody(&self, org: &str) -> Client {
        let client = self.system(org);
        *client.token.lock().unwrap() = Some(String::new());
        client
    }

    /// A Patient resource at a hospital; its id.
    pub(crate) async fn chart(&self, org: &str, family: &str) -> String {
        let body = json!({ "resourceType": "Patient", "name": [{ "family": family }], "birthDate": "1970-01-01" });
        self.system(org).post("Patient", &body).await.created()
    }

    /// A patient with keys of their own and a chart at a hospital, which is then the home; the chart's id.
    pub(crate) async fn patient(&self, org: &str, family: &str) -> (Person, String) {
        let chart = self.chart(org, family).await;
        let person = Person::new();
        person.enrol(self, org, &format!("Patient/{chart}"), true).await.expect(201);
        (person, chart)
    }

    /// Links a chart at a further custodian to a patient's account; the chart's id.
    pub(crate) async fn link(&self, person: &Person, org: &str, family: &str) -> String {
        let chart = self.chart(org, family).await;
        person.enrol(self, org, &format!("Patient/{chart}"), false).await.expect(201);
        chart
    }

    /// A doctor of an organisation, registered and not verified; the Practitioner's id.
    pub(crate) async fn unverified_doctor(&self, org: &str) -> (Person, String) {
        let body = json!({ "resourceType": "Practitioner", "active": true, "name": [{ "text": "Dr Test" }] });
        let record = self.system(org).post("Practitioner", &body).await.created();
        let person = Person::new();
        person.enrol(self, org, &format!("Practitioner/{record}"), true).await.expect(201);
        (person, record)
    }

    /// A verified doctor of an organisation.
    pub(crate) async fn doctor(&self, org: &str) -> (Person, String) {
        let (person, record) = self.unverified_doctor(org).await;
        self.judge(person.account, "verify").await;
        (person, record)
    }

    /// The authority's decision on a doctor.
    pub(crate) async fn judge(&self, doctor: AccountId, verdict: &str) {
        let path = format!("Practitioner/{doctor}/${verdict}");
        self.system("authority").post(&path, &json!({ "resourceType": "Parameters" })).await.expect(200);
    }

    /// A doctor mandates the organisation's agent key.
    pub(crate) async fn mandate(&self, doctor: &Person, org: &str) {
        let client = self.person(doctor, org);
        let path = format!("Practitioner/{}/$mandate", doctor.account);
        doctor.act(&client, &path, &json!({ "resourceType": "Parameters" })).await.expect(200);
    }
}

fn open_chain(dir: &std::path::Path, genesis: &Genesis, clock: &TestClock, heartbeat: Duration) -> Embedded {
    let validator = ValidatorKey::load_or_create(&dir.join("validator.key")).unwrap();
    let settings = Settings { heartbeat, clock: clock.shared(), ..Settings::default() };
    Embedded::open(&dir.join("ledger"), genesis, validator, settings).unwrap()
}

pub(crate) fn keystore(home: &std::path::Path) -> FileKeystore {
    FileKeystore::open_or_create(&home.join("keystore"), &home.join("unlock.key")).unwrap()
}

/// The value of a Parameters' parameter.
pub(crate) fn parameter(parameters: &Value, name: &str) -> Value {
    let one = parameters["parameter"].as_array().into_iter().flatten().find(|p| p["name"] == name);
    one.and_then(|p| p.as_object()?.iter().find(|(k, _)| k.starts_with("value")).map(|(_, v)| v.clone()))
        .unwrap_or(Value::Null)
}

/// An Observation with a decimal whose text matters.
pub(crate) fn observation(patient: &str, code: &str, date: &str) -> Value {
    json!({
        "resourceType": "Observation", "status": "final",
        "category": [{ "coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory"
        }] }],
        "code": { "coding": [{ "system": "http://loinc.org", "code": code }] },
        "subject": { "reference": format!("Patient/{patient}") },
        "effectiveDateTime": date,
        "valueQuantity": { "value": 6.1, "unit": "%" },
    })
}
