//! A keystore in a directory: one sealed file a key, under a key that a file elsewhere unlocks.
//!
//! The unlocking file must not lie in the keystore's directory, so that a copy of the one (a backup, a stolen disk)
//! opens nothing.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use vouchsafe_types::{OkpJwk, RsaJwk, jws::Sign};
use zeroize::Zeroizing;

use super::{Keystore, KeystoreError, Signer};
use crate::seal::{
    device::{Ed25519Key, RsaKey},
    keys::{CustodyRoot, StoreKey, SymmetricKey, Within},
    oaep::RsaUnwrap,
    primitives::{fill_random, gcm_open, gcm_seal, hkdf_32, push_prefixed, random_32},
    store::StoreSeal,
};

/// Sealed under the unlocking key when the keystore is made, so that a wrong one is noticed at once. No key's file can
/// have this name: theirs are hexadecimal.
const CHECK: &str = "unlock.check";
const SUFFIX: &str = ".key";
const TEMPORARY: &str = ".tmp";
const MAX_NAME: usize = 120;

/// What a sealed file holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ed25519 = 1,
    Rsa = 2,
    Store = 3,
    Custody = 4,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Ed25519, Self::Rsa, Self::Store, Self::Custody];

    const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "Ed25519",
            Self::Rsa => "RSA",
            Self::Store => "store key",
            Self::Custody => "custody root",
        }
    }
}

#[derive(Clone)]
enum Held {
    Ed25519(Arc<Ed25519Key>),
    Rsa(Arc<RsaKey>),
    Symmetric(Kind, Arc<Zeroizing<[u8; 32]>>),
}

impl Held {
    const fn kind(&self) -> Kind {
        match self {
            Self::Ed25519(_) => Kind::Ed25519,
            Self::Rsa(_) => Kind::Rsa,
            Self::Symmetric(kind, _) => *kind,
        }
    }

    fn material(&self) -> &[u8] {
        match self {
            Self::Ed25519(key) => key.seed(),
            Self::Rsa(key) => key.pkcs8(),
            Self::Symmetric(_, key) => key.as_slice(),
        }
    }

    fn read(kind: Kind, material: &[u8]) -> Option<Self> {
        let fixed = || material.try_into().ok().map(Zeroizing::new);
        Some(match kind {
            Kind::Ed25519 => Self::Ed25519(Arc::new(Ed25519Key::from_seed(fixed()?))),
            Kind::Rsa => Self::Rsa(Arc::new(RsaKey::from_pkcs8(Zeroizing::new(material.to_vec()))?)),
            Kind::Store | Kind::Custody => Self::Symmetric(kind, Arc::new(fixed()?)),
        })
    }
}

/// The keystore in files. Keys are read when first asked for and stay in memory.
pub struct FileKeystore {
    dir: PathBuf,
    seal: Zeroizing<[u8; 32]>,
    held: Mutex<BTreeMap<String, Held>>,
}

impl std::fmt::Debug for FileKeystore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FileKeystore({})", self.dir.display())
    }
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> KeystoreError + '_ {
    |source| KeystoreError::Io { path: path.to_owned(), source }
}

