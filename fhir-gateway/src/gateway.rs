//! One organisation's gateway: what its parts share, and how it starts and stops.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use vouchsafe_types::{
    AccountId, TimeMs,
    state::Endpoint,
    tx::{Role, SetEndpoint},
};

use crate::{
    audit::{Audit, AuditError},
    auth::{self, Auth, AuthError},
    blobs::{BlobError, BlobStore, EmbeddedBlobs},
    clock::Clock,
    config::Config,
    consents::Consents,
    failpoint::Failpoints,
    fatal::Fatal,
    foundation::{Foundation, ORG_KEY},
    http::{self, Later, Metrics, Once, Pages},
    ledger::{Ledger, LedgerError, SignError, Signer, View},
    peers::{self, Peers},
    records::{Charts, Directory, Records, WriteError},
    seal::{FileKeystore, Keystore, KeystoreError},
    sessions::{self, Sessions},
    store::{Db, StoreError},
};

/// How long calls that are being served may take to end when the gateway stops.
const GRACE: Duration = Duration::from_secs(5);

/// One organisation's gateway. Several may run in one process: nothing of it is global.
pub struct Gateway {
    /// The organisation.
    pub org: AccountId,
    /// What the organisation is.
    pub role: Role,
    /// The ledger's chain.
    pub chain: String,
    /// The base address that others use, without a trailing slash; `/fhir` is below it.
    pub base: String,
    /// The gateway's own clock.
    pub clock: Clock,
    /// When it started, by that clock.
    pub started: TimeMs,
    /// The configuration it was started with.
    pub config: Config,
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// The organisation's keys.
    pub keystore: Arc<dyn Keystore>,
    /// The gateway's own database.
    pub db: Db,
    /// Sealed blobs.
    pub blobs: Arc<dyn BlobStore>,
    /// The patients' charts.
    pub charts: Charts,
    /// What all custodians say of their records.
    pub directory: Directory,
    /// The own records.
    pub records: Records,
    /// The audit log.
    pub audit: Audit,
    /// The other gateways.
    pub peers: Peers,
    /// Requests and grants.
    pub consents: Consents,
    /// Sessions.
    pub sessions: Sessions,
    /// Bearer tokens, and which resource stands for which account.
    pub auth: Auth,
    /// Requests that are done once.
    pub once: Once,
    /// Requests that are answered later.
    pub later: Arc<Later>,
    /// Links to further pages of searches.
    pub pages: Pages,
    /// The CapabilityStatement, once it was asked for.
    pub(crate) statement: OnceLock<Vec<u8>>,
    /// Counters.
    pub metrics: Metrics,
    /// Where it is told that no more can be written; then the gateway is to be stopped.
    pub fatal: Fatal,
}

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The keystore does not open, or has no key of the organisation.
    #[error("the keystore: {0}")]
    Keystore(#[from] KeystoreError),
    /// The ledger does not know the organisation.
    #[error("the ledger {chain} knows no organisation {org}: it must be a founder, or registered by a sponsor")]
    Unregistered {
        /// The account of the keystore's key.
        org: AccountId,
        /// The ledger.
        chain: String,
    },
    /// The ledger cannot be read.
    #[error("the ledger: {0}")]
    Ledger(#[from] LedgerError),
    /// The database does not open.
    #[error("the database: {0}")]
    Store(#[from] StoreError),
    /// The block store does not open.
    #[error("the block store: {0}")]
    Blobs(#[from] BlobError),
    /// The records do not open.
    #[error("the records: {0}")]
    Records(#[from] WriteError),
    /// The audit log does not open.
    #[error("{0}")]
    Audit(#[from] AuditError),
    /// A client's configuration.
    #[error("{0}")]
    Clients(#[from] AuthError),
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Gateway {
    /// The FHIR base address.
    pub fn fhir_base(&self) -> String {
        format!("{}/fhir", self.base)
    }

    /// The reference by which this gateway names its own organisation: its Organization resource, once there is one.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn own_reference(&self) -> Result<String, StoreError> {
        let known = self.auth.parties.by_account(&self.org)?;
        Ok(format!("Organization/{}", known.map_or_else(|| self.org.to_string(), |p| p.record.to_string())))
    }

    /// Opens an organisation's home and serves it.
    ///
    /// # Errors
    /// When a part does not open, the ledger does not know the organisation, or the address is taken.
    pub async fn start(config: Config, ledger: Arc<dyn Ledger>, clock: Clock) -> Result<Running, StartError> {
        let keystore: Arc<dyn Keystore> =
            Arc::new(FileKeystore::open_or_create(&config.home.join("keystore"), &config.unlock_path())?);
        let org = AccountId::of_key(keystore.ed25519(ORG_KEY)?.public().bytes());
        let chain = ledger.chain().to_owned();
        let Some(account) = View(&*ledger).account(&org).await? else {
            return Err(StartError::Unregistered { org, chain });
        };
        let listen = |source| StartError::Listen { addr: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let addr = listener.local_addr().map_err(listen)?;
        let base = config.public_base.clone().unwrap_or_else(|| format!("http://{addr}"));
        let base = base.trim_end_matches('/').to_owned();
        let fatal = Fatal::default();
        let db = Db::open(&config.home.join("gateway.redb"), keystore.store_seal("store")?)?.telling(&fatal);
        let blobs = EmbeddedBlobs::open(&config.home.join(BLOBS))?.telling(&fatal);
        let blobs: Arc<dyn BlobStore> = Arc::new(blobs);
        let ground = Foundation {
            org,
            base: format!("{base}/fhir").into(),
            db: db.clone(),
            blobs: Arc::clone(&blobs),
            ledger: Arc::clone(&ledger),
            keystore: Arc::clone(&keystore),
            clock: Arc::clone(&clock),
            fatal: fatal.clone(),
            failpoints: Failpoints::of_process(),
            keys_kept: Duration::from_secs(config.limits.idempotency_seconds),
        };
        let directory = Directory::new(ground.clone());
        let charts = Charts::open(ground.clone(), directory.clone()).await?;
        let audit = Audit::open(ground.clone()).await?;
        let records = Records::open_store(ground, charts.clone(), directory.clone(), audit.clone()).await?;
        let later = Later::open(&db)?;
        let auth = Auth::new(auth::Parts {
            org,
            role: account.role,
            base: &base,
            keystore: Arc::clone(&keystore),
            db: db.clone(),
            clients: &config.clients,
            token_seconds: config.limits.token_seconds,
        })?;
        let gateway = Arc::new(Self {
            org,
            role: account.role,
            chain,
            base,
            started: clock(),
            clock,
            config,
            ledger,
            keystore,
            db,
            blobs,
            charts,
            directory,
            records,
            audit,
            peers: Peers::new(),
            consents: Consents::new(),
            sessions: Sessions::new(),
            auth,
            once: Once::default(),
            later: Arc::new(later),
            metrics: Metrics::default(),
            pages: Pages::default(),
            statement: OnceLock::new(),
            fatal,
        });
        gateway.publish_endpoint().await;
        Ok(Running::serve(gateway, listener, addr))
    }

    /// Tells the ledger where this gateway is, when it does not know yet. Peers cannot reach it before; own records can
    /// be read and written all the same, so a refusal is no reason not to start.
    async fn publish_endpoint(&self) {
        let published = async {
            let rsa = self.keystore.rsa(ORG_KEY)?.public();
            let endpoint = Endpoint { url: self.base.clone(), rsa };
            if View(&*self.ledger).endpoint(&self.org).await?.as_ref() == Some(&endpoint) {
                return Ok::<(), SignError>(());
            }
            let signer = Signer::new(Arc::clone(&self.ledger), Arc::clone(&self.keystore));
            let Endpoint { url, rsa } = endpoint;
            let set = |nonce, expires| SetEndpoint { nonce, expires, url, rsa }.into();
            signer.submit(ORG_KEY, set).await.map(|_| ())
        };
        if let Err(error) = published.await {
            tracing::warn!(%error, "the ledger was not told where this gateway is");
        }
    }
}

const BLOBS: &str = "blobs.redb";

/// A gateway that serves.
pub struct Running {
    /// Where it listens.
    pub addr: SocketAddr,
    /// The gateway.
    pub gateway: Arc<Gateway>,
    tasks: Vec<JoinHandle<()>>,
    server: JoinHandle<()>,
    stopping: watch::Sender<bool>,
}

impl Running {
    fn serve(gateway: Arc<Gateway>, listener: TcpListener, addr: SocketAddr) -> Self {
        let mut tasks = peers::spawn(&gateway);
        tasks.extend(sessions::spawn(&gateway));
        tasks.push(tokio::spawn(hear_the_end(Arc::clone(&gateway.ledger), gateway.fatal.clone())));
        tasks.extend(http::spawn(&gateway));
        let (stopping, mut stop) = watch::channel(false);
        let app = http::app(Arc::clone(&gateway));
        let server = tokio::spawn(async move {
            use axum::serve::ListenerExt;
            // Small answers must not wait for the acknowledgement of those before.
            let listener = listener.tap_io(|io| {
                let _ = io.set_nodelay(true);
            });
            let stopped = async move {
                // An error means that whoever could say stop is gone.
                let _ = stop.wait_for(|s| *s).await;
            };
            if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(stopped).await {
                tracing::error!(%error, "the server ended");
            }
        });
        tracing::info!(%addr, org = %gateway.org, "serving");
        Self { addr, gateway, tasks, server, stopping }
    }

    /// Ends every task and closes the files, so that another process can open them. Calls that are being served get
    /// some seconds.
    pub async fn stop(self) {
        let Self { gateway, tasks, mut server, stopping, .. } = self;
        stopping.send_replace(true);
        if tokio::time::timeout(GRACE, &mut server).await.is_err() {
            server.abort();
            let _ = server.await;
        }
        for task in &tasks {
            task.abort();
        }
        for task in tasks {
            // Cancelled is what it is meant to be.
            let _ = task.await;
        }
        gateway.records.stop().await;
        gateway.audit.stop().await;
        gateway.db.close().await;
        let blobs = gateway.config.home.join(BLOBS);
        drop(gateway);
        released(&blobs).await;
    }
}

/// A ledger that lives in this process and whose disk is full takes nothing more, as a database of the gateway's own.
async fn hear_the_end(ledger: Arc<dyn Ledger>, fatal: Fatal) {
    if let Some(why) = ledger.ended().await {
        fatal.tell(format!("the ledger has stopped: {why}"));
    }
}

/// Waits until the block store's file is free: its writer ends a moment after the last who could write.
async fn released(file: &Path) {
    for _ in 0..500 {
        match redb::Database::open(file) {
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => tokio::time::sleep(Duration::from_millis(10)).await,
            _ => return,
        }
    }
    tracing::warn!("the block store is still open");
}
