//! A small consortium for the unit tests of records, audit and ledger: real keystores, stores and embedded ledger in a
//! temporary directory, a clock that tests move.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use serde_json::{Value, json};
use vouchsafe_node::{Embedded, Settings, ValidatorKey};
use vouchsafe_types::{
    AccountId, CredentialId, Hash32, RecordId, RsaJwk, TimeMs,
    genesis::{Founder, Genesis, GenesisBody, Validator},
    jws::Sign,
    state::Params,
    time::Count,
    tx::Role,
};

use crate::{
    audit::Audit,
    blobs::EmbeddedBlobs,
    failpoint::Failpoints,
    fatal::Fatal,
    foundation::{Foundation, ORG_KEY},
    ledger::{EmbeddedLedger, Ledger},
    records::{Act, ActKind, Actor, Charts, Directory, RecordRow, Records, Submission, SubmitError, WriteError},
    seal::{FileKeystore, Keystore},
    store::Db,
};

/// The organisations; the first is the authority.
pub(crate) const ORGS: [&str; 3] = ["authority", "a", "b"];
/// A name that must be nowhere in plaintext.
pub(crate) const FAMILY: &str = "Zwiebelhofer-Unterkirchen";

/// A chain and the homes of its founders.
pub(crate) struct Consortium {
    pub(crate) home: tempfile::TempDir,
    pub(crate) genesis: Genesis,
    pub(crate) now: Arc<AtomicU64>,
    pub(crate) ledger: EmbeddedLedger,
}

/// One organisation's parts.
pub(crate) struct Site {
    pub(crate) home: PathBuf,
    pub(crate) ground: Foundation,
    pub(crate) charts: Charts,
    pub(crate) directory: Directory,
    pub(crate) audit: Audit,
    pub(crate) records: Records,
}

fn keystore(home: &Path) -> FileKeystore {
    FileKeystore::open_or_create(&home.join("keystore"), &home.join("unlock.key")).unwrap()
}

/// The document with every founder's signature.
fn endorsed(body: GenesisBody, home: &Path) -> Genesis {
    let keys: Vec<_> = ORGS.iter().map(|name| keystore(&home.join(name)).ed25519(ORG_KEY).unwrap()).collect();
    let key = |founder: &Founder| keys.iter().find(|key| AccountId::of_key(key.public().bytes()) == founder.account);
    let signatures = body.founders.iter().map(|founder| body.endorse(&**key(founder).unwrap())).collect();
    Genesis { body, signatures }
}

impl Consortium {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let validator = ValidatorKey::load_or_create(&home.path().join("validator.key")).unwrap();
        let mut founders = Vec::new();
        for (n, name) in (1..).zip(ORGS) {
            let dir = home.path().join(name);
            std::fs::create_dir_all(&dir).unwrap();
            let keys = keystore(&dir);
            let ed25519 = keys.generate_ed25519(ORG_KEY).unwrap();
            // Nothing here is wrapped to an organisation, and a true key takes a while to make.
            let rsa = RsaJwk::new(vec![0x80 | n; 384]).unwrap();
            let role = if n == 1 { Role::Authority } else { Role::Hospital };
            let account = AccountId::of_key(ed25519.bytes());
            let (credential, identity) = (CredentialId([n; 16]), Hash32([n; 32]));
            founders.push((name, Founder { account, role, ed25519, rsa, credential, identity }));
        }
        founders.sort_by_key(|(_, founder)| founder.account);
        let begin = (crate::clock::system())();
        let body = GenesisBody {
            name: "unit".into(),
            time: begin,
            founders: founders.iter().map(|(_, founder)| founder.clone()).collect(),
            validators: vec![Validator { ed25519: validator.public(), power: Count(1) }],
            params: Params::default(),
        };
        let genesis = endorsed(body, home.path());
        let now = Arc::new(AtomicU64::new(begin.0));
        let clock = Arc::clone(&now);
        let settings = Settings {
            heartbeat: Duration::from_millis(200),
            max_queue: 10_000,
            clock: Arc::new(move || TimeMs(clock.load(Ordering::SeqCst))),
        };
        let node = Embedded::open(&home.path().join("ledger"), &genesis, validator, settings).unwrap();
        Self { home, genesis, now, ledger: EmbeddedLedger::new(node) }
    }

    /// The founders' signatures under a document that was altered.
    pub(crate) fn endorse(&self, genesis: &mut Genesis) {
        *genesis = endorsed(genesis.body.clone(), self.home.path());
    }

    /// An organisation's account.
    pub(crate) fn account(&self, name: &str) -> AccountId {
        AccountId::of_key(keystore(&self.home.path().join(name)).ed25519(ORG_KEY).unwrap().public().bytes())
    }

    /// Starts an organisation's parts in its own home.
    pub(crate) async fn site(&self, name: &str) -> Site {
        self.site_on(&self.home.path().join(name), Arc::new(self.ledger.clone())).await
    }

    /// Starts an organisation's parts in a home, on a ledger.
    pub(crate) async fn site_on(&self, home: &Path, ledger: Arc<dyn Ledger>) -> Site {
        self.try_site(home, ledger).await.unwrap()
    }

    /// Likewise, and tells what goes wrong in the audit log or the outbox.
    pub(crate) async fn try_site(&self, home: &Path, ledger: Arc<dyn Ledger>) -> Result<Site, String> {
        self.failing_site(home, ledger, Failpoints::default()).await
    }

    /// Likewise, with failpoints.
    pub(crate) async fn failing_site(
        &self,
        home: &Path,
        ledger: Arc<dyn Ledger>,
        failpoints: Failpoints,
    ) -> Result<Site, String> {
        let fatal = Fatal::default();
        let blobs = EmbeddedBlobs::open(&home.join("blobs.redb")).map_err(|e| e.to_string())?.telling(&fatal);
        let keys = Arc::new(keystore(home));
        let db = Db::open(&home.join("gateway.redb"), keys.store_seal("store").unwrap()).unwrap().telling(&fatal);
        let now = Arc::clone(&self.now);
        let ground = Foundation {
            org: AccountId::of_key(keys.ed25519(ORG_KEY).unwrap().public().bytes()),
            base: "http://localhost/fhir".into(),
            db,
            blobs: Arc::new(blobs),
            ledger,
            keystore: keys,
            clock: Arc::new(move || TimeMs(now.load(Ordering::SeqCst))),
            fatal,
            failpoints,
            keys_kept: Duration::from_secs(7 * 24 * 60 * 60),
        };
        let directory = Directory::new(ground.clone());
        let charts = Charts::open(ground.clone(), directory.clone()).await.map_err(|e| e.to_string())?;
        let audit = Audit::open(ground.clone()).await.map_err(|e| e.to_string())?;
        let records = Records::open_store(ground.clone(), charts.clone(), directory.clone(), audit.clone())
            .await
            .map_err(|e| e.to_string())?;
        Ok(Site { home: home.to_owned(), ground, charts, directory, audit, records })
    }

    /// A copy of a home as a crash at this moment would leave it.
    pub(crate) fn crashed_copy(&self, site: &Site, name: &str) -> PathBuf {
        let to = self.home.path().join(name);
        copy_dir(&site.home, &to);
        to
    }
}

