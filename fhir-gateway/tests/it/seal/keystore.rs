//! The keystore in files.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use vouchsafe_gateway::seal::{
    FileKeystore, Keystore, KeystoreError, PatientKey,
    oaep::{unwrap_with, wrap_to},
};
use vouchsafe_types::jws::verify_signature;

struct Place {
    _root: TempDir,
    dir: PathBuf,
    unlock: PathBuf,
}

fn place() -> Place {
    let root = TempDir::new().unwrap();
    let (dir, unlock) = (root.path().join("keystore"), root.path().join("unlock"));
    Place { _root: root, dir, unlock }
}

impl Place {
    fn open(&self) -> Result<FileKeystore, KeystoreError> {
        FileKeystore::open_or_create(&self.dir, &self.unlock)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(hex::encode(name) + ".key")
    }
}

#[test]
fn keys_serve_and_survive_reopening() {
    let place = place();
    let store = place.open().unwrap();
    let ed = store.generate_ed25519("agent/0123").unwrap();
    let rsa = store.generate_rsa("wrap").unwrap();
    let sealed = store.store_seal("store").unwrap().seal_value("t", b"k", b"v");
    let patient = PatientKey::generate();
    let at_rest = store.custody_root("custody").unwrap().wrap_at_rest(&patient);
    let wrapped = wrap_to(&rsa, &patient).unwrap();
    drop(store);

    let store = place.open().unwrap();
    assert_eq!(store.names().unwrap(), ["agent/0123", "custody", "store", "wrap"]);
    let signer = store.ed25519("agent/0123").unwrap();
    assert_eq!(signer.public(), ed);
    assert!(verify_signature(&ed, b"message", &signer.sign(b"message")));
    assert_eq!(store.rsa("wrap").unwrap().public(), rsa);
    assert!(unwrap_with::<PatientKey>(store.rsa("wrap").unwrap().as_ref(), &wrapped).is_ok());
    assert_eq!(store.store_seal("store").unwrap().open_value("t", b"k", &sealed).unwrap().as_slice(), b"v");
    assert!(store.custody_root("custody").unwrap().unwrap_at_rest::<PatientKey>(&at_rest).is_ok());
}

#[test]
fn a_removed_key_is_gone() {
    let place = place();
    let store = place.open().unwrap();
    store.generate_ed25519("a").unwrap();
    store.remove("a").unwrap();
    assert!(matches!(store.ed25519("a").map(|_| ()), Err(KeystoreError::Unknown(_))));
    assert!(matches!(store.remove("a"), Err(KeystoreError::Unknown(_))));
    assert!(matches!(place.open().unwrap().ed25519("a").map(|_| ()), Err(KeystoreError::Unknown(_))));
}

#[test]
fn a_name_is_taken_once() {
    let store = place();
    let store = store.open().unwrap();
    let first = store.generate_ed25519("a").unwrap();
    assert!(matches!(store.generate_ed25519("a"), Err(KeystoreError::Exists(_))));
    assert!(matches!(store.store_seal("a"), Err(KeystoreError::WrongKind { .. })));
    assert!(matches!(store.rsa("a").map(|_| ()), Err(KeystoreError::Unknown(_))));
    assert_eq!(store.ed25519("a").unwrap().public(), first);
}

#[test]
fn a_signing_and_a_wrapping_key_share_a_name_and_get_another() {
    let place = place();
    let store = place.open().unwrap();
    let (ed, rsa) = (store.generate_ed25519("new").unwrap(), store.generate_rsa("new").unwrap());
    assert_eq!(store.names().unwrap(), ["new"]);
    store.generate_ed25519("taken").unwrap();
    assert!(matches!(store.rename("new", "taken"), Err(KeystoreError::Exists(_))));
    assert!(matches!(store.rename("nobody", "else"), Err(KeystoreError::Unknown(_))));
    store.rename("new", "custodial/01").unwrap();
    let store = place.open().unwrap();
    assert_eq!(store.names().unwrap(), ["custodial/01", "taken"]);
    assert_eq!(store.ed25519("custodial/01").unwrap().public(), ed);
    assert_eq!(store.rsa("custodial/01").unwrap().public(), rsa);
    store.remove("custodial/01").unwrap();
    assert!(matches!(store.rsa("custodial/01").map(|_| ()), Err(KeystoreError::Unknown(_))));
}

/// Two openings of one keystore, as two processes have: the later does not write over the earlier's key.
#[test]
fn a_name_is_taken_once_by_whoever_is_first() {
    let place = place();
    let (one, other) = (place.open().unwrap(), place.open().unwrap());
    let first = one.generate_ed25519("a").unwrap();
    assert!(matches!(other.generate_ed25519("a"), Err(KeystoreError::Exists(_))));
    assert_eq!(other.ed25519("a").unwrap().public(), first);
}

