//! A gateway's configuration: commented TOML in which an unknown key is refused with a suggestion.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::Deserialize;

/// The file in the gateway's home.
pub const FILE: &str = "gateway.toml";

/// The configuration is not of its form.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not TOML, or a value of another type.
    #[error("{0}")]
    Form(#[from] toml::de::Error),
    /// A key that means nothing here.
    #[error("unknown key `{key}`{}", suggestion.as_ref().map(|s| format!(", did you mean `{s}`?")).unwrap_or_default())]
    UnknownKey {
        /// The key, with the table it stands in.
        key: String,
        /// The known key that is nearest.
        suggestion: Option<&'static str>,
    },
}

/// One organisation's gateway.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The home directory; not part of the file, which lies in it.
    #[serde(skip)]
    pub home: PathBuf,
    /// Where to listen; port 0 takes a free one.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// The base address that others use, without a trailing slash; by default `http://` and the address listened on.
    #[serde(default)]
    pub public_base: Option<String>,
    /// The file that unlocks the keystore; relative to the home.
    #[serde(default = "default_unlock")]
    pub unlock: PathBuf,
    /// The organisation's own systems.
    #[serde(default)]
    pub clients: Vec<ClientConfig>,
    /// Base addresses of the other gateways, where they differ from what the ledger says.
    #[serde(default)]
    pub peers: Vec<PeerConfig>,
    /// Sizes and times.
    #[serde(default)]
    pub limits: Limits,
}

/// A system that may ask for tokens with its own key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientConfig {
    /// Its name, which is `iss` and `sub` of its assertions.
    pub client_id: String,
    /// Its public keys, as a JWK set (`{"keys":[…]}`).
    pub jwks: serde_json::Value,
    /// What it is.
    #[serde(default)]
    pub role: ClientRole,
}

/// What a configured client is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientRole {
    /// The organisation's system, such as its EHR.
    #[default]
    System,
    /// The system by which an authority decides on credentials; only at an authority's own gateway.
    Authority,
}

/// Another gateway's address.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerConfig {
    /// The organisation's account.
    pub organization: vouchsafe_types::AccountId,
    /// Its base address.
    pub url: String,
}

/// Sizes and times that bound what one call may cost.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of a request's body; more is 413 before it is buffered.
    pub body_bytes: usize,
    /// Entries of a Bundle; more is 413. One transaction of the ledger takes no more than a thousand either.
    pub bundle_entries: usize,
    /// Requests served at the same time; as many again wait for some seconds, and more are 503.
    pub concurrent: usize,
    /// Requests of one client at the same time; more are 429.
    pub per_client: usize,
    /// Requests that are answered later: those that wait and those whose answer is kept.
    pub async_requests: usize,
    /// Seconds after which a call is given up with 503.
    pub call_seconds: u64,
    /// Seconds that a bearer token is valid.
    pub token_seconds: u64,
    /// Seconds for which a request that comes again under its `Idempotency-Key` is answered as before.
    pub idempotency_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 16 << 20,
            bundle_entries: 1_000,
            concurrent: 256,
            per_client: 128,
            async_requests: 1_000,
            call_seconds: 60,
            token_seconds: 300,
            idempotency_seconds: 7 * 24 * 60 * 60,
        }
    }
}

impl Limits {
    /// Those of a home: of its `gateway.toml`, or the defaults when it has none.
    ///
    /// # Errors
    /// When there is a file that cannot be read or is not of its form.
    pub fn of_home(home: &Path) -> Result<Self, ConfigError> {
        if home.join(FILE).exists() { Ok(Config::load(home)?.limits) } else { Ok(Self::default()) }
    }
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8080))
}

fn default_unlock() -> PathBuf {
    PathBuf::from("unlock.key")
}

const TOP: &[&str] = &["listen", "public_base", "unlock", "clients", "peers", "limits"];
const CLIENT: &[&str] = &["client_id", "jwks", "role"];
const PEER: &[&str] = &["organization", "url"];
const LIMITS: &[&str] = &[
    "body_bytes",
    "bundle_entries",
    "concurrent",
    "per_client",
    "async_requests",
    "call_seconds",
    "token_seconds",
    "idempotency_seconds",
];

