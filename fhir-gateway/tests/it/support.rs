//! A consortium on one machine for tests: an authority, two hospitals and a laboratory with gateways of their own over
//! one embedded ledger, a clock that tests move, and wallets that hold their own keys. Everything goes over real HTTP.

#![allow(dead_code, reason = "each test uses what it needs of it")]

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use reqwest::{Method, header::HeaderMap};
use serde_json::{Value, json};
use vouchsafe_gateway::{
    clock::Clock,
    config::{ClientConfig, ClientRole, Config},
    gateway::{Gateway, Running},
    http::Link,
    ledger::{EmbeddedLedger, Ledger},
    seal::{DeviceKeys, FileKeystore, Keystore, RsaUnwrap, device::Es384Key, jose},
};
use vouchsafe_node::{Embedded, Settings, ValidatorKey};
use vouchsafe_types::{
    AccountId, Count, CredentialId, Hash32, Nonce, TimeMs, b64,
    genesis::{Founder, Genesis, GenesisBody, Validator},
    jws::{self, Sign},
    state::Params,
    tx::{Enrolment, Role},
};

pub(crate) const FHIR: &str = "application/fhir+json";

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
        let settings = Settings { heartbeat: Duration::from_millis(200), clock: clock.shared(), ..Settings::default() };
        let chain = Embedded::open(&dir.path().join("ledger"), &genesis, validator, settings).unwrap();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).build().unwrap();
        let mut this = Self { dir, clock, genesis, chain, orgs, http };
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
        let role = if org.role == Role::Authority { ClientRole::Authority } else { ClientRole::System };
        let jwks = json!({ "keys": [org.system.public().to_json()] });
        config.clients = vec![ClientConfig { client_id: format!("ehr-{name}"), jwks, role }];
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

pub(crate) fn keystore(home: &std::path::Path) -> FileKeystore {
    FileKeystore::open_or_create(&home.join("keystore"), &home.join("unlock.key")).unwrap()
}

/// What signs client assertions.
pub(crate) trait Assert: Send + Sync {
    fn es384(&self) -> &Es384Key;
}

impl Assert for Es384Key {
    fn es384(&self) -> &Es384Key {
        self
    }
}

impl Assert for DeviceKeys {
    fn es384(&self) -> &Es384Key {
        Self::es384(self)
    }
}

/// A SMART client of one gateway.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) base: String,
    pub(crate) client_id: String,
    key: Arc<dyn Assert>,
    extensions: Option<Value>,
    clock: TestClock,
    http: reqwest::Client,
    token: Arc<Mutex<Option<String>>>,
}

impl Client {
    /// The claims of a fresh assertion.
    pub(crate) fn claims(&self) -> Value {
        let mut claims = json!({
            "iss": self.client_id, "sub": self.client_id, "aud": format!("{}/auth/token", self.base),
            "exp": self.clock.now().0 / 1000 + 60, "jti": b64::encode(random::<16>()),
        });
        if let Some(extensions) = &self.extensions {
            claims["extensions"] = extensions.clone();
        }
        claims
    }

    pub(crate) fn assertion(&self, claims: &Value) -> String {
        jose::sign_es384(self.key.es384(), claims.to_string().as_bytes()).unwrap()
    }

    /// Asks for a token with an assertion.
    pub(crate) async fn ask_token(&self, assertion: &str) -> Answer {
        let form = format!(
            "grant_type=client_credentials&client_assertion_type={}&client_assertion={assertion}",
            "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"
        );
        let request = self.http.post(format!("{}/auth/token", self.base)).body(form);
        Answer::of(request.header("content-type", "application/x-www-form-urlencoded")).await
    }

    /// A token: the one that is there, or a new one.
    pub(crate) async fn token(&self) -> String {
        if let Some(token) = self.token.lock().unwrap().clone() {
            return token;
        }
        let answer = self.ask_token(&self.assertion(&self.claims())).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let token = answer.json()["access_token"].as_str().unwrap().to_owned();
        *self.token.lock().unwrap() = Some(token.clone());
        token
    }

    /// Forgets the token, as after time was moved.
    pub(crate) fn forget(&self) {
        *self.token.lock().unwrap() = None;
    }