/// Waits until a home's files are free: whoever still holds them is about to let them go.
async fn released(home: &Path) {
    for _ in 0..1_000 {
        if redb::Database::open(home.join("blobs.redb")).is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Copies a directory with all below it.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

impl Site {
    /// Stops everything, so that the home can be opened again.
    pub(crate) async fn stop(self) -> PathBuf {
        self.records.stop().await;
        self.audit.stop().await;
        self.ground.db.close().await;
        let home = self.home.clone();
        drop(self);
        released(&home).await;
        home
    }

    /// The patients' charts.
    pub(crate) fn charts_for_tests(&self) -> Vec<RecordId> {
        let own = self.charts.organization_chart().id;
        self.charts.all().into_iter().map(|chart| chart.id).filter(|id| *id != own).collect()
    }

    /// Writes a new Patient, with a chart of its own.
    pub(crate) async fn patient(&self) -> RecordRow {
        let id = Records::new_id();
        self.records.create_with_id(id, patient(id)).await.unwrap()
    }

    /// Writes a new Observation into a chart.
    pub(crate) async fn observation(&self, chart: RecordId, value: &str) -> RecordRow {
        self.records.create(observation(chart, value)).await.unwrap()
    }
}

/// A version to be written.
#[derive(Clone)]
pub(crate) struct Write {
    /// Its FHIR type.
    pub(crate) resource_type: String,
    /// The exact bytes that are sealed.
    pub(crate) sealed_form: Bytes,
    /// The same, parsed, for the index.
    pub(crate) value: Arc<Value>,
    /// The chart that it belongs to.
    pub(crate) chart: RecordId,
    /// The session in which a doctor uploads it.
    pub(crate) session: Option<vouchsafe_types::SessionId>,
    /// Who writes.
    pub(crate) by: Actor,
}

/// One act by itself, for tests that look at one.
impl Records {
    /// Writes a new record; on return its anchor is in a block.
    pub(crate) async fn create(&self, write: Write) -> Result<RecordRow, WriteError> {
        self.create_with_id(Self::new_id(), write).await
    }

    /// Writes a new record under an id that the caller made with `new_id`. A Patient's is its chart's, which is opened.
    pub(crate) async fn create_with_id(&self, id: RecordId, write: Write) -> Result<RecordRow, WriteError> {
        self.write(id, ActKind::Create, write).await
    }

    /// Writes the next version of a record, if the latest is the one that `if_match` names.
    pub(crate) async fn update(
        &self,
        id: RecordId,
        if_match: Option<u64>,
        write: Write,
    ) -> Result<RecordRow, WriteError> {
        self.write(id, ActKind::Update { if_match }, write).await
    }

    async fn write(&self, id: RecordId, kind: ActKind, write: Write) -> Result<RecordRow, WriteError> {
        let Write { resource_type, sealed_form, value, chart, session, by } = write;
        let act = Act { id, kind, resource_type, chart, sealed_form, value };
        let written = self.submit(Submission::new(vec![act], session, by)).await.map_err(SubmitError::why)?;
        let row = written.into_iter().next().map(|written| written.row);
        row.ok_or_else(|| WriteError::Unavailable("a write has no answer".into()))
    }
}

pub(crate) fn write(resource_type: &str, chart: RecordId, value: &Value) -> Write {
    Write {
        resource_type: resource_type.into(),
        sealed_form: Bytes::from(value.to_string()),
        value: Arc::new(value.clone()),
        chart,
        session: None,
        by: Actor { client: "ehr".into(), account: None, agent: None },
    }
}

pub(crate) fn patient(id: RecordId) -> Write {
    let value = json!({ "resourceType": "Patient", "name": [{ "family": FAMILY, "given": ["Ada"] }] });
    write("Patient", id, &value)
}

pub(crate) fn observation(chart: RecordId, value: &str) -> Write {
    let value = json!({
        "resourceType": "Observation", "status": "final",
        "code": { "coding": [{ "system": "http://loinc.org", "code": "718-7" }] },
        "subject": { "reference": format!("Patient/{chart}") },
        "effectiveDateTime": "2026-11-22", "valueString": value,
    });
    write("Observation", chart, &value)
}
