//! The engine's two keys: one that votes, one that names the node to its peers.

use std::{fs, io::ErrorKind, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_consensus::SigningKey;
use rand_core::OsRng;
use serde::{Deserialize, Serialize};
use tendermint::{PublicKey, account};
use vouchsafe_types::OkpJwk;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{Home, at, write};
use crate::NodeError;

const PRIVATE: &str = "tendermint/PrivKeyEd25519";
const PUBLIC: &str = "tendermint/PubKeyEd25519";

/// What others need to know of a node's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeKeys {
    /// The key that votes, for the genesis document.
    pub validator: OkpJwk,
    /// The node's id, for `ID@HOST:PORT`.
    pub node_id: String,
}

/// A key as CometBFT writes one.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct Typed {
    r#type: String,
    value: String,
}

#[derive(Serialize, Deserialize)]
struct ValidatorFile {
    address: String,
    pub_key: Typed,
    priv_key: Typed,
}

#[derive(Serialize, Deserialize)]
struct NodeFile {
    priv_key: Typed,
}

/// What the engine signed last, so that it never signs two things for one height.
const NOTHING_SIGNED: &str = r#"{"height":"0","round":0,"step":0}"#;

/// Reads the keys of a home, making those that are not there.
///
/// # Errors
/// `File` when one cannot be read or written, `BadFile` when it is not such a file, or when the key that votes is new
/// but what was signed with one is on record.
pub fn load_or_create(home: &Home) -> Result<NodeKeys, NodeError> {
    let (config, data) = (home.engine().join("config"), home.engine().join("data"));
    let (voting, state) = (config.join("priv_validator_key.json"), data.join("priv_validator_state.json"));
    let validator = match read::<ValidatorFile>(&voting)? {
        Some(file) => public(&file.priv_key, &voting)?,
        None if state.exists() => {
            return Err(NodeError::BadFile { path: state, what: "another validator's key has signed here" });
        }
        None => {
            let key = SigningKey::new(OsRng);
            let (bytes, address) = (key.verification_key().to_bytes(), address(&key));
            let pub_key = Typed { r#type: PUBLIC.into(), value: STANDARD.encode(bytes) };
            let file = ValidatorFile { address: hex::encode_upper(address), pub_key, priv_key: private(&key) };
            write(&voting, &json(&file)?)?;
            OkpJwk::new(bytes)
        }
    };
    if !state.exists() {
        write(&state, NOTHING_SIGNED.as_bytes())?;
    }
    let naming = config.join("node_key.json");
    let node = match read::<NodeFile>(&naming)? {
        Some(file) => public(&file.priv_key, &naming)?,
        None => {
            let key = SigningKey::new(OsRng);
            write(&naming, &json(&NodeFile { priv_key: private(&key) })?)?;
            OkpJwk::new(key.verification_key().to_bytes())
        }
    };
    let id = PublicKey::from_raw_ed25519(node.bytes())
        .ok_or_else(|| NodeError::Comet("the node's key is no Ed25519 key".into()))?;
    Ok(NodeKeys { validator, node_id: hex::encode(account::Id::from(id)) })
}

fn address(key: &SigningKey) -> account::Id {
    let public = PublicKey::from_raw_ed25519(&key.verification_key().to_bytes());
    account::Id::from(public.expect("a verification key is an Ed25519 key"))
}

/// CometBFT keeps the seed and the public key behind each other (RFC 8032's private key, as Go has it).
fn private(key: &SigningKey) -> Typed {
    let mut both = Zeroizing::new(Vec::with_capacity(64));
    both.extend_from_slice(key.as_bytes());
    both.extend_from_slice(&key.verification_key().to_bytes());
    Typed { r#type: PRIVATE.into(), value: STANDARD.encode(&*both) }
}

fn public(key: &Typed, path: &Path) -> Result<OkpJwk, NodeError> {
    let bad = || NodeError::BadFile { path: path.to_owned(), what: "not an Ed25519 key as CometBFT writes it" };
    let both = Zeroizing::new(STANDARD.decode(key.value.as_bytes()).map_err(|_| bad())?);
    let (seed, public) = both.split_first_chunk::<32>().ok_or_else(bad)?;
    let derived = SigningKey::from(*seed).verification_key().to_bytes();
    if key.r#type != PRIVATE || public != derived {
        return Err(bad());
    }
    Ok(OkpJwk::new(derived))
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, NodeError> {
    match fs::read(path) {
        Ok(bytes) => {
            let bytes = Zeroizing::new(bytes);
            let bad = |_| NodeError::BadFile { path: path.to_owned(), what: "not a key file of CometBFT" };
            serde_json::from_slice(&bytes).map(Some).map_err(bad)
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(at(path)(e)),
    }
}

fn json(value: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, NodeError> {
    serde_json::to_vec_pretty(value).map(Zeroizing::new).map_err(|e| NodeError::Comet(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path().join("node"));
        home.make().unwrap();
        (dir, home)
    }

    #[test]
    fn keys_are_made_once_and_closed_to_others() {
        use std::os::unix::fs::PermissionsExt;
        let (_dir, home) = home();
        let made = load_or_create(&home).unwrap();
        assert_eq!(load_or_create(&home).unwrap(), made);
        assert_eq!(made.node_id.len(), 40);
        for file in ["config/priv_validator_key.json", "config/node_key.json", "data/priv_validator_state.json"] {
            let mode = fs::metadata(home.engine().join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        assert_eq!(fs::metadata(home.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    /// A fresh key beside another's record would be told of heights that it never signed, or the other way round.
    #[test]
    fn a_lost_key_is_not_replaced_in_silence() {
        let (_dir, home) = home();
        load_or_create(&home).unwrap();
        fs::remove_file(home.engine().join("config/priv_validator_key.json")).unwrap();
        assert!(matches!(load_or_create(&home), Err(NodeError::BadFile { .. })));
    }

    #[test]
    fn a_spoiled_key_is_refused_and_not_shown() {
        let (_dir, home) = home();
        load_or_create(&home).unwrap();
        let path = home.engine().join("config/node_key.json");
        let text = fs::read_to_string(&path).unwrap();
        let file: NodeFile = serde_json::from_str(&text).unwrap();
        let value = file.priv_key.value.to_string();
        fs::write(&path, text.replace(&value, &value[4..])).unwrap();
        let refused = load_or_create(&home).unwrap_err();
        assert!(!format!("{refused} {refused:?}").contains(&value[4..]));
    }
}