    /// A call below `/fhir`, with any body and headers.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let token = self.token().await;
        let mut request = self.http.request(method, format!("{}/fhir/{path}", self.base));
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.body(body);
            if !headers.iter().any(|(n, _)| *n == "content-type") {
                request = request.header("content-type", FHIR);
            }
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::of(request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None, &[]).await
    }

    pub(crate) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.call(Method::GET, path, None, headers).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_with(path, body, &[]).await
    }

    pub(crate) async fn post_with(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
        self.call(Method::POST, path, Some(body.to_string().into_bytes()), headers).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
        self.call(Method::PUT, path, Some(body.to_string().into_bytes()), headers).await
    }

    /// A call beside `/fhir`, without a token.
    pub(crate) async fn plain(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.body(body);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::of(request).await
    }
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, body: response.bytes().await.unwrap().to_vec() }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{} {e}: {}", self.status, self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    /// The JSON of an answer that must have this status.
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    /// The id of what was created.
    pub(crate) fn created(&self) -> String {
        self.expect(201)["id"].as_str().unwrap().to_owned()
    }

    /// Status and stable code of a refusal, which must be an OperationOutcome that says something.
    pub(crate) fn refusal(&self) -> (u16, String) {
        let value = self.json();
        assert_eq!(value["resourceType"], "OperationOutcome", "{}", self.text());
        assert!(self.header("content-type").starts_with(FHIR));
        let issue = &value["issue"][0];
        let said = issue["diagnostics"].as_str().or(issue["details"]["text"].as_str()).unwrap_or_default();
        assert!(!said.is_empty(), "{}", self.text());
        (self.status, issue["details"]["coding"][0]["code"].as_str().unwrap_or_default().to_owned())
    }
}

/// A person with a device of their own.
pub(crate) struct Person {
    pub(crate) keys: Arc<DeviceKeys>,
    pub(crate) account: AccountId,
}

impl Person {
    pub(crate) fn new() -> Self {
        let keys = DeviceKeys::generate().unwrap();
        let account = AccountId::of_key(Sign::public(keys.ed25519()).bytes());
        Self { keys: Arc::new(keys), account }
    }

    /// Gets an enrolment address for a record and goes there: with a new account, or with the one that is there.
    pub(crate) async fn enrol(&self, c: &Consortium, org: &str, record: &str, new: bool) -> Answer {
        let system = c.system(org);
        let registered =
            system.post(&format!("{record}/$register"), &json!({ "resourceType": "Parameters" })).await.expect(201);
        let address = parameter(&registered, "enrolment").as_str().unwrap().to_owned();
        let offer = Answer::of(c.http.get(&address)).await.expect(200);
        let body = self.enrolment(&offer, new, c.clock.now().plus(60_000));
        Answer::of(c.http.post(&address).json(&body)).await
    }

    /// What the device answers to an offer.
    pub(crate) fn enrolment(&self, offer: &Value, new: bool, expires: TimeMs) -> Value {
        let chain = offer["chain"].as_str().unwrap();
        let sponsor: AccountId = offer["sponsor"].as_str().unwrap().parse().unwrap();
        let role: Role = serde_json::from_value(offer["role"].clone()).unwrap();
        let nonce: Nonce = offer["nonce"].as_str().unwrap().parse().unwrap();
        let link = Link { account: self.account, custodian: sponsor, nonce, expires };
        let mut body = json!({
            "link": jws::sign_statement(self.keys.ed25519(), chain, Link::TYP, &link),
            "client": self.keys.es384().public().to_json(),
        });
        if new {
            let rsa = RsaUnwrap::public(self.keys.rsa());
            let said = Enrolment {
                account: self.account,
                sponsor,
                role,
                rsa: rsa.kid(),
                custodial: false,
                affiliate: role == Role::Doctor,
                expires,
            };
            body["register"] = json!({
                "ed25519": Sign::public(self.keys.ed25519()), "rsa": rsa,
                "enrolment": jws::sign_statement(self.keys.ed25519(), chain, Enrolment::TYP, &said),
            });
        }
        body
    }

    /// Signs the payload that a `$prepare` gave.
    pub(crate) fn sign(&self, prepared: &Value) -> String {
        let text = |name: &str| parameter(prepared, name).as_str().unwrap().to_owned();
        let kid = Sign::public(self.keys.ed25519()).kid();
        let input = jws::signing_input(&kid, &text("typ"), &text("chain"), text("payload").as_bytes());
        jws::attach(&input, &self.keys.ed25519().sign(input.as_bytes()))
    }

    /// Prepares a call, signs and makes it; a refused preparation is the answer.
    pub(crate) async fn act(&self, client: &Client, path: &str, body: &Value) -> Answer {
        let prepared = client.post(&format!("{path}/$prepare"), body).await;
        if prepared.status != 200 {
            return prepared;
        }
        let tx = self.sign(&prepared.json());
        client.post_with(path, body, &[("vouchsafe-tx", &tx)]).await
    }
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