impl Config {
    /// A configuration with every default, for a home.
    pub fn new(home: impl Into<PathBuf>) -> Self {
        Self {
            home: home.into(),
            listen: default_listen(),
            public_base: None,
            unlock: default_unlock(),
            clients: Vec::new(),
            peers: Vec::new(),
            limits: Limits::default(),
        }
    }

    /// Reads `HOME/gateway.toml`.
    ///
    /// # Errors
    /// When the file cannot be read, is not TOML, or has an unknown key.
    pub fn load(home: &Path) -> Result<Self, ConfigError> {
        let path = home.join(FILE);
        let text = std::fs::read_to_string(&path).map_err(|source| ConfigError::Read { path, source })?;
        let mut config = Self::parse(&text)?;
        config.home = home.to_owned();
        Ok(config)
    }

    /// Parses the text of a configuration file; the home stays empty.
    ///
    /// # Errors
    /// When it is not TOML, a value is of another type, or a key is unknown.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let table: toml::Table = text.parse()?;
        known(&table, TOP, "")?;
        for (name, keys) in [("clients", CLIENT), ("peers", PEER)] {
            for entry in table.get(name).and_then(toml::Value::as_array).into_iter().flatten() {
                if let Some(entry) = entry.as_table() {
                    known(entry, keys, &format!("{name}."))?;
                }
            }
        }
        if let Some(limits) = table.get("limits").and_then(toml::Value::as_table) {
            known(limits, LIMITS, "limits.")?;
        }
        Ok(toml::from_str(text)?)
    }

    /// Where the unlocking file lies.
    pub fn unlock_path(&self) -> PathBuf {
        self.home.join(&self.unlock)
    }
}

fn known(table: &toml::Table, keys: &[&'static str], prefix: &str) -> Result<(), ConfigError> {
    match table.keys().find(|k| !keys.contains(&k.as_str())) {
        None => Ok(()),
        Some(key) => Err(ConfigError::UnknownKey { key: format!("{prefix}{key}"), suggestion: nearest(key, keys) }),
    }
}

/// The known key within three edits, so that a slip of the finger is answered and a guess is not made.
fn nearest(key: &str, keys: &[&'static str]) -> Option<&'static str> {
    keys.iter().map(|k| (distance(key, k), *k)).filter(|(d, _)| *d <= 3).min().map(|(_, k)| k)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let cost = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_refused_with_a_suggestion() {
        let error = Config::parse("lisen = \"127.0.0.1:1\"").unwrap_err().to_string();
        assert_eq!(error, "unknown key `lisen`, did you mean `listen`?");
        let error = Config::parse("[limits]\nbody_byte = 1").unwrap_err().to_string();
        assert_eq!(error, "unknown key `limits.body_byte`, did you mean `body_bytes`?");
        let error = Config::parse("[[clients]]\nclient_id = \"a\"\nsecret_key = \"b\"").unwrap_err().to_string();
        assert_eq!(error, "unknown key `clients.secret_key`");
    }

    #[test]
    fn defaults_fill_an_empty_file() {
        let config = Config::parse("").unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.limits.body_bytes, 16 << 20);
    }

    #[test]
    fn every_limit_can_be_set() {
        for key in LIMITS {
            let config = Config::parse(&format!("[limits]\n{key} = 7")).unwrap();
            assert!(format!("{:?}", config.limits).contains(&format!("{key}: 7")), "{key}");
        }
    }

    #[test]
    fn a_home_without_the_file_has_every_default() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(Limits::of_home(home.path()).unwrap().idempotency_seconds, 604_800);
        std::fs::write(home.path().join(FILE), "[limits]\nidempotency_seconds = 5").unwrap();
        assert_eq!(Limits::of_home(home.path()).unwrap().idempotency_seconds, 5);
        std::fs::write(home.path().join(FILE), "[limits]\nidempotency = 5").unwrap();
        assert!(Limits::of_home(home.path()).is_err());
    }
}