impl FileKeystore {
    /// Opens the keystore in `dir` with the unlocking file, or makes both.
    ///
    /// # Errors
    /// `BadUnlock` when the unlocking file lies in `dir`, is readable by others, is not of 32 bytes, or is missing
    /// though there are keys; `Spoiled` when it is another keystore's; `Io`.
    pub fn open_or_create(dir: &Path, unlock: &Path) -> Result<Self, KeystoreError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_at(dir))?;
        let check = dir.join(CHECK);
        let made = check.try_exists().map_err(io_at(&check))?;
        let secret = unlocking_secret(dir, unlock, made)?;
        let this = Self {
            dir: dir.to_owned(),
            seal: hkdf_32(&secret, &[b"vouchsafe/keystore/file"]),
            held: Mutex::new(BTreeMap::new()),
        };
        this.sweep()?;
        if made {
            let sealed = fs::read(&check).map_err(io_at(&check))?;
            gcm_open(&this.seal, &aad(CHECK), &sealed).ok_or(KeystoreError::Spoiled(check))?;
        } else {
            this.publish(&check, &gcm_seal(&this.seal, &aad(CHECK), &[])).map_err(io_at(&check))?;
        }
        Ok(this)
    }

    /// Removes what a crash left half written; nothing refers to it. Leaves it to the next opening while another process
    /// is writing.
    fn sweep(&self) -> Result<(), KeystoreError> {
        let lock = File::open(&self.dir).map_err(io_at(&self.dir))?;
        if lock.try_lock().is_err() {
            return Ok(());
        }
        for entry in fs::read_dir(&self.dir).map_err(io_at(&self.dir))? {
            let path = entry.map_err(io_at(&self.dir))?.path();
            if path.to_string_lossy().ends_with(TEMPORARY) {
                fs::remove_file(&path).map_err(io_at(&path))?;
            }
        }
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<String, Held>> {
        // The map is whole between any two of its operations, so a panic elsewhere does not spoil it.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, name: &str) -> Result<PathBuf, KeystoreError> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-/".contains(&b);
        if !(1..=MAX_NAME).contains(&name.len()) || !name.bytes().all(plain) {
            return Err(KeystoreError::BadName(name.chars().take(MAX_NAME).collect()));
        }
        Ok(self.dir.join(hex::encode(name) + SUFFIX))
    }

    fn get(&self, held: &mut BTreeMap<String, Held>, name: &str) -> Result<Held, KeystoreError> {
        if let Some(key) = held.get(name) {
            return Ok(key.clone());
        }
        let path = self.path(name)?;
        let sealed = match fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(KeystoreError::Unknown(name.to_owned())),
            sealed => sealed.map_err(io_at(&path))?,
        };
        let key = self.unseal(name, &sealed).ok_or(KeystoreError::Spoiled(path))?;
        held.insert(name.to_owned(), key.clone());
        Ok(key)
    }

    fn unseal(&self, name: &str, sealed: &[u8]) -> Option<Held> {
        let plain = gcm_open(&self.seal, &aad(name), sealed)?;
        let (&kind, material) = plain.split_first()?;
        let kind = Kind::ALL.into_iter().find(|k| *k as u8 == kind)?;
        Held::read(kind, material)
    }

    fn add(&self, held: &mut BTreeMap<String, Held>, name: &str, key: Held) -> Result<(), KeystoreError> {
        let path = self.path(name)?;
        let mut plain = Zeroizing::new(Vec::with_capacity(1 + key.material().len()));
        plain.push(key.kind() as u8);
        plain.extend_from_slice(key.material());
        match self.publish(&path, &gcm_seal(&self.seal, &aad(name), &plain)) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Err(KeystoreError::Exists(name.to_owned())),
            done => done.map_err(io_at(&path))?,
        }
        held.insert(name.to_owned(), key);
        Ok(())
    }

    /// Writes a file that was not there: whole and durable, or not at all, and never over another.
    fn publish(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let dir = File::open(&self.dir)?;
        dir.lock_shared()?;
        let mut salt = [0; 8];
        fill_random(&mut salt);
        let temporary = self.dir.join(hex::encode(salt) + TEMPORARY);
        write_new(&temporary, bytes)?;
        let linked = fs::hard_link(&temporary, path);
        fs::remove_file(&temporary)?;
        linked?;
        dir.sync_all()
    }

    /// Destroys one key; false when there was none.
    fn forget(&self, held: &mut BTreeMap<String, Held>, name: &str) -> Result<bool, KeystoreError> {
        let path = self.path(name)?;
        match fs::remove_file(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            done => done.map_err(io_at(&path))?,
        }
        held.remove(name);
        sync_dir(&self.dir).map_err(io_at(&self.dir))?;
        Ok(true)
    }

    /// Generation takes long and runs outside the lock; `add` refuses the slower of two.
    fn generate(&self, name: &str, make: impl FnOnce() -> Option<Held>) -> Result<Held, KeystoreError> {
        let path = self.path(name)?;
        if path.try_exists().map_err(io_at(&path))? {
            return Err(KeystoreError::Exists(name.to_owned()));
        }
        let key = make().ok_or(KeystoreError::Generation)?;
        self.add(&mut self.held(), name, key.clone())?;
        Ok(key)
    }

    fn symmetric(&self, name: &str, kind: Kind) -> Result<Arc<Zeroizing<[u8; 32]>>, KeystoreError> {
        let mut held = self.held();
        match self.get(&mut held, name) {
            Ok(Held::Symmetric(got, key)) if got == kind => Ok(key),
            Ok(other) => Err(wrong_kind(name, kind, &other)),
            Err(KeystoreError::Unknown(_)) => {
                let key = Arc::new(random_32());
                self.add(&mut held, name, Held::Symmetric(kind, Arc::clone(&key)))?;
                Ok(key)
            }
            Err(e) => Err(e),
        }
    }
}

/// A party's signing and wrapping keys go by one name; beside each other they need two.
const RSA_SUFFIX: &str = ".rsa";

fn rsa_name(name: &str) -> String {
    format!("{name}{RSA_SUFFIX}")
}

fn wrong_kind(name: &str, expected: Kind, got: &Held) -> KeystoreError {
    KeystoreError::WrongKind { name: name.to_owned(), expected: expected.name(), got: got.kind().name() }
}