#[test]
fn names_that_are_none_are_refused() {
    let place = place();
    let store = place.open().unwrap();
    for name in ["", "A", "a b", "a\0", "ä", "..\\a", &"a".repeat(121)] {
        assert!(matches!(store.generate_ed25519(name), Err(KeystoreError::BadName(_))), "{name:?}");
        assert!(matches!(store.ed25519(name).map(|_| ()), Err(KeystoreError::BadName(_))), "{name:?}");
    }
    // A name never becomes a path.
    store.generate_ed25519("../../outside").unwrap();
    assert!(place.file("../../outside").exists());
    store.generate_ed25519(&"a".repeat(120)).unwrap();
}

#[test]
fn nothing_of_a_key_lies_open_on_disk() {
    let place = place();
    let store = place.open().unwrap();
    let public = store.generate_ed25519("a").unwrap();
    store.generate_rsa("b").unwrap();
    for entry in fs::read_dir(&place.dir).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        assert!(!bytes.windows(32).any(|w| w == public.bytes()));
        // PKCS#8 names RSA by this identifier, 1.2.840.113549.1.1.1.
        assert!(!bytes.windows(9).any(|w| w == [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1]));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600, "{}", path.display());
    }
    assert_eq!(fs::metadata(&place.unlock).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&place.dir).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn a_key_under_another_name_does_not_open() {
    let place = place();
    let store = place.open().unwrap();
    store.generate_ed25519("doctor-a").unwrap();
    store.generate_ed25519("doctor-b").unwrap();
    drop(store);
    fs::copy(place.file("doctor-a"), place.file("doctor-b")).unwrap();
    let store = place.open().unwrap();
    assert!(matches!(store.ed25519("doctor-b").map(|_| ()), Err(KeystoreError::Spoiled(_))));
}

#[test]
fn an_altered_key_does_not_open() {
    let place = place();
    place.open().unwrap().generate_ed25519("a").unwrap();
    let whole = fs::read(place.file("a")).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(place.file("a"), bytes).unwrap();
        assert!(matches!(place.open().unwrap().ed25519("a").map(|_| ()), Err(KeystoreError::Spoiled(_))), "byte {at}");
    }
    fs::write(place.file("a"), []).unwrap();
    assert!(matches!(place.open().unwrap().ed25519("a").map(|_| ()), Err(KeystoreError::Spoiled(_))));
}

#[test]
fn another_unlocking_file_is_noticed_at_once() {
    let place = place();
    drop(place.open().unwrap());
    fs::write(&place.unlock, [1; 32]).unwrap();
    assert!(matches!(place.open(), Err(KeystoreError::Spoiled(_))));
}

#[test]
fn a_missing_unlocking_file_is_not_made_anew() {
    let place = place();
    drop(place.open().unwrap());
    fs::remove_file(&place.unlock).unwrap();
    assert!(matches!(place.open(), Err(KeystoreError::BadUnlock { .. })));
    assert!(!place.unlock.exists());
}

#[test]
fn the_unlocking_file_lies_elsewhere() {
    let place = place();
    let inside = [place.dir.join("unlock"), place.dir.join("deeper").join("unlock"), place.dir.join("../keystore/u")];
    for unlock in inside {
        let opened = FileKeystore::open_or_create(&place.dir, &unlock);
        assert!(matches!(opened, Err(KeystoreError::BadUnlock { .. })), "{}", unlock.display());
        assert!(!unlock.exists());
    }
}

#[test]
fn an_unlocking_file_open_to_others_is_refused() {
    let place = place();
    drop(place.open().unwrap());
    set_mode(&place.unlock, 0o640);
    assert!(matches!(place.open(), Err(KeystoreError::BadUnlock { .. })));
    set_mode(&place.unlock, 0o600);
    assert!(place.open().is_ok());
}

#[test]
fn an_unlocking_file_of_another_length_is_refused() {
    for len in [0, 31, 33] {
        let place = place();
        fs::write(&place.unlock, vec![1; len]).unwrap();
        set_mode(&place.unlock, 0o600);
        assert!(matches!(place.open(), Err(KeystoreError::BadUnlock { .. })), "{len}");
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_a_crash_left_is_swept_away() {
    let place = place();
    drop(place.open().unwrap());
    let left = place.dir.join("0011223344556677.tmp");
    fs::write(&left, b"half").unwrap();
    let store = place.open().unwrap();
    assert!(!left.exists());
    assert!(store.names().unwrap().is_empty());
}

#[test]
fn debug_and_errors_show_no_key() {
    let place = place();
    let store = place.open().unwrap();
    store.generate_ed25519("a").unwrap();
    let shown = format!("{store:?} {:?}", store.store_seal("a").map(|_| ()));
    assert!(shown.contains("FileKeystore(") && shown.contains("WrongKind"));
    let unlock = fs::read(&place.unlock).unwrap();
    assert!(!shown.contains(&hex::encode(unlock)));
}
