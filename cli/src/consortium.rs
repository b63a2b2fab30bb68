//! Organisations on one machine, each with a home, a keystore and a gateway of its own, one embedded ledger between them.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use vouchsafe_gateway::{
    clock,
    config::{self, ClientConfig, ClientRole, Config, Limits},
    gateway::{Gateway, Running},
    seal::{
        device::{Es384Key, PartyKeys},
        keystore::{FileKeystore, Keystore, Signer},
    },
};
use vouchsafe_node::verify::Trust;
use vouchsafe_types::{
    AccountId, CredentialId, Hash32,
    genesis::{Founder, Genesis, GenesisBody, Validator},
    state::Params,
    tx::Role,
};

use crate::{
    chain::{Chain, Engine},
    credentials::{self, Party},
    exit::{Context, Failure, Kind, Outcome},
    wallet::{
        client::{Client, ClientKey},
        files, person,
    },
};

/// Where the gateways of a consortium can be reached.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Doors {
    /// The first one there, the others at the ports after it; port 0 takes free ones.
    Open(SocketAddr),
    /// At ports that nobody knows, while the ledger goes on saying where they are when they serve.
    Closed,
}

/// How long a gateway may be behind another.
const PATIENCE: Duration = Duration::from_secs(20);

/// An organisation with a gateway.
pub(crate) struct Org {
    /// Its name in this demo.
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    pub(crate) account: AccountId,
    /// Its home: keystore, database, blobs.
    pub(crate) home: PathBuf,
    /// The system client of its EHR, as `credentials.json` and the gateway's configuration know it.
    pub(crate) system: Arc<Es384Key>,
    listen: SocketAddr,
    /// What the gateway calls itself, where that is not where it listens.
    public_base: Option<String>,
    running: Option<Running>,
}

/// The whole consortium.
pub(crate) struct World {
    pub(crate) home: PathBuf,
    pub(crate) http: reqwest::Client,
    pub(crate) genesis: Genesis,
    pub(crate) chain: Chain,
    pub(crate) orgs: Vec<Org>,
}