/// The name is in the associated data: a sealed file under another name does not open.
fn aad(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    push_prefixed(&mut out, &[b"vouchsafe/keystore", name.as_bytes()]);
    out
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes a new name durable.
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn unlocking_secret(dir: &Path, unlock: &Path, made: bool) -> Result<Zeroizing<[u8; 32]>, KeystoreError> {
    let bad = |what| KeystoreError::BadUnlock { path: unlock.to_owned(), what };
    let parent = match unlock.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(io_at(parent))?;
    let place = parent.canonicalize().map_err(io_at(parent))?;
    if place.starts_with(dir.canonicalize().map_err(io_at(dir))?) {
        return Err(bad("lies in the keystore's own directory: a copy of that would open itself"));
    }
    let mut file = match File::open(unlock) {
        Err(e) if e.kind() == io::ErrorKind::NotFound && made => {
            return Err(bad("is missing, though the keystore was made with one"));
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            write_new(unlock, random_32().as_slice()).map_err(io_at(unlock))?;
            sync_dir(parent).map_err(io_at(parent))?;
            File::open(unlock)
        }
        file => file,
    }
    .map_err(io_at(unlock))?;
    let metadata = file.metadata().map_err(io_at(unlock))?;
    if metadata.mode() & 0o077 != 0 {
        return Err(bad("is accessible to others; its mode must be 0600"));
    }
    if metadata.len() != 32 {
        return Err(bad("must hold exactly 32 bytes"));
    }
    let mut secret = Zeroizing::new([0; 32]);
    file.read_exact(secret.as_mut_slice()).map_err(io_at(unlock))?;
    Ok(secret)
}

impl Keystore for FileKeystore {
    fn ed25519(&self, name: &str) -> Result<Signer, KeystoreError> {
        match self.get(&mut self.held(), name)? {
            Held::Ed25519(key) => Ok(key),
            other => Err(wrong_kind(name, Kind::Ed25519, &other)),
        }
    }

    fn rsa(&self, name: &str) -> Result<Arc<dyn RsaUnwrap>, KeystoreError> {
        match self.get(&mut self.held(), &rsa_name(name))? {
            Held::Rsa(key) => Ok(key),
            other => Err(wrong_kind(name, Kind::Rsa, &other)),
        }
    }

    fn generate_ed25519(&self, name: &str) -> Result<OkpJwk, KeystoreError> {
        let key = Arc::new(Ed25519Key::generate());
        let public = Sign::public(key.as_ref());
        self.generate(name, || Some(Held::Ed25519(key)))?;
        Ok(public)
    }

    fn generate_rsa(&self, name: &str) -> Result<RsaJwk, KeystoreError> {
        let made = self.generate(&rsa_name(name), || RsaKey::generate().map(|key| Held::Rsa(Arc::new(key))))?;
        match made {
            Held::Rsa(key) => Ok(RsaUnwrap::public(key.as_ref())),
            other => Err(wrong_kind(name, Kind::Rsa, &other)),
        }
    }

    fn store_seal(&self, name: &str) -> Result<StoreSeal, KeystoreError> {
        let key = self.symmetric(name, Kind::Store)?;
        Ok(StoreSeal::new(&StoreKey::from_secret(Zeroizing::clone(&key), Within::HERE)))
    }

    fn custody_root(&self, name: &str) -> Result<CustodyRoot, KeystoreError> {
        let key = self.symmetric(name, Kind::Custody)?;
        Ok(CustodyRoot::from_secret(Zeroizing::clone(&key), Within::HERE))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), KeystoreError> {
        let mut held = self.held();
        let mut found = false;
        for (from, to) in [(from.to_owned(), to.to_owned()), (rsa_name(from), rsa_name(to))] {
            match self.get(&mut held, &from) {
                Ok(key) => self.add(&mut held, &to, key)?,
                Err(KeystoreError::Unknown(_)) => continue,
                Err(e) => return Err(e),
            }
            self.forget(&mut held, &from)?;
            found = true;
        }
        if found { Ok(()) } else { Err(KeystoreError::Unknown(from.to_owned())) }
    }

    fn remove(&self, name: &str) -> Result<(), KeystoreError> {
        let mut held = self.held();
        let signing = self.forget(&mut held, name)?;
        let wrapping = self.forget(&mut held, &rsa_name(name))?;
        if signing || wrapping { Ok(()) } else { Err(KeystoreError::Unknown(name.to_owned())) }
    }

    fn names(&self) -> Result<Vec<String>, KeystoreError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(io_at(&self.dir))? {
            let file = entry.map_err(io_at(&self.dir))?.file_name();
            let name = file.to_str().and_then(|f| f.strip_suffix(SUFFIX)).and_then(|h| hex::decode(h).ok());
            let name = name.and_then(|n| String::from_utf8(n).ok());
            names.extend(name.map(|n| n.strip_suffix(RSA_SUFFIX).unwrap_or(&n).to_owned()));
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }
}
