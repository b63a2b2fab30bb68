//! A small consortium to test with: an authority and a hospital, their keys made from seeds, a clock that tests move.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use ed25519_consensus::SigningKey;
use vouchsafe_node::{Embedded, NodeError, Settings, ValidatorKey};
use vouchsafe_types::{
    AccountId, CredentialId, Handle, Hash32, Nonce, OkpJwk, RsaJwk, TimeMs,
    genesis::{Founder, Genesis, GenesisBody, Validator},
    jws::{Sign, sign_tx},
    state::{HeadMove, Params},
    time::Count,
    tx::{Anchor, Role, SetEndpoint, Tx},
};

/// The first moment of every test chain.
pub(crate) const BEGIN: TimeMs = TimeMs(1_800_000_000_000);

/// An Ed25519 key made from a seed.
pub(crate) struct SeedKey(SigningKey);

impl SeedKey {
    pub(crate) fn new(seed: u8) -> Self {
        Self(SigningKey::from([seed; 32]))
    }

    pub(crate) fn account(&self) -> AccountId {
        AccountId::of_key(self.public().bytes())
    }
}

impl Sign for SeedKey {
    fn public(&self) -> OkpJwk {
        OkpJwk::new(self.0.verification_key().to_bytes())
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

pub(crate) fn rsa(seed: u8) -> RsaJwk {
    RsaJwk::new(vec![0x80 | seed; 384]).unwrap()
}

/// A directory: this test's own, which goes with it, or another's.
pub(crate) enum Home {
    Own(tempfile::TempDir),
    Given(PathBuf),
}

impl Home {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Own(home) => home.path(),
            Self::Given(home) => home,
        }
    }
}

/// Keys, genesis and clock of one chain.
pub(crate) struct Consortium {
    pub(crate) authority: SeedKey,
    pub(crate) hospital: SeedKey,
    pub(crate) genesis: Genesis,
    pub(crate) home: Home,
    pub(crate) now: Arc<AtomicU64>,
    nonce: AtomicU64,
}

impl Consortium {
    pub(crate) fn new(name: &str) -> Self {
        Self::in_home(name, Home::Own(tempfile::tempdir().unwrap()))
    }

    /// The consortium of another process, in its home.
    pub(crate) fn at(name: &str, home: PathBuf) -> Self {
        Self::in_home(name, Home::Given(home))
    }

    fn in_home(name: &str, home: Home) -> Self {
        let validator = ValidatorKey::load_or_create(&home.path().join("validator.key")).unwrap();
        let (authority, hospital) = (SeedKey::new(1), SeedKey::new(2));
        let founder = |key: &SeedKey, role, n: u8| Founder {
            account: key.account(),
            role,
            ed25519: key.public(),
            rsa: rsa(n),
            credential: CredentialId([n; 16]),
            identity: Hash32([n; 32]),
        };
        let mut founders = vec![founder(&authority, Role::Authority, 1), founder(&hospital, Role::Hospital, 2)];
        founders.sort_by_key(|f| f.account);
        let params = Params { organization_per_block: Count(100_000), ..Params::default() };
        let body = GenesisBody {
            name: name.into(),
            time: BEGIN,
            founders,
            validators: vec![Validator { ed25519: validator.public(), power: Count(10) }],
            params,
        };
        let signatures = body
            .founders
            .iter()
            .map(|f| body.endorse(if f.account == hospital.account() { &hospital } else { &authority }))
            .collect();
        let genesis = Genesis { body, signatures };
        let now = Arc::new(AtomicU64::new(BEGIN.0));
        Self { authority, hospital, genesis, home, now, nonce: AtomicU64::new(0) }
    }

    pub(crate) fn validator(&self) -> ValidatorKey {
        ValidatorKey::load_or_create(&self.home.path().join("validator.key")).unwrap()
    }

    pub(crate) fn settings(&self) -> Settings {
        let now = Arc::clone(&self.now);
        Settings {
            heartbeat: std::time::Duration::from_millis(20),
            max_queue: 10_000,
            clock: Arc::new(move || TimeMs(now.load(Ordering::SeqCst))),
        }
    }

    pub(crate) fn open(&self) -> Result<Embedded, NodeError> {
        self.open_with(self.settings())
    }

    pub(crate) fn open_with(&self, settings: Settings) -> Result<Embedded, NodeError> {
        Embedded::open(&self.home.path().join("ledger"), &self.genesis, self.validator(), settings)
    }

    pub(crate) fn chain(&self) -> String {
        self.genesis.body.chain_id()
    }

    pub(crate) fn now(&self) -> TimeMs {
        TimeMs(self.now.load(Ordering::SeqCst))
    }

    pub(crate) fn nonce(&self) -> Nonce {
        let n = self.nonce.fetch_add(1, Ordering::SeqCst);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        Nonce(bytes)
    }

    pub(crate) fn sign(&self, key: &SeedKey, tx: impl Into<Tx>) -> String {
        sign_tx(key, &self.chain(), &tx.into())
    }

    /// An anchor by the hospital that begins the chart `n`.
    pub(crate) fn anchor(&self, n: u64) -> String {
        self.anchor_move(n, 1, None)
    }

    /// An anchor by the hospital that moves the chart `n` to `seq`.
    pub(crate) fn anchor_move(&self, n: u64, seq: u64, old: Option<Hash32>) -> String {
        self.anchor_with(self.nonce(), n, seq, old)
    }

    /// The same with a nonce of the caller's.
    pub(crate) fn anchor_with(&self, nonce: Nonce, n: u64, seq: u64, old: Option<Hash32>) -> String {
        let new = Hash32::of("test/root", &[&n.to_be_bytes(), &seq.to_be_bytes()]);
        let anchor = Anchor {
            nonce,
            expires: self.now().plus(300_000),
            leaves: vec![new],
            heads: vec![HeadMove { handle: handle(n), seq: Count(seq), old, new }],
            session: None,
        };
        self.sign(&self.hospital, anchor)
    }

    /// The hospital says where its gateway is.
    pub(crate) fn endpoint(&self, url: &str) -> String {
        let tx = SetEndpoint { nonce: self.nonce(), expires: self.now().plus(300_000), url: url.into(), rsa: rsa(2) };
        self.sign(&self.hospital, tx)
    }

    pub(crate) fn head_key(&self, n: u64) -> Vec<u8> {
        vouchsafe_types::keys::head(&self.hospital.account(), &handle(n))
    }
}

pub(crate) fn handle(n: u64) -> Handle {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&n.to_be_bytes());
    Handle(bytes)
}