impl World {
    /// Opens the consortium of a home, or founds it there: homes, keys and genesis; starts the ledger and the gateways.
    pub(crate) async fn open(
        home: &Path,
        chain: &str,
        founders: &[(&'static str, Role)],
        doors: Doors,
        engine: Engine,
    ) -> Outcome<Self> {
        let listen = match doors {
            Doors::Open(listen) => listen,
            Doors::Closed => SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        let known = if home.join(credentials::FILE).exists() { credentials::read(home)? } else { Vec::new() };
        let mut orgs = Vec::new();
        for (index, (name, role)) in (0_u16..).zip(founders) {
            let port = listen.port().checked_add(index).filter(|_| listen.port() != 0).unwrap_or(0);
            let mut org = Org::open(home, name, *role, SocketAddr::new(listen.ip(), port), &known)?;
            if matches!(doors, Doors::Closed) {
                let base = known.iter().find(|p| p.name == *name).map(|p| p.base.trim_end_matches("/fhir").to_owned());
                org.public_base = base;
            }
            orgs.push(org);
        }
        let names: Vec<&str> = founders.iter().map(|(name, _)| *name).collect();
        let made = Chain::open(home, &names, engine, |validators| genesis(home, chain, &orgs, validators)).await?;
        let (chain, genesis) = made;
        let opened = publish(home, &genesis);
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(60))
            .build()
            .doing(Kind::Error, || "an HTTP client".into())?;
        let mut world = Self { home: home.to_owned(), http, genesis, chain, orgs };
        let begun = match opened {
            Ok(()) => world.start_all().await,
            failed => failed,
        };
        match begun {
            Ok(()) => Ok(world),
            Err(failed) => {
                // Validators are processes of their own, which would stay.
                world.end().await?;
                Err(failed)
            }
        }
    }

    async fn start_all(&mut self) -> Outcome {
        for index in 0..self.orgs.len() {
            self.start(index).await?;
        }
        Ok(())
    }

    /// Starts (again) one organisation's gateway.
    pub(crate) async fn start(&mut self, index: usize) -> Outcome {
        let ledger = self.chain.ledger(index, &self.orgs[index].home).await?;
        let org = &mut self.orgs[index];
        let mut config = Config::new(&org.home);
        config.limits =
            Limits::of_home(&org.home).doing(Kind::Usage, || format!("the configuration of {}", org.name))?;
        config.listen = org.listen;
        config.public_base = org.public_base.clone();
        let role = if org.role == Role::Authority { ClientRole::Authority } else { ClientRole::System };
        config.clients = vec![ClientConfig {
            client_id: org.client_id(),
            jwks: json!({ "keys": [org.system.public().to_json()] }),
            role,
        }];
        let running = Gateway::start(config, ledger, clock::system()).await.map_err(|e| {
            Failure::new(Kind::Unavailable, format!("the gateway of {} on {}: {e}", org.name, org.listen))
                .hint("another address: --listen 127.0.0.1:PORT; it and the three ports after it must be free")
        })?;
        // A gateway that stops and starts again stays where others know it.
        org.listen = running.addr;
        org.running = Some(running);
        Ok(())
    }

    /// Stops one organisation's gateway; its files are then nobody's.
    pub(crate) async fn stop(&mut self, index: usize) {
        if let Some(running) = self.orgs[index].running.take() {
            running.stop().await;
        }
    }

    /// The organisation of that name; the names are those of `FOUNDERS`.
    pub(crate) fn org(&self, name: &str) -> &Org {
        self.orgs.iter().find(|o| o.name == name).expect("a founder's name")
    }

    /// Its place, for `start` and `stop`.
    pub(crate) fn index(&self, name: &str) -> usize {
        self.orgs.iter().position(|o| o.name == name).expect("a founder's name")
    }

    /// What whoever trusts the genesis believes of the ledger.
    pub(crate) fn trust(&self) -> Outcome<Trust> {
        Trust::new(&self.genesis, self.genesis.body.digest()).doing(Kind::Error, || "the genesis".into())
    }

    /// A client that authenticates as an organisation's system.
    pub(crate) fn system(&self, name: &str) -> Client {
        let org = self.org(name);
        Client::new(&self.http, &org.base(), &org.client_id(), ClientKey::System(org.system.clone()))
    }

    /// Waits until every gateway has seen the block that the furthest one has seen. Where each asks a node of its own, what was
    /// written through one is not yet seen through another.
    pub(crate) async fn abreast(&self) -> Outcome {
        let heights = || self.orgs.iter().filter_map(Org::gateway).map(|gateway| gateway.ledger.head().height);
        let (furthest, until) = (heights().max().unwrap_or_default(), Instant::now() + PATIENCE);
        while heights().any(|height| height < furthest) {
            if Instant::now() > until {
                return Err(Failure::new(Kind::Unavailable, format!("a gateway has not seen block {furthest}")));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Waits until a gateway cannot write any more, and says why.
    pub(crate) async fn fatal(&self) -> String {
        let each = self.orgs.iter().filter_map(Org::gateway).map(|gateway| Box::pin(gateway.fatal.wait()));
        futures::future::select_all(each).await.0
    }

    /// Ends everything, the ledger last.
    pub(crate) async fn end(mut self) -> Outcome {
        for index in 0..self.orgs.len() {
            self.stop(index).await;
        }
        self.chain.end().await
    }
}

impl Org {
    fn open(home: &Path, name: &'static str, role: Role, listen: SocketAddr, known: &[Party]) -> Outcome<Self> {
        let home = home.join("gateways").join(name);
        let doing = || format!("the keystore of {name}");
        let store = keystore(&home)?;
        if !store.names().doing(Kind::Error, doing)?.iter().any(|n| n == "org") {
            store.generate_ed25519("org").doing(Kind::Error, doing)?;
        }
        let account = AccountId::of_key(store.ed25519("org").doing(Kind::Error, doing)?.public().bytes());
        let kept = known.iter().find(|p| p.role == "system" && p.organization == name);
        let system = kept.and_then(|p| PartyKeys::from_private_jwks(&p.jwks).ok()?.es384);
        let system = system.or_else(Es384Key::generate).map(Arc::new);
        let system = system.ok_or_else(|| Failure::new(Kind::Error, format!("no key for {name}")))?;
        Ok(Self { name, role, account, home, system, listen, public_base: None, running: None })
    }

    /// Says where its gateway, a process of its own, will listen, and lets its system in there.
    pub(crate) fn place(&mut self, listen: SocketAddr) -> Outcome {
        self.listen = listen;
        let role = if self.role == Role::Authority { "authority" } else { "system" };
        let keys = json!({ "keys": [self.system.public().to_json()] });
        let client = json!({ "client_id": self.client_id(), "role": role, "jwks": keys });
        let text = toml::to_string(&json!({ "listen": listen, "clients": [client] }));
        let text = text.doing(Kind::Error, || format!("the configuration of {}", self.name))?;
        files::write_private(&self.home.join(config::FILE), text.as_bytes())
    }

    /// Its gateway, while it runs.
    pub(crate) fn gateway(&self) -> Option<&Gateway> {
        self.running.as_ref().map(|running| &*running.gateway)
    }

    /// What the organisation brings into the genesis.
    fn founder(&self) -> Outcome<Founder> {
        let doing = || format!("the keystore of {}", self.name);
        let store = keystore(&self.home)?;
        let ed25519 = store.ed25519("org").doing(Kind::Error, doing)?.public();
        let rsa = store.generate_rsa(RSA).doing(Kind::Error, doing)?;
        let (credential, identity) = (CredentialId(person::random()?), Hash32(person::random()?));
        Ok(Founder { account: self.account, role: self.role, ed25519, rsa, credential, identity })
    }

    /// Its two lines of `credentials.json`: its own, whose keys never leave its keystore, and its system's.
    pub(crate) fn parties(&self) -> Outcome<[Party; 2]> {
        let role = match self.role {
            Role::Authority => "authority",
            Role::Laboratory => "laboratory",
            Role::Insurer => "insurer",
            _ => "hospital",
        };
        let own = Party {
            role: role.into(),
            name: self.name.into(),
            organization: self.name.into(),
            account: Some(self.account.to_string()),
            fhir_user: None,
            base: format!("{}/fhir", self.base()),
            client_id: None,
            jwks: json!({ "keys": [] }),
        };
        let system = Party {
            role: "system".into(),
            name: self.client_id(),
            account: None,
            client_id: Some(self.client_id()),
            jwks: self.jwks()?,
            ..own.clone()
        };
        Ok([own, system])
    }

    /// Where its gateway is, without `/fhir`.
    pub(crate) fn base(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// The name of its system client.
    pub(crate) fn client_id(&self) -> String {
        format!("ehr-{}", self.name)
    }

    fn jwks(&self) -> Outcome<Value> {
        let jwk = self.system.to_private_jwk().doing(Kind::Error, || self.name.into())?;
        Ok(json!({ "keys": [jwk] }))
    }
}

/// Organisations that have keys of their own and no gateway yet.
pub(crate) fn founders(home: &Path, founders: &[(&'static str, Role)]) -> Outcome<Vec<Org>> {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    founders.iter().map(|(name, role)| Org::open(home, name, *role, nowhere, &[])).collect()
}

/// The keys by which organisations of a home act on the ledger.
pub(crate) fn signers(home: &Path, names: &[&str]) -> Outcome<Vec<Signer>> {
    let signer = |name: &&str| {
        let store = keystore(&home.join("gateways").join(name))?;
        store.ed25519("org").doing(Kind::Error, || format!("the keystore of {name}"))
    };
    names.iter().map(signer).collect()
}

/// Says what `verify --trust` takes; a real consortium makes it known by other ways than a gateway.
pub(crate) fn publish(home: &Path, genesis: &Genesis) -> Outcome {
    files::write_private(&home.join("genesis.digest"), genesis.body.digest().to_string().as_bytes())
}

/// The name of an organisation's wrapping key in its keystore.
const RSA: &str = "org";

fn keystore(home: &Path) -> Outcome<FileKeystore> {
    FileKeystore::open_or_create(&home.join("keystore"), &home.join("unlock.key"))
        .doing(Kind::Error, || format!("the keystore in {}", home.display()))
}

/// The genesis that the home has, or a new one that every founder signs with the key in its own keystore.
pub(crate) fn genesis(home: &Path, name: &str, orgs: &[Org], validators: Vec<Validator>) -> Outcome<Genesis> {
    let path = home.join("genesis.json");
    if let Ok(bytes) = std::fs::read(&path) {
        return serde_json::from_slice(&bytes).doing(Kind::InvalidData, || path.display().to_string());
    }
    let mut founders = orgs.iter().map(Org::founder).collect::<Outcome<Vec<_>>>()?;
    founders.sort_by_key(|f| f.account);
    let body = GenesisBody { name: name.into(), time: person::now(), founders, validators, params: Params::default() };
    let mut signatures = Vec::new();
    for founder in &body.founders {
        let org = orgs.iter().find(|o| o.account == founder.account).expect("founders are made from orgs");
        let key = keystore(&org.home)?.ed25519("org").doing(Kind::Error, || org.name.into())?;
        signatures.push(body.endorse(key.as_ref()));
    }
    let genesis = Genesis { body, signatures };
    let text = serde_json::to_vec_pretty(&genesis).doing(Kind::Error, || "the genesis".into())?;
    files::write_private(&path, &text)?;
    Ok(genesis)
}
