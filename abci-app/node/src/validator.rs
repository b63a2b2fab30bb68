//! The embedded chain's one validator key.

use std::{
    fs,
    io::{ErrorKind, Write},
    path::Path,
};

use ed25519_consensus::SigningKey;
use rand_core::OsRng;
use vouchsafe_types::{OkpJwk, b64, jws::Sign};
use zeroize::{Zeroize, Zeroizing};

use crate::NodeError;

/// An Ed25519 key that commits blocks. Its private half leaves memory zeroed and never shows itself.
pub struct ValidatorKey {
    key: SigningKey,
}

impl std::fmt::Debug for ValidatorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ValidatorKey({})", self.public().kid())
    }
}

impl Drop for ValidatorKey {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl ValidatorKey {
    /// Makes a fresh key that is kept nowhere.
    pub fn generate() -> Self {
        Self { key: SigningKey::new(OsRng) }
    }

    /// Reads the key in the file at `path`, making it when there is none. The file holds the 32-byte seed (RFC 8032)
    /// in base64url and is readable by its owner alone.
    ///
    /// # Errors
    /// `File` when it cannot be read or written, `BadFile` when it is not such a file or others may read it.
    pub fn load_or_create(path: &Path) -> Result<Self, NodeError> {
        match fs::read_to_string(path) {
            Ok(text) => {
                let text = Zeroizing::new(text);
                check_private(path)?;
                let bad = NodeError::BadFile { path: path.to_owned(), what: "not a validator key" };
                let seed = Zeroizing::new(b64::decode_array::<32>(text.trim_end()).ok_or(bad)?);
                Ok(Self { key: SigningKey::from(*seed) })
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let made = Self::generate();
                made.write(path)?;
                Ok(made)
            }
            Err(source) => Err(NodeError::File { path: path.to_owned(), source }),
        }
    }

    fn write(&self, path: &Path) -> Result<(), NodeError> {
        let text = Zeroizing::new(b64::encode(self.key.as_bytes()));
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options
            .open(path)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.sync_all()
            })
            .map_err(|source| NodeError::File { path: path.to_owned(), source })
    }
}

/// A key that others can read may have been copied, and whoever holds it can write a second history.
fn check_private(path: &Path) -> Result<(), NodeError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path)
            .map_err(|source| NodeError::File { path: path.to_owned(), source })?
            .permissions()
            .mode();
        if mode & 0o077 != 0 {
            return Err(NodeError::BadFile { path: path.to_owned(), what: "others may read it (mode must be 0600)" });
        }
    }
    Ok(())
}

impl Sign for ValidatorKey {
    fn public(&self) -> OkpJwk {
        OkpJwk::new(self.key.verification_key().to_bytes())
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_out_of_its_file() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("validator.key");
        let made = ValidatorKey::load_or_create(&path).unwrap();
        assert_eq!(ValidatorKey::load_or_create(&path).unwrap().public(), made.public());
    }

    #[cfg(unix)]
    #[test]
    fn a_key_file_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("validator.key");
        ValidatorKey::load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(ValidatorKey::load_or_create(&path), Err(NodeError::BadFile { .. })));
    }

    #[test]
    fn a_spoiled_key_file_is_refused_and_not_shown() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("validator.key");
        let made = ValidatorKey::load_or_create(&path).unwrap();
        let seed = fs::read_to_string(&path).unwrap();
        assert!(!format!("{made:?}").contains(&seed));
        fs::write(&path, &seed[1..]).unwrap();
        let refused = ValidatorKey::load_or_create(&path).unwrap_err();
        assert!(!format!("{refused} {refused:?}").contains(&seed[1..]));
    }
}
